"""Pools: a thread computes a vector of output pixels.

    acc = start;  for each window row: for each tap: acc = max(acc, four shuffled pixels);  store acc

A padded maximum, and maps narrower than a vector, go pixel by pixel: places beyond the border are those at
the border instead, which lie in the window too, so the maximum is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

from ..emitter import WIDE, Emitter, Kernel, Work, vectors_of
from ..layout import LANES, Rows
from .tiles import RowReader, input_buffers, places_of, store_vector, write_margins

Three = tuple[int, int, int]


@dataclass(frozen=True)
class Pool:
    """``max`` or ``average`` of windows of ``kernel`` pixels; padding counts as -inf, or as zeros."""

    source: Rows
    target: Rows
    kind: str
    kernel: Three
    stride: Three
    padding: Three
    half: bool = False

    @property
    def is_padded(self) -> bool:
        """Whether a window reaches beyond the image."""
        return any(low or (size - 1) * step + window > own
                   for low, size, step, window, own in zip(self.padding, self.target.image, self.stride,
                                                           self.kernel, self.source.image, strict=True))


def pool(layer: Pool) -> Kernel:
    """The kernel of a pool."""
    target, element = layer.target, "f16" if layer.half else "f32"
    work = Work(target.planes, target.depth * target.height * target.across)
    buffers = [*input_buffers(layer.source, element), vectors_of("output", target.vectors, element, True)]
    e = Emitter(buffers, layer.half, work.threads)
    by_pixel = (layer.kind == "max" and layer.is_padded) or target.width < LANES

    def tile(plane: str, number: str) -> None:
        place = e.split(number, target.height, target.across)
        first = e.add(e.times(plane, layer.source.plane), layer.source.origin)
        total = (_by_pixel if by_pixel else _by_vector)(e, layer, first, place)
        if layer.kind == "average":
            total = e.new(f"arith.mulf {total}, {e.real(1 / prod(layer.kernel), WIDE)} : {WIDE}")
        store_vector(e, target, total, plane, place)
        write_margins(e, target, plane, number, work.tiles)

    return work.run(e, tile)


def _combine(e: Emitter, layer: Pool, total: str, value: str, type_: str) -> str:
    return e.new(f"arith.{'maximumf' if layer.kind == 'max' else 'addf'} {total}, {value} : {type_}")


def _start(layer: Pool) -> float:
    return float("-inf") if layer.kind == "max" else 0.0


def _by_vector(e: Emitter, layer: Pool, first: str, place: Sequence[str]) -> str:
    """A vector of pools, f32; window rows in a loop, their taps unrolled."""
    source, (_, high, wide) = layer.source, layer.kernel
    z, y, x = place
    begin = e.add(first, e.times(e.times(z, layer.stride[0]), source.slice))
    begin = e.add(begin, e.times(e.times(y, layer.stride[1]), source.pitch))
    begin = e.add(begin, e.times(x, layer.stride[2]))
    before = -layer.padding[0] * source.slice - layer.padding[1] * source.pitch
    places = [places_of(0, tap - layer.padding[2], layer.stride[2]) for tap in range(wide)]

    def row(k: str, totals: list[str]) -> list[str]:
        dz, dy = e.divided(k, high)
        at = e.add(e.add(begin, e.times(dz, source.slice)), e.times(dy, source.pitch))
        reader = RowReader(e, at, before, places)
        total = totals[0]
        for wanted in places:
            total = _combine(e, layer, total, e.widened(reader.read(wanted)), WIDE)
        return [total]

    start = e.real(_start(layer), WIDE)
    return e.loop(e.index(0), e.index(layer.kernel[0] * high), [start], WIDE, row)[0]


def _by_pixel(e: Emitter, layer: Pool, first: str, place: Sequence[str]) -> str:
    """A vector of pools, f32, a lane after the other."""
    source = layer.source
    lowest = [
        e.add(e.times(at, stride), -padding)
        for at, stride, padding in zip(place, (*layer.stride[:2], LANES * layer.stride[2]), layer.padding,
                                       strict=True)
    ]
    largest = layer.kind == "max"
    own_lanes = min(LANES, layer.target.width)

    def row(k: str, totals: list[str]) -> list[str]:
        offsets = e.divided(k, layer.kernel[1])
        z, y = (e.add(low, offset) for low, offset in zip(lowest, offsets, strict=False))
        if largest:
            z, y = e.clamped(z, source.depth), e.clamped(y, source.height)
        line = e.add(e.add(first, e.times(z, source.slice)), e.times(y, source.pitch))
        line = e.times(line, LANES)
        return [
            _lane(e, layer, line, e.add(lowest[2], lane * layer.stride[2]), total)
            for lane, total in enumerate(totals)
        ]

    start = e.real(_start(layer))
    totals = e.loop(e.index(0), e.index(layer.kernel[0] * layer.kernel[1]), [start] * own_lanes, "f32", row)
    totals += [start] * (LANES - own_lanes)
    return e.joined(totals, "f32")


def _lane(e: Emitter, layer: Pool, line: str, first: str, total: str) -> str:
    """``total`` with the pixels of a row from ``first`` on."""
    read = partial(e.load, "pixels")
    for tap in range(layer.kernel[2]):
        x = e.add(first, tap)
        if layer.kind == "max":
            x = e.clamped(x, layer.source.width)
        total = _combine(e, layer, total, e.widened(read(e.add(line, x)), scalar=True), "f32")
    return total
