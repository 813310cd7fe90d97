"""Threads over the elements of a tensor, however it lies, and single elements of others.

    rows of pixels -> a thread a vector of four: the value, zeros in lanes beyond the image, and margins
    others         -> a thread an element, or, where ``wide``, four neighbours of one row
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from ..emitter import Buffer, Emitter, Kernel, Work
from ..layout import LANES, Matrix, Plain, Rows, Tensor
from .tiles import store_vector, write_margins

Element = Callable[[Emitter, list[str]], str]  # of the places of an element, or of the first of four
_MOST_TILES = 1 << 21  # of an owner: workgroups that a dispatch may have, with room


def buffer_of(name: str, tensor: Tensor, half: bool, wide: bool = False, written: bool = False) -> Buffer:
    """A kernel's argument for a tensor, as vectors where ``wide``."""
    element, count = tensor.stored(half), LANES * tensor.layout.vectors
    if isinstance(tensor.layout, Plain) and not wide:
        count = max(tensor.layout.count, 1)
    return Buffer(name, f"vector<{LANES}x{element}>" if wide else element, count // (LANES if wide else 1),
                  written)


def over(e: Emitter, target: Tensor, value: Element, wide: bool = False, name: str = "output") -> Kernel:
    """
    The kernel that stores ``value`` of every place of ``target``; ``work_of`` says for how many threads ``e``
    is. ``wide``: values are vectors, of the places from the given ones on along the last dimension.
    """
    work = work_of(target, wide)
    if isinstance(target.layout, Rows):
        return work.run(e, _rows(e, target, target.layout, value, wide, work.tiles))
    sizes, count = _sizes(target, wide), prod(_sizes(target, wide))

    def one(owner: str, number: str) -> None:
        number = e.add(e.times(owner, _MOST_TILES), number) if count > _MOST_TILES else number

        def own() -> None:
            places = e.split(number, *sizes[1:]) if sizes else []
            if not wide:
                store_element(e, name, target, places, value(e, places))
                return
            places[-1] = e.times(places[-1], LANES)
            found = value(e, places)
            at, _ = e.divided(element_at(e, target, places), LANES)
            e.store(e.narrowed(found) if target.stored(e.half) == "f16" else found, name, at)

        if count > _MOST_TILES:
            e.when(e.below(number, count), own)
        else:
            own()

    return work.run(e, one)


def work_of(target: Tensor, wide: bool) -> Work:
    """The threads that write a tensor."""
    rows = target.layout
    if isinstance(rows, Rows):
        return Work(rows.planes, rows.depth * rows.height * rows.across)
    count = prod(_sizes(target, wide))
    return Work(max(1, -(-count // _MOST_TILES)), min(count, _MOST_TILES))


def _sizes(target: Tensor, wide: bool) -> tuple[int, ...]:
    """Of the array of threads."""
    return (*target.shape[:-1], -(-target.shape[-1] // LANES)) if wide else target.shape


def _rows(e: Emitter, target: Tensor, rows: Rows, value: Element, wide: bool, tiles: int
          ) -> Callable[[str, str], None]:
    dimensions = len(target.shape) - 2

    def tile(plane: str, number: str) -> None:
        place = e.split(number, rows.height, rows.across)
        batch, channel = e.divided(plane, target.shape[1])
        image = [*place[:2], e.times(place[2], LANES)][-dimensions:]
        before = [batch, channel, *image[:-1]]
        if wide:
            found = value(e, [*before, image[-1]])
        else:
            lanes = min(LANES, rows.width)
            xs = [e.clamped(e.add(image[-1], lane), rows.width) for lane in range(lanes)]
            numbers = [value(e, [*before, x]) for x in xs]
            found = e.joined(numbers + numbers[:1] * (LANES - lanes), "f32")
        store_vector(e, rows, found, plane, place)
        write_margins(e, rows, plane, number, tiles)

    return tile


def element_at(e: Emitter, tensor: Tensor, places: Sequence[str]) -> str:
    """Where an element lies in its buffer, in elements."""
    layout = tensor.layout
    if isinstance(layout, Rows):
        plane = e.add(e.times(places[0], tensor.shape[1]), places[1])
        z, y, x = [e.index(0), e.index(0), *places[2:]][-3:]
        return pixel_at(e, layout, plane, z, y, x)
    if isinstance(layout, Matrix):
        row = linear(e, tensor.shape[:-1], places[:-1])
        return e.add(e.times(row, layout.pitch), places[-1])
    return e.add(linear(e, tensor.shape, places), tensor.first)


def linear(e: Emitter, shape: Sequence[int], places: Sequence[str]) -> str:
    """The number of an element, in PyTorch's order."""
    total = e.index(0)
    for size, place in zip(shape, places, strict=True):
        if size > 1:
            total = place if total == e.index(0) else e.add(e.times(total, size), place)
        elif total != e.index(0):
            total = e.times(total, size)
    return total


def pixel_at(e: Emitter, rows: Rows, plane: str, z: str, y: str, x: str) -> str:
    """The place of a pixel in a buffer of single elements."""
    at = e.add(e.add(e.times(plane, rows.plane), e.times(y, rows.pitch)), rows.origin)
    if rows.depth > 1:
        at = e.add(at, e.times(z, rows.slice))
    return e.add(e.times(at, LANES), x)


def load_element(e: Emitter, name: str, tensor: Tensor, places: Sequence[str]) -> str:
    """An element as numbers are computed: f32, index or i1."""
    return as_computed(e, tensor, e.load(name, element_at(e, tensor, places)))


def as_computed(e: Emitter, tensor: Tensor, value: str) -> str:
    """A loaded element as f32, index or i1."""
    if tensor.kind == "index":
        return e.new(f"arith.index_cast {value} : i32 to index")
    if tensor.kind == "i1":
        return e.new(f"arith.cmpi ne, {value}, {e.new('arith.constant 0 : i32')} : i32")
    return e.widened(value, scalar=True) if tensor.stored(e.half) == "f16" else value


def load_vector(e: Emitter, name: str, tensor: Tensor, places: Sequence[str]) -> str:
    """Four neighbours along the last dimension, f32, from a buffer of vectors."""
    at, _ = e.divided(element_at(e, tensor, places), LANES)
    value = e.load(name, at)
    return e.widened(value) if tensor.stored(e.half) == "f16" else value


def store_element(e: Emitter, name: str, tensor: Tensor, places: Sequence[str], value: str) -> None:
    """Writes f32, index or i1 as the tensor keeps it."""
    if tensor.kind == "index":
        value = e.new(f"arith.index_cast {value} : index to i32")
    elif tensor.kind == "i1":
        value = e.new(f"arith.extui {value} : i1 to i32")
    elif tensor.stored(e.half) == "f16":
        value = e.narrowed(value, scalar=True)
    e.store(value, name, element_at(e, tensor, places))


def zero_of(e: Emitter, kind: str) -> str:
    """Zero, or false."""
    if kind == "index":
        return e.index(0)
    return e.new("arith.constant false") if kind == "i1" else e.real(0, kind)
