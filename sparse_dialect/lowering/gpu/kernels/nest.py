"""A nest of loops: any elementwise operation, reduction, product or resampling that linalg expresses.

    %z = linalg.generic {(i, j, k) -> (i, k), (k, j), (i, j); parallel, parallel, reduction} ins(%x, %y)
    -> a thread an element of the result, or four neighbours where all it reads are neighbours too:
         sum = start;  for k: sum = f(x[i, k], y[k, j..j+3], sum);  store sum

Where an operand's element lies is an affine expression of the loops in each of its dimensions; an operand
may also be read by the body, at computed places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..emitter import WIDE, Buffer, Emitter, Kernel
from ..layout import LANES, Matrix, Plain, Rows, Tensor
from .over import buffer_of, load_element, load_vector, over, store_element, work_of


@dataclass(frozen=True)
class Affine:
    """``constant`` + the sum of loops times numbers."""

    terms: tuple[tuple[int, int], ...] = ()  # loop, factor
    constant: int = 0

    def at(self, e: Emitter, loops: Sequence[str]) -> str:
        """Its value."""
        total = e.index(self.constant)
        for loop, factor in self.terms:
            part = e.times(loops[loop], factor)
            total = part if total == e.index(0) else e.add(total, part)
        return total

    @property
    def loop(self) -> int | None:
        """The loop that it is, if it is one."""
        alone = self.constant == 0 and len(self.terms) == 1 and self.terms[0][1] == 1
        return self.terms[0][0] if alone else None


@dataclass(frozen=True)
class Access:
    """A tensor, and the place in each of its dimensions."""

    tensor: Tensor
    places: tuple[Affine, ...]

    def follows(self, loop: int | None) -> bool:
        """Whether its element changes with that loop."""
        return any(loop == own for place in self.places for own, _ in place.terms)

    def neighbours(self, loop: int | None) -> bool:
        """Whether four turns of that loop, from a multiple of four on, read one vector of its buffer."""
        if loop is None or not self.places or self.places[-1].loop != loop:
            return False
        if any(loop == own for place in self.places[:-1] for own, _ in place.terms):
            return False
        plain = isinstance(self.tensor.layout, Plain)
        return self.tensor.kind == "f32" and (not plain or self.tensor.shape[-1] % LANES == 0)


@dataclass(frozen=True)
class Scope:
    """What a body sees: values of the operands, and of the results so far; the loops; whether values of f32
    and i1 are vectors."""

    e: Emitter
    inputs: list[str]
    sums: list[str]
    loops: list[str]
    wide: bool
    captured: Callable[[int, Sequence[str]], str]  # an element of a captured tensor, at clamped places


Body = Callable[[Scope], list[str]]  # the results


@dataclass(frozen=True)
class Nest:
    """
    Loops of ``sizes``, of which ``reduced`` are summed over. ``starts``: of each result the number that it
    begins with, or the access that reads it; only where ``uses_sums``. ``lanes``: whether the body may
    compute four elements at once, ``guarded``: whether it asserts something. The first result may lie in any
    way; all are written at one place.
    """

    sizes: tuple[int, ...]
    reduced: tuple[int, ...]
    inputs: tuple[Access, ...]
    starts: tuple[Access | float | None, ...]
    results: tuple[Access, ...]
    captured: tuple[Tensor, ...] = ()
    lanes: bool = True
    half: bool = False
    sources: tuple[int, ...] = ()
    guarded: bool = False

    @property
    def across(self) -> int | None:
        """The loop along which four elements are computed at once, if one is."""
        places = self.results[0].places
        return places[-1].loop if places else None

    @property
    def wide(self) -> bool:
        """Whether a thread computes four elements as vectors."""
        if not self.lanes or self.across is None or len(self.results) > 1:
            return False
        target = self.results[0].tensor
        if target.kind != "f32":
            return False
        if isinstance(target.layout, Plain):
            return target.shape[-1] % LANES == 0
        return isinstance(target.layout, Rows | Matrix)

    @property
    def reads(self) -> list[Access]:
        """Operands, and starts that lie in memory."""
        return [*self.inputs, *(start for start in self.starts if isinstance(start, Access))]

    @property
    def bindings(self) -> list[int]:
        """For each operand, start in memory and captured tensor the number of the first that it shares its
        binding with: of one buffer, as vectors or as elements."""
        reads = self.reads
        keys = [(source, at < len(reads) and self.wide and reads[at].neighbours(self.across))
                for at, source in enumerate(self.sources)]
        return [keys.index(key) for key in keys]


def nest(layer: Nest, body: Body) -> Kernel:
    """The kernel of a nest. Buffers: those of ``bindings`` that are their own, then results, then, of a
    guarded one, ``failures``: one word, the least number of an assertion that did not hold."""
    target = layer.results[0].tensor
    wide, across = layer.wide, layer.across
    reads = layer.reads
    tensors = [*(access.tensor for access in reads), *layer.captured]
    buffers = [buffer_of(f"input_{at}", tensor, layer.half,
                         wide and at < len(reads) and reads[at].neighbours(across))
               for at, tensor in enumerate(tensors) if layer.bindings[at] == at]
    as_vectors = wide or isinstance(target.layout, Rows)
    buffers.append(buffer_of("output", target, layer.half, as_vectors, True))
    buffers += [buffer_of(f"output_{at}", result.tensor, layer.half, written=True)
                for at, result in enumerate(layer.results[1:], 1)]
    buffers += [Buffer("failures", "i32", 1, True)] * layer.guarded
    e = Emitter(buffers, layer.half, work_of(target, wide).threads)

    def value(e: Emitter, places: list[str]) -> str:
        loops = _loops(e, layer, places)
        first, *others = _Threads(e, layer, body, loops).results()
        for at, (result, other) in enumerate(zip(layer.results[1:], others, strict=True), 1):
            own = [place.at(e, loops) for place in result.places]
            store_element(e, f"output_{at}", result.tensor, own, other)
        return first

    return over(e, target, value, wide)


def _loops(e: Emitter, layer: Nest, places: Sequence[str]) -> list[str]:
    """The loops of a place of the first result; those that are summed over begin at 0."""
    loops = [e.index(0)] * len(layer.sizes)
    for place, own in zip(places, layer.results[0].places, strict=True):
        if own.loop is not None:
            loops[own.loop] = place
    return loops


@dataclass
class _Threads:
    """What a thread computes: one element, or four."""

    e: Emitter
    layer: Nest
    body: Body
    loops: list[str]

    def results(self) -> list[str]:
        """Of the place that ``loops`` says."""
        return self._nested(list(self.layer.reduced), self._starts())

    def _starts(self) -> list[str]:
        found, at = [], len(self.layer.inputs)
        for start, result in zip(self.layer.starts, self.layer.results, strict=True):
            if isinstance(start, Access):
                found.append(self._read(at, start))
                at += 1
            else:
                found.append(self._constant(0.0 if start is None else start, result.tensor.kind))
        return found

    def _constant(self, value: float, kind: str) -> str:
        if kind == "index":
            return self.e.index(int(value))
        if kind == "i1":
            return self.e.new(f"arith.constant {'true' if value else 'false'}")
        return self.e.real(value, self._type(kind))

    def _type(self, kind: str) -> str:
        return {"f32": WIDE, "i1": "vector<4xi1>"}[kind] if self.layer.wide else kind

    def _nested(self, reduced: list[int], sums: list[str]) -> list[str]:
        """``sums`` after all turns of the loops that are summed over."""
        if not reduced:
            inputs = [self._read(at, access) for at, access in enumerate(self.layer.inputs)]
            return self.body(Scope(self.e, inputs, sums, self.loops, self.layer.wide, self._captured))
        e, (loop, *others) = self.e, reduced

        def turn(k: str, sums: list[str]) -> list[str]:
            self.loops = [k if at == loop else own for at, own in enumerate(self.loops)]
            return self._nested(others, sums)

        types = [self._type(result.tensor.kind) for result in self.layer.results]
        return e.loop(e.index(0), e.index(self.layer.sizes[loop]), sums, types, turn)

    def _read(self, at: int, access: Access) -> str:
        """What the operand of that number holds for this turn."""
        e, layer, name = self.e, self.layer, f"input_{self.layer.bindings[at]}"
        if not layer.wide:
            return self._element(name, access, self.loops)
        across = layer.across
        assert across is not None
        if access.neighbours(across):
            return load_vector(e, name, access.tensor, [own.at(e, self.loops) for own in access.places])
        if not access.follows(across):
            return self._splat(access.tensor.kind, self._element(name, access, self.loops))
        numbers = []
        for lane in range(LANES):
            x = e.clamped(e.add(self.loops[across], lane), layer.sizes[across])
            loops = [x if loop == across else own for loop, own in enumerate(self.loops)]
            numbers.append(self._element(name, access, loops))
        return e.joined(numbers, access.tensor.kind)

    def _splat(self, kind: str, value: str) -> str:
        return self.e.splat(value, kind)

    def _element(self, name: str, access: Access, loops: Sequence[str]) -> str:
        return load_element(self.e, name, access.tensor, [own.at(self.e, loops) for own in access.places])

    def _captured(self, at: int, places: Sequence[str]) -> str:
        """An element at computed places, cut to those that there are."""
        tensor = self.layer.captured[at]
        own = [self.e.clamped(place, size) for place, size in zip(places, tensor.shape, strict=True)]
        name = f"input_{self.layer.bindings[len(self.layer.reads) + at]}"
        return load_element(self.e, name, tensor, own)
