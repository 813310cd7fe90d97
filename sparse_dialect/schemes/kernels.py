"""Schemes whose masks are made of kernels: each follows one pattern of a small library, or is empty.

A *kernel* is the weights of one filter at one channel (PatDNN, ASPLOS 2020), a *tap* one of its places,
counted row-major.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import EspalierError
from .scheme import Scheme, is_nonzero, largest

Library = tuple[tuple[int, ...], ...]  # the taps of each pattern, increasing


@dataclass(frozen=True)
class Kernels:
    """The kernels that a weight keeps: filter, input channel and pattern of each; integers, any order.

    Where one kernel keeps several patterns (single weights, say), it is listed once for each; a tap that two
    of them have belongs to the first (``repeated``).
    """

    filters: np.ndarray
    channels: np.ndarray
    patterns: np.ndarray


def repeated(kept: Kernels, library: Library) -> np.ndarray:
    """bool [kernels, taps of the longest pattern]: which taps of each listed pattern a pattern of the same
    kernel, listed before it, has already."""
    taps = max(map(len, library), default=0)
    again = np.zeros((len(kept.filters), taps), bool)
    if sum(map(len, library)) == len(set().union(*library)):
        return again  # no two patterns overlap
    code = kept.filters.astype(np.int64) << 32 | kept.channels
    order = np.argsort(code, kind="stable")
    taken: set[int] = set()
    for at in np.flatnonzero(np.diff(code[order]) == 0):
        first, second = order[at], order[at + 1]
        if at == 0 or code[order[at - 1]] != code[first]:
            taken = set(library[kept.patterns[first]])
        own = library[kept.patterns[second]]
        again[second, : len(own)] = [tap in taken for tap in own]
        taken.update(own)
    return again


@dataclass(frozen=True)
class KernelScheme(Scheme):
    """Base of the schemes that say which pattern of a library each kernel keeps."""

    @abstractmethod
    def patterns(self, kernel: Sequence[int]) -> Library:
        """The library, for kernels of size ``kernel``."""

    @abstractmethod
    def kernels(self, weight: np.ndarray) -> Kernels:
        """The kernels of ``weight`` [F, C, *kernel] that are kept; ``EspalierError`` if one fits none."""

    def multiply_adds(self, weight: np.ndarray) -> int:
        """Every kept kernel stores all taps of its pattern."""
        if weight.ndim < 3:
            return int(np.count_nonzero(weight))
        taps = np.array([len(pattern) for pattern in self.patterns(weight.shape[2:])])
        return int(taps[self.kernels(weight).patterns].sum())


@dataclass(frozen=True)
class PatternScheme(KernelScheme):
    """Base of the schemes in which a kernel keeps one pattern at the most."""

    @abstractmethod
    def assign(self, weight: np.ndarray) -> np.ndarray:
        """The pattern of each kernel of ``weight`` [F, C, *kernel]: i16 [F, C], -1 where it is cut."""

    def kernels(self, weight: np.ndarray) -> Kernels:
        ids = self.assign(weight)
        filters, channels = np.nonzero(ids >= 0)
        return Kernels(filters, channels, ids[filters, channels].astype(np.int64))


@dataclass(frozen=True)
class SingleWeights(KernelScheme):
    """Base of the schemes that keep single weights wherever they like: each is a kernel of one tap."""

    def patterns(self, kernel: Sequence[int]) -> Library:
        return tuple((tap,) for tap in range(int(np.prod(kernel))))

    def kernels(self, weight: np.ndarray) -> Kernels:
        return Kernels(*np.nonzero(is_nonzero(kernels_of(weight))))

    def multiply_adds(self, weight: np.ndarray) -> int:
        return int(np.count_nonzero(weight))


def kernels_of(weight: np.ndarray) -> np.ndarray:
    """A convolution weight [F, C, *kernel] as [F, C, taps], without a copy."""
    return weight.reshape(*weight.shape[:2], -1)


def common_count(kept: np.ndarray) -> int:
    """The most frequent positive count in ``kept`` (of equals the larger): what a kernel keeps by design."""
    histogram = np.bincount(kept.ravel())
    histogram[0] = 0
    return int(len(histogram) - 1 - np.argmax(histogram[::-1]))


def keep_kernels(norms: np.ndarray, rate: float, balance: str) -> np.ndarray:
    """Mask of the kernels that stay: one in ``rate`` of ``norms`` [F, C], the largest ones, at least one.

    ``balance``: ``layer`` ranks all kernels together (PatDNN), ``filter`` keeps equally many in each filter
    (PCONV).
    """
    if rate < 1:
        raise EspalierError(f"connectivity keeps one kernel in `rate`: expected at least 1, found {rate:g}")
    if balance == "layer":
        return largest(norms, max(1, round(norms.size / rate)))
    if balance == "filter":
        keep = max(1, round(norms.shape[1] / rate))
        return np.stack([largest(row, keep) for row in norms])
    raise EspalierError(f"unknown balance '{balance}': expected layer or filter")
