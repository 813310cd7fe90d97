"""Elements that change their place and nothing else: reshapes, parts of tensors, inputs and outputs.

    reshaped:  out[n] = in[n], elements counted in PyTorch's order, between any two layouts
    assembled: out[at] = of the first part that has the place ``at`` its element, else the filling
    planes:    whole planes of images, a thread a vector
    words:     i64 and bool of the host, as the i32 that kernels compute with, and back
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ..emitter import Buffer, Emitter, Kernel, Work, vectors_of
from ..layout import Plain, Rows, Tensor
from .over import buffer_of, linear, load_element, over, work_of
from .tiles import vector_at, write_margins

BYTES_OF_WORD = 4


def reshaped(source: Tensor, target: Tensor, half: bool) -> Kernel:
    """The elements of ``source`` in the order that they have, as ``target``."""
    as_rows = isinstance(target.layout, Rows)
    e = Emitter([buffer_of("input", source, half), buffer_of("output", target, half, as_rows, True)], half,
                work_of(target, False).threads)

    def value(e: Emitter, places: list[str]) -> str:
        if source.shape != target.shape:
            places = e.split(linear(e, target.shape, places), *source.shape[1:]) if source.shape else []
        return load_element(e, "input", source, places)

    return over(e, target, value)


@dataclass(frozen=True)
class Part:
    """A part of a result: ``sizes`` elements, from ``offset`` on, every ``stride``-th, in each dimension of
    the result; ``dimensions``: the one of ``tensor`` that it follows, if any. Of the tensor they are those
    from ``begin`` on, every ``step``-th."""

    tensor: Tensor
    sizes: tuple[int, ...]
    offset: tuple[int, ...]
    stride: tuple[int, ...]
    dimensions: tuple[int | None, ...]
    begin: tuple[int, ...]
    step: tuple[int, ...]


def assembled(target: Tensor, parts: Sequence[Part], filling: float, half: bool) -> Kernel:
    """``target`` of ``parts``, with ``filling`` between them; the first that has a place counts."""
    as_rows = isinstance(target.layout, Rows)
    e = Emitter([*(buffer_of(f"input_{at}", part.tensor, half) for at, part in enumerate(parts)),
                 buffer_of("output", target, half, as_rows, True)], half, work_of(target, False).threads)

    def value(e: Emitter, places: list[str]) -> str:
        return _from(e, target, parts, 0, places, filling)

    return over(e, target, value)


def _from(e: Emitter, target: Tensor, parts: Sequence[Part], at: int, places: list[str], filling: float
          ) -> str:
    """The element of the first part from number ``at`` on that has the place."""
    if at == len(parts):
        if target.kind == "f32":
            return e.real(filling)
        return e.index(int(filling)) if target.kind == "index" else e.new(
            f"arith.constant {'true' if filling else 'false'}")
    part, conditions = parts[at], []
    own = [e.index(first) for first in part.begin]
    for number, place in enumerate(places):
        inside, size, stride = place, part.sizes[number], part.stride[number]
        if (part.offset[number], stride, size) != (0, 1, target.shape[number]):
            inside = e.add(place, -part.offset[number])
            conditions.append(e.below(inside, stride * (size - 1) + 1))
            inside, rest = e.divided(inside, stride)
            if stride > 1:
                conditions.append(e.new(f"arith.cmpi eq, {rest}, {e.index(0)} : index"))
        dimension = part.dimensions[number]
        if dimension is not None:
            own[dimension] = e.add(e.times(inside, part.step[dimension]), part.begin[dimension])

    def here() -> str:
        return load_element(e, f"input_{at}", part.tensor, own)

    if not conditions:
        return here()
    condition = conditions[0]
    for other in conditions[1:]:
        condition = e.both(condition, other)
    return e.either(condition, here, lambda: _from(e, target, parts, at + 1, places, filling), target.kind)


def planes(source: Rows, target: Rows, batch: int, first: tuple[int, int], half: bool) -> Kernel:
    """For each example of a batch, the planes of ``source`` from ``first[0]`` on as planes of ``target`` from
    ``first[1]`` on, as many as the smaller has (a slice, or a part of a concatenation)."""
    element = "f16" if half else "f32"
    count = min(source.planes, target.planes) // batch
    work = Work(batch * count, source.depth * source.height * source.across)
    e = Emitter([vectors_of("input", source.vectors, element),
                 vectors_of("output", target.vectors, element, True)], half, work.threads)

    def tile(owner: str, number: str) -> None:
        example, own = e.divided(owner, count)
        there, here = (
            e.add(e.add(e.times(example, rows.planes // batch), own), start)
            for rows, start in zip((source, target), first, strict=True)
        )
        place = e.split(number, source.height, source.across)
        value = e.load("input", vector_at(e, source, there, *place))
        e.store(value, "output", vector_at(e, target, here, *place))
        write_margins(e, target, here, number, work.tiles)

    return work.run(e, tile)


def from_words(target: Tensor, bytes_: int) -> Kernel:
    """An input of integers of ``bytes_`` each (8, or 1: of bool), as i32; what needs more than 32 bits
    becomes the largest or smallest, which no index may be."""
    e, work, count = _between_words(target, bytes_, "input", False)

    def one(_: str, number: str) -> None:
        if bytes_ == 1:
            at, place = e.divided(number, BYTES_OF_WORD)
            word = e.load("input", at)
            shift = e.new(f"arith.index_cast {e.times(place, 8)} : index to i32")
            moved = e.new(f"arith.shrui {word}, {shift} : i32")
            value = e.new(f"arith.andi {moved}, {e.new('arith.constant 255 : i32')} : i32")
            value = e.new(f"arith.minui {value}, {e.new('arith.constant 1 : i32')} : i32")
        else:
            at = e.times(number, 2)
            low, high = e.load("input", at), e.load("input", e.add(at, 1))
            sign = e.new(f"arith.shrsi {low}, {e.new('arith.constant 31 : i32')} : i32")
            fits = e.new(f"arith.cmpi eq, {sign}, {high} : i32")
            negative = e.new(f"arith.cmpi slt, {high}, {e.new('arith.constant 0 : i32')} : i32")
            most = e.chosen(negative, e.new("arith.constant -2147483648 : i32"),
                            e.new("arith.constant 2147483647 : i32"), "i32")
            value = e.chosen(fits, low, most, "i32")
        e.store(value, "output", number)

    return work.run(e, one) if count else e.kernel((1, 1, 1))


def to_words(source: Tensor, bytes_: int) -> Kernel:
    """The reverse of ``from_words``."""
    e, work, count = _between_words(source, bytes_, "output", True)

    def one(_: str, number: str) -> None:
        if bytes_ == 1:
            word = e.new("arith.constant 0 : i32")
            for place in range(BYTES_OF_WORD):
                at = e.clamped(e.add(e.times(number, BYTES_OF_WORD), place), count)
                shift = e.new(f"arith.constant {8 * place} : i32")
                moved = e.new(f"arith.shli {e.load('input', at)}, {shift} : i32")
                word = e.new(f"arith.ori {word}, {moved} : i32")
            e.store(word, "output", number)
            return
        low = e.load("input", number)
        high = e.new(f"arith.shrsi {low}, {e.new('arith.constant 31 : i32')} : i32")
        at = e.times(number, 2)
        e.store(low, "output", at)
        e.store(high, "output", e.add(at, 1))

    return work.run(e, one)


def _between_words(tensor: Tensor, bytes_: int, outside: str, written: bool) -> tuple[Emitter, Work, int]:
    """An emitter over the host's words and ours; a thread an element, or a word of bytes that are written."""
    count = prod(tensor.shape)
    words = words_of(count, bytes_)
    assert isinstance(tensor.layout, Plain)
    inside = Buffer("output" if outside == "input" else "input", "i32", max(count, 1), not written)
    whole = Buffer(outside, "i32", words, written)
    work = Work(1, words if bytes_ == 1 and written else count)
    buffers = [whole, inside] if outside == "input" else [inside, whole]
    return Emitter(buffers, False, work.threads), work, count


def words_of(count: int, bytes_: int) -> int:
    """32-bit words that so many numbers of the host fill."""
    return max(1, -(-count * bytes_ // BYTES_OF_WORD))
