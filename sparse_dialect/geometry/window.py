"""The window of a convolution or a pool: which input lines an output line reads. Numpy-free arithmetic.

Windows count three dimensions, whatever the layer has: see ``layouts.three``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod

from .layouts import Three, box, three

ONES: Three = (1, 1, 1)


@dataclass(frozen=True)
class Window:
    """A window: kernel size, strides, low padding, dilations, each (depth, rows, columns)."""

    kernel: Three
    strides: Three = ONES
    padding: Three = (0, 0, 0)
    dilations: Three = ONES

    @staticmethod
    def of(kernel: Sequence[int], strides: Sequence[int] = (), padding: Sequence[int] = (),
           dilations: Sequence[int] = ()) -> Window:
        """A window of one to three dimensions."""
        return Window(three(kernel), three(strides), three(padding, fill=0), three(dilations))

    @property
    def taps(self) -> list[Three]:
        """Offsets (depth, rows, columns) of every kernel place, row-major."""
        spans = [range(0, size * dilation, dilation)
                 for size, dilation in zip(self.kernel, self.dilations, strict=True)]
        return box(*spans)

    def reaches(self, lines: Three) -> Three:
        """From the first to the last input line that so many output lines read, along each dimension."""
        depth, rows, columns = ((n - 1) * s + (k - 1) * d + 1 for n, s, k, d in
                                zip(lines, self.strides, self.kernel, self.dilations, strict=True))
        return depth, rows, columns

    def reads(self, tile: Three) -> list[list[int]]:
        """The input lines, along each dimension, that a tile's taps touch; and those between where a tap
        would not lie at the same distance from every output line."""
        return [list(_evenly(*side))
                for side in zip(tile, self.strides, self.kernel, self.dilations, strict=True)]

    def slices_inside(self, depth: int, first: int, count: int = 1) -> range:
        """The kernel's slices that ``count`` output slices from ``first`` on need, of an input of ``depth``
        slices: the others read only padding."""
        size, stride, padding, step = (side[0] for side in (self.kernel, self.strides, self.padding,
                                                            self.dilations))
        low = -(-(padding - (first + count - 1) * stride) // step)
        high = (depth - 1 + padding - first * stride) // step + 1
        return range(min(max(low, 0), size - 1), min(max(high, 0), size))

    def lines_read(self, tile: Three) -> int:
        """How many input lines that is."""
        return prod(len(_evenly(*side))
                    for side in zip(tile, self.strides, self.kernel, self.dilations, strict=True))


@cache
def _evenly(lines: int, stride: int, kernel: int, dilation: int) -> tuple[int, ...]:
    """The places at * stride + tap * dilation, or all from the first to the last where the numbers of these
    places among the others are not sums of one for the line and one for the tap."""
    touched = sorted({at * stride + tap * dilation for at in range(lines) for tap in range(kernel)})
    number = {place: at for at, place in enumerate(touched)}
    step = number[stride] if lines > 1 else 0
    if all(number[at * stride + tap * dilation] == at * step + number[tap * dilation]
           for at in range(lines) for tap in range(kernel)):
        return tuple(touched)
    return tuple(range(touched[-1] + 1))
