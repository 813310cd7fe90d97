"""One linalg operation as vector loops: which loop runs along the vectors, which are rows, and their code.

    rows (shared by threads): every loop whose turns are independent, but the one along the vectors
      loops that add up, with vectors as accumulators
        the loop along the vectors; its last vector is masked
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from ...ir.mlir import ir
from .body import Body, Lanes, Uniform
from .memory import Memory, Value, arith
from .nest import Access, Nest, NotVectorized, loops_of, merged, nest_of, split
from .reductions import Joins, joins_of
from .transposition import TileLanes, tile_loop, transposed

BLOCK = 2048  # elements of one row where a single long loop is cut into rows
ROWS = 16  # fewer rows than this, and a long loop is cut
ACCUMULATORS = 8  # vectors summed side by side, so that additions need not wait for each other
COLUMNS = 8  # vectors of neighbouring sums, so that additions need not wait
FAR = 1 << 19  # elements that do not stay near: half as many vectors are fetched ahead better
SHARED = 4  # rows that read each vector of an operand together, where it is the same for all of them
LARGE_BODY = 12  # operations: a longer body keeps the pipelines busy with one vector


@dataclass(frozen=True)
class Plan:
    """How a nest is run: ``along`` is the loop along the vectors, ``joins`` how its lanes are joined where it
    adds up, ``tile`` a short loop whose turns are written out: lines of a tile that is transposed, or rows
    that share what they read. ``together``: vectors of sums side by side, 0 for the usual number.
    ``turns``: a loop over rows that runs inside a turn, where a row alone is soon done."""

    nest: Nest
    along: int
    joins: tuple[Joins, ...] = ()
    tile: int | None = None
    together: int = 0
    turns: int | None = None

    @property
    def rows(self) -> list[int]:
        """The loops over rows."""
        return [at for at, reduces in enumerate(self.nest.reduces)
                if not reduces and at not in (self.along, self.tile, self.turns)]

    @property
    def sums(self) -> list[int]:
        """The loops that add up, but for the one along the vectors."""
        return [at for at, reduces in enumerate(self.nest.reduces) if reduces and at != self.along]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return prod(self.nest.sizes[at] for at in self.rows)

    @property
    def reduces(self) -> bool:
        return any(self.nest.reduces)

    def on(self, nest: Nest, place: Callable[[int], int]) -> Plan:
        """The plan on a nest where loop ``at`` is loop ``place(at)``."""
        def moved(at: int | None) -> int | None:
            return None if at is None else place(at)

        return replace(self, nest=nest, along=place(self.along), tile=moved(self.tile),
                       turns=moved(self.turns))


def plans_of(nest: Nest, lanes: int, cut: bool = True) -> list[Plan]:
    """The plan for ``nest``; two where a loop is cut into blocks that leave a rest. Long loops are cut for
    threads to share, unless ``cut`` is False. Raises ``NotVectorized``."""
    return [_with_turns(plan) for plan in _plans(nest, lanes, cut)]


def _with_turns(plan: Plan) -> Plan:
    """``plan`` with several short rows a turn: finding where a row begins takes divisions."""
    elements = prod(plan.nest.sizes[at] for at in (plan.along, plan.tile, *plan.sums) if at is not None)
    most = BLOCK // elements
    if not plan.rows or most < 2:
        return plan
    last = plan.rows[-1]
    size = plan.nest.sizes[last]
    block = max(part for part in range(1, min(size, most) + 1) if size % part == 0)
    if block == 1:
        return plan
    if block == size:
        return replace(plan, turns=last)
    loops = loops_of(plan.nest)
    nest = nest_of(plan.nest, [*loops[:last], *loops[last].split(block), *loops[last + 1:]])
    return replace(plan.on(nest, lambda at: at + (at > last)), turns=last + 1)


def _plans(nest: Nest, lanes: int, cut: bool) -> list[Plan]:
    flat = merged(nest, indexed_loops(nest))
    if not flat.sizes and not cut:
        flat = nest_of(nest, loops_of(nest)[:1])  # one element, between others of its row
    plan = _plan(flat, lanes)
    along = plan.along
    tile = tile_loop(plan.nest, along, lanes)
    if tile is not None:
        main, rest = split(plan.nest, tile, lanes)
        tiles = Plan(main, along + 1, tile=tile + 1)
        return [tiles] if rest is None else [tiles, Plan(rest, along)]
    shared = _shared_loop(plan)
    if shared is not None:
        main, rest = split(plan.nest, shared, SHARED)
        rows = Plan(main, along + 1, tile=shared + 1)
        return [rows] if rest is None else [rows, Plan(rest, along)]
    if not cut or plan.joins or plan.count >= ROWS or plan.nest.sizes[along] < 2 * BLOCK:
        return [plan]
    main, rest = split(plan.nest, along, _block(plan.nest.sizes[along], lanes))
    return [Plan(part, at) for part, at in ((main, along + 1), (rest, along)) if part is not None]


def _shared_loop(plan: Plan) -> int | None:
    """The loop over rows, innermost first, along which an operand of vectors stands still while another
    moves, as in a matrix product; None for other sums."""
    nest, along = plan.nest, plan.along
    if plan.joins or not plan.reduces or nest.is_copy or len(nest.outputs) != 1 or indexed_loops(nest):
        return None
    for at in reversed(plan.rows):
        still = any(access.strides[at] == 0 and access.strides[along] == 1 for access in nest.inputs)
        moves = any(access.strides[at] > 0 and access.strides[along] == 0 for access in nest.inputs)
        if still and moves and nest.sizes[at] >= SHARED and nest.outputs[0].strides[at]:
            return at
    return None


def _block(size: int, lanes: int) -> int:
    """A part of ``size`` near ``BLOCK``, one that divides it if there is any."""
    whole = [block for block in range(BLOCK, BLOCK // 4, -lanes) if size % block == 0]
    return whole[0] if whole else BLOCK


def _plan(nest: Nest, lanes: int) -> Plan:
    if not nest.sizes:
        raise NotVectorized  # one element is a scalar
    joins = joins_of(nest) if any(nest.reduces) else None
    candidates = [at for at in range(len(nest.sizes)) if not nest.reduces[at] or (
        joins is not None and all(out.strides[at] == 0 for out in nest.outputs))]
    if not candidates:
        raise NotVectorized("a reduction of unknown kind")
    along = min(candidates, key=lambda at: (_cost(nest, at, lanes), -at))
    Body(nest, along, carried=any(nest.reduces))  # raises where it has no vector form
    return Plan(nest, along, tuple(joins or ()) if nest.reduces[along] else ())


def _cost(nest: Nest, along: int, lanes: int) -> float:
    """Cycles an element, roughly, with loop ``along`` along the vectors."""
    size = nest.sizes[along]
    vectors = -(-size // lanes)
    each = sum(_access_cost(access.strides[along], access.written, lanes) for access in nest.accesses)
    overhead = (6.0 if nest.reduces[along] else 2.0) / vectors
    return (each + overhead) * vectors / size


def _access_cost(stride: int, written: bool, lanes: int) -> float:
    if stride == 0:
        return 0.25
    if stride == 1:
        return 1.0
    return lanes * (1.0 if written else 0.75)


def indexed_loops(nest: Nest) -> frozenset[int]:
    """The loops whose index the body asks for."""
    if nest.is_copy:
        return frozenset()
    return frozenset(ir.IntegerAttr(view.operation.attributes["dim"]).value
                     for view in nest.body.operations if view.operation.name == "linalg.index")


class Rows:
    """Emits the code of one row of a plan."""

    def __init__(self, plan: Plan, memory: Memory) -> None:
        self.plan, self.nest, self.memory = plan, plan.nest, memory
        self.body = Body(plan.nest, plan.along, carried=plan.reduces)
        self.size = plan.nest.sizes[plan.along]

    def emit(self, row: Value) -> None:
        """The code for turn ``row``, at the current insertion point."""
        indices, turns = self._indices(row), self.plan.turns
        if turns is None:
            self._row(indices)
        else:
            self.memory.loop(self.nest.sizes[turns], lambda at: self._row({**indices, turns: at}))

    def _row(self, indices: dict[int, Value]) -> None:
        starts = self._addresses([self.memory.index(0)] * len(self.nest.accesses), indices)
        if self.plan.joins:
            self._join_lanes(indices, starts)
        elif self.plan.reduces:
            self._each_part(lambda at, real, count: self._add_up(indices, starts, at, real, count),
                            self._together())
        elif self.plan.tile is not None:
            self._each_part(lambda at, real, count: self._tile(indices, starts, at, real), 1)
        else:
            uniform = Uniform(self.body, self.memory, indices, starts)
            self._each_part(lambda at, real, count: self._store(Lanes(uniform, at, real).run(), starts, at,
                                                                real), 1)

    def _together(self) -> int:
        """How many vectors of sums stand side by side."""
        if self.plan.together:
            return self.plan.together
        if self.plan.tile is not None:
            return 2 if self.memory.lanes == 8 else 4  # AVX2 has 16 registers only
        loops = (self.plan.along, *self.plan.sums)
        extent = max((sum((self.nest.sizes[at] - 1) * access.strides[at] for at in loops)
                      for access in self.nest.inputs), default=0)
        return COLUMNS // 2 if extent >= FAR else COLUMNS

    def _indices(self, row: Value) -> dict[int, Value]:
        """The index of every loop over rows, from the number of the row."""
        found: dict[int, Value] = {}
        rows = self.plan.rows
        for at in reversed(rows[1:]):
            size = self.memory.index(self.nest.sizes[at])
            found[at] = arith.RemUIOp(row, size).result
            row = arith.DivUIOp(row, size).result
        if rows:
            found[rows[0]] = row
        return found

    def _addresses(self, starts: Sequence[Value], indices: dict[int, Value]) -> list[Value]:
        """Where every operand is after so many turns of some loops."""
        found = []
        for start, access in zip(starts, self.nest.accesses, strict=True):
            for at, index in indices.items():
                start = self.memory.add(start, self.memory.multiply(index, access.strides[at]))
            found.append(start)
        return found

    def _each_part(self, part: Any, together: int) -> None:
        """``part(at, real, count)`` for all vectors of a row: ``count`` at a time, then one by one, then the
        rest, of which ``real`` lanes count."""
        lanes = self.memory.lanes
        done, whole = 0, self.size // lanes * lanes
        for count in sorted({together, 1}, reverse=True):
            end = done + (whole - done) // (count * lanes) * count * lanes
            if end > done:
                self.memory.loop(end, lambda at, count=count: part(at, None, count), lower=done,
                                 step=count * lanes)
            done = end
        if self.size > done:
            part(self.memory.index(done), self.size - done, 1)

    def _store(self, values: Sequence[Value], starts: Sequence[Value], at: Value, real: int | None) -> None:
        first = len(self.nest.accesses) - len(self.nest.outputs)
        for value, start, access in zip(values, starts[first:], self.nest.outputs, strict=True):
            stride = access.strides[self.plan.along]
            if stride == 0 and self.size > 1:
                raise NotVectorized("an output stands still along the vectors")
            address = self.memory.add(start, self.memory.multiply(at, stride))
            self.memory.store(value, access, address, stride, real)

    def _tile(self, indices: dict[int, Value], starts: Sequence[Value], at: Value, real: int | None) -> None:
        """A tile of a vector's lanes each way: strided operands are loaded across and transposed."""
        memory, lanes, tile, along = self.memory, self.memory.lanes, self.plan.tile, self.plan.along
        assert tile is not None
        across: dict[int, list[Value]] = {}
        for number, (start, access) in enumerate(zip(starts, self.nest.accesses, strict=True)):
            step = access.strides[along]
            if access.written or access.strides[tile] != 1 or step < 2:
                continue
            lines = [memory.load(access, memory.add(start, memory.multiply(memory.add(at, line), step)), 1,
                                 None) for line in range(lanes if real is None else real)]
            across[number] = transposed(lines + lines[:1] * (lanes - len(lines)))
        for line in range(lanes):
            here = self._addresses(starts, {tile: memory.index(line)})
            uniform = Uniform(self.body, memory, {**indices, tile: memory.index(line)}, here)
            given = {number: lines[line] for number, lines in across.items()}
            self._store(TileLanes(uniform, at, real, given).run(), here, at, real)

    # -- loops that add up, along which the vectors do not run -----------------------------------

    def _add_up(self, indices: dict[int, Value], starts: Sequence[Value], at: Value, real: int | None,
                count: int) -> None:
        """``count`` vectors of outputs, all of whose terms are added up in registers."""
        lanes, memory, tile = self.memory.lanes, self.memory, self.plan.tile
        first = len(self.nest.inputs)
        places = [memory.add(at, memory.index(lanes * part)) for part in range(count)]
        lines: list[dict[int, Value]] = [{}] if tile is None else [
            {tile: memory.index(line)} for line in range(self.nest.sizes[tile])]
        cells = [(line, self._addresses(starts, line), place) for line in lines for place in places]
        outputs = len(self.nest.outputs)
        carried = [self._before(access, start, place, real) for _, here, place in cells
                   for start, access in zip(here[first:], self.nest.outputs, strict=True)]
        if self.plan.together and real is None:
            self._fetch_outputs(cells)

        def term(inner: dict[int, Value], values: Sequence[Value]) -> list[Value]:
            moved = {loop: index for loop, index in inner.items() if loop not in indices}
            if self.plan.together:
                self._fetch_next_rows(starts, moved)
            found: list[Value] = []
            for number, (line, here, place) in enumerate(cells):
                uniform = Uniform(self.body, memory, {**inner, **line}, self._addresses(here, moved))
                found += Lanes(uniform, place, real, values[number * outputs:][:outputs]).run()
            return found

        values = self._nested(self.plan.sums, dict(indices), carried, term)
        for number, (_, here, place) in enumerate(cells):
            self._store(values[number * outputs:][:outputs], here, place, real)

    def _fetch_outputs(self, cells: Sequence[Any]) -> None:
        """Has the memory of a tile's outputs come while its terms are added up, where nobody reads it."""
        memory = self.memory
        for _, here, place in cells:
            for start, access in zip(here[len(self.nest.inputs):], self.nest.outputs, strict=True):
                if access.initial is not None:
                    address = memory.add(start, memory.multiply(place, self._step(access)))
                    memory.fetch(access, address, written=True)

    def _fetch_next_rows(self, starts: Sequence[Value], moved: dict[int, Value]) -> None:
        """Has a part of the rows behind a tile's come while a term is added, where they follow each other in
        memory: short rows are too many for the processor to see where they go."""
        memory, tile = self.memory, self.plan.tile
        assert tile is not None
        (term, at), = moved.items()
        rows, length = self.nest.sizes[tile], self.nest.sizes[term]
        for start, access in zip(starts, self.nest.inputs, strict=False):
            if access.strides[tile] == length and access.strides[term] == 1:
                ahead = memory.add(memory.index(rows * length), memory.multiply(at, rows))
                memory.fetch(access, memory.add(start, ahead), written=False)

    def _before(self, access: Access, start: Value, place: Value, real: int | None) -> Value:
        """A vector of an output, before anything is added."""
        address = self.memory.add(start, self.memory.multiply(place, self._step(access)))
        return self.memory.load(access, address, self._step(access), real)

    def _step(self, access: Any) -> int:
        return int(access.strides[self.plan.along])

    def _nested(self, loops: Sequence[int], indices: dict[int, Value], carried: Sequence[Value],
                term: Any) -> list[Value]:
        """``term(indices, carried)`` inside ``loops``."""
        if not loops:
            return list(term(indices, carried))
        return self.memory.loop(self.nest.sizes[loops[0]], lambda index, *values: self._nested(
            loops[1:], {**indices, loops[0]: index}, values, term), carried)

    # -- a loop that adds up along the vectors ---------------------------------------------------

    def _join_lanes(self, indices: dict[int, Value], starts: Sequence[Value]) -> None:
        """Outputs whose terms lie along the vectors: lanes are added up apart, and joined in the end."""
        memory, lanes = self.memory, self.memory.lanes
        outputs = len(self.nest.outputs)
        short = len(list(self.nest.body.operations)) <= LARGE_BODY
        together = min(max(ACCUMULATORS // outputs, 1) if short else 1, max(self.size // lanes, 1))
        carried = [memory.splat(access.element, joins.neutral) for _ in range(together)
                   for joins, access in zip(self.plan.joins, self.nest.outputs, strict=True)]

        def terms(inner: dict[int, Value], values: Sequence[Value]) -> list[Value]:
            uniform = Uniform(self.body, memory, inner, self._addresses(starts, {
                loop: index for loop, index in inner.items() if loop not in indices}))
            return self._along(uniform, list(values), together)

        values = self._nested(self.plan.sums, dict(indices), carried, terms)
        for number, (joins, access) in enumerate(zip(self.plan.joins, self.nest.outputs, strict=True)):
            total = joins.all(values[number::outputs])
            start = starts[len(self.nest.inputs) + number]
            memory.put(access, start, joins.join(joins.across(total), memory.scalar(access, start)))

    def _along(self, uniform: Uniform, values: list[Value], together: int) -> list[Value]:
        """Adds a whole row of terms to ``values``: ``together`` vectors at a time, then the rest."""
        memory, lanes = self.memory, self.memory.lanes
        outputs = len(self.nest.outputs)
        step = together * lanes
        end = self.size // step * step

        def turn(at: Value, *carried: Value) -> list[Value]:
            return [value for part in range(together) for value in
                    Lanes(uniform, memory.add(at, memory.index(part * lanes)), None,
                          carried[part * outputs:][:outputs]).run()]

        if end:
            values = memory.loop(end, turn, values, step=step)
        for part, place in enumerate(range(end, self.size, lanes)):
            left = self.size - place
            real = None if left >= lanes else left
            before = values[part * outputs:][:outputs]
            after = Lanes(uniform, memory.index(place), real, before).run()
            if real is not None:
                after = [arith.SelectOp(memory.first_lanes(real), new, old).result
                         for new, old in zip(after, before, strict=True)]
            values[part * outputs:(part + 1) * outputs] = after
        return values
