"""Which taps of a transposed convolution meet at which of its outputs: ``torch/transposed.py`` and
``onnx/transposed.py`` make ordinary convolutions of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any


@dataclass(frozen=True)
class Phase:
    """The outputs ``b * stride + a`` of one dimension for one ``a``.

    Output ``b`` is the sum over ``taps`` of ``w[tap] * x[b + start + step * number]``, where ``number``
    counts the taps from 0 and ``x`` is 0 beyond its ends.
    """

    taps: tuple[int, ...]
    start: int
    step: int


def phases(kernel: int, stride: int, padding: int, dilation: int) -> list[Phase]:
    """The phases 0 .. stride - 1 of one dimension; one without taps is 0 everywhere."""
    found = []
    for a in range(stride):
        first, rest = divmod(padding + a, stride)  # the input at tap 0 would be first + b where rest is 0
        taps = [k for k in range(kernel) if (k * dilation - rest) % stride == 0]
        reads = [first - (k * dilation - rest) // stride for k in taps]
        step = dilation // gcd(dilation, stride)
        found.append(Phase(tuple(reversed(taps)), reads[-1] if reads else 0, step))
    return found


@dataclass(frozen=True)
class Geometry:
    """A transposed convolution's phases, one list a dimension; ``places`` is B, ``size`` the output's."""

    strides: tuple[int, ...]
    phases: tuple[list[Phase], ...]
    size: tuple[int, ...]
    places: tuple[int, ...]

    @staticmethod
    def of(kernel: Sequence[int], strides: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
           size: Sequence[int]) -> Geometry:
        each = tuple(phases(*numbers) for numbers in zip(kernel, strides, padding, dilation, strict=True))
        places = tuple(-(-total // stride) for total, stride in zip(size, strides, strict=True))
        return Geometry(tuple(strides), each, tuple(size), places)

    def combined(self) -> list[tuple[Phase, ...]]:
        """Every phase of the whole output, in row-major order of its a."""
        return list(itertools.product(*self.phases))

    def alike(self, groups: int) -> list[list[int]]:
        """The numbers in ``combined`` of phases that one convolution can compute: those of equally many taps;
        each by itself where the filters are in ``groups``."""
        found: dict[Any, list[int]] = {}
        for number, phase in enumerate(self.combined()):
            taps = tuple(len(part.taps) for part in phase)
            found.setdefault(taps if groups == 1 else number, []).append(number)
        return list(found.values())

    def joint(self, chosen: Sequence[tuple[Phase, ...]]) -> Joint:
        """One convolution for ``chosen``, phases of equally many taps."""
        dims = range(len(self.places))
        begins = tuple(min(phase[dim].start for phase in chosen) for dim in dims)
        starts = tuple(tuple(part.start - begin for part, begin in zip(phase, begins, strict=True))
                       for phase in chosen)
        counts = tuple(count + max(start[dim] for start in starts) for dim, count in enumerate(self.places))
        spans = [(len(part.taps) - 1) * part.step for part in chosen[0]]
        ends = tuple(begin + count + span for begin, count, span in zip(begins, counts, spans, strict=True))
        return Joint(begins, ends, tuple(part.step for part in chosen[0]), counts, starts)


@dataclass(frozen=True)
class Joint:
    """
    One ordinary convolution for several phases, a number a dimension: it reads the image from ``begins`` (up
    to ``ends``, both possibly beyond it) with its taps ``steps`` apart, and has ``counts`` outputs;
    ``starts``: where those of each phase begin among them.
    """

    begins: tuple[int, ...]
    ends: tuple[int, ...]
    steps: tuple[int, ...]
    counts: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]


__all__ = ["Geometry", "Joint", "Phase", "phases"]
