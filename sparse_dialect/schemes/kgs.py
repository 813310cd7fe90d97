"""Kernel-group sparsity (KGS and vanilla; RT3D, AAAI 2021): groups of kernels are cut at the same places.

A convolution weight [F, C, *kernel], 2-D or 3-D, is cut into groups of ``filters`` filters x ``channels``
channels. KGS prunes all kernels of a group at the same places; vanilla, a special case, prunes whole groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from .kernels import kernels_of
from .scheme import is_nonzero
from .shared_columns import (
    ACCIDENTAL_ZEROS,
    SharedColumns,
    best_groups,
    matrix_of,
    nothing_to_share,
    plausible_sizes,
)

SCORES = ("rms", "l2")
DETECTED = range(32, 1, -1)  # filters, and channels, that detection tries: the largest groups that fit


@dataclass(frozen=True)
class Kgs(SharedColumns):
    """Groups of ``filters`` x ``channels`` kernels of size ``kernel`` that keep the same places."""

    filters: int
    channels: int
    kernel: tuple[int, ...]
    name: ClassVar[str] = "kgs"

    def __post_init__(self) -> None:
        if self.filters < 1 or self.channels < 1:
            raise EspalierError(f"a kernel group has at least 1 filter and 1 channel, found "
                                f"{self.filters} x {self.channels}")

    @property
    def channels_together(self) -> int:
        return self.channels

    @classmethod
    def find(cls, mask: np.ndarray) -> Kgs | str:
        if mask.ndim < 3:
            return "a matrix has no kernels"
        if nothing := nothing_to_share(mask):
            return nothing
        kept = kernels_of(mask)
        spare = ACCIDENTAL_ZEROS * np.count_nonzero(kept)
        between_filters = np.count_nonzero(kept[1:] != kept[:-1], axis=(1, 2))
        between_channels = np.count_nonzero(kept[:, 1:] != kept[:, :-1], axis=(0, 2))
        sizes = product(*(plausible_sizes(m, DETECTED, spare) for m in (between_filters, between_channels)))
        found = (cls(f, c, tuple(mask.shape[2:])) for f, c in sizes)
        return next((scheme for scheme in found if scheme.fits(mask)),
                    "no groups of 2 x 2 or more kernels keep the same places")

    def fits(self, weight: np.ndarray) -> bool:
        """Whether the kernels of every group keep the same places, up to accidental zeros; no group may be
        larger than the weight."""
        if self.filters > weight.shape[0] or self.channels > weight.shape[1]:
            return False
        edges = np.arange(0, weight.shape[1], self.channels)
        spare = ACCIDENTAL_ZEROS * np.count_nonzero(weight)
        for first in range(0, len(weight), self.filters):  # most misfits end at the first groups
            kept = is_nonzero(kernels_of(weight[first : first + self.filters]))
            units = np.logical_or.reduceat(kept.any(axis=0), edges, axis=0).sum(axis=1)
            stored = units * np.diff(np.append(edges, weight.shape[1])) * len(kept)
            spare -= int(stored.sum()) - np.count_nonzero(kept)
            if spare < 0:
                return False
        return True

    @classmethod
    def project(cls, weight: np.ndarray, *, filters: int = 8, channels: int = 4, rate: float = 3.6,
                vanilla: bool = False, score: str = "rms") -> np.ndarray:
        """The nearest weight whose groups keep one weight in ``rate``: the units of largest ``score``.

        A unit is one place of a group's kernels (all places where ``vanilla``). Scores are those of RT3D's
        code: ``rms`` is the L2 norm over the root of the unit's nonzeros, ``l2`` the norm itself. They differ
        where groups reach past the edge of the weight: scored as if padded with zeros, then cropped.
        """
        weight = np.asarray(weight, np.float32)
        if weight.ndim < 3:
            raise EspalierError("kgs prunes convolutions: a matrix has no kernels; use bcr")
        if not rate >= 1:
            raise EspalierError(f"kgs keeps one weight in `rate`: expected >= 1, found {rate:g}")
        if score not in SCORES:
            raise EspalierError(f"unknown score '{score}': expected one of {', '.join(SCORES)}")
        filters, channels = min(filters, weight.shape[0]), min(channels, weight.shape[1])  # no vast padding
        scheme = cls(filters, channels, tuple(weight.shape[2:]))
        units = scheme.units(weight)
        if vanilla:
            units = units.reshape(*units.shape[:2], 1, -1)
        squares = np.square(units).sum(axis=3)
        if score == "rms":
            squares /= np.maximum(np.count_nonzero(units, axis=3), 1)
        sizes = scheme.units(np.ones_like(weight)).sum(axis=3, dtype=np.int64)
        sizes = sizes.sum(axis=2, keepdims=True) if vanilla else sizes
        ranked = np.argsort(-squares, axis=None, kind="stable")
        total = np.cumsum(sizes.ravel()[ranked])
        keep = max(1, int(np.argmin(np.abs(total - weight.size / rate))) + 1)
        mask = np.zeros(squares.shape, bool)
        mask.reshape(-1)[ranked[:keep]] = True
        mask = np.broadcast_to(mask, (*mask.shape[:2], prod(weight.shape[2:])))
        mask = mask.repeat(filters, axis=0)[: weight.shape[0]].repeat(channels, axis=1)[:, : weight.shape[1]]
        return weight * mask.reshape(weight.shape)

    def units(self, weight: np.ndarray) -> np.ndarray:
        """``weight`` as [P, Q, places, channels * filters], zero-padded to whole groups."""
        kernels = kernels_of(weight)
        p, q = -(-weight.shape[0] // self.filters), -(-weight.shape[1] // self.channels)
        padded = np.zeros((p * self.filters, q * self.channels, kernels.shape[2]), np.float32)
        padded[: weight.shape[0], : weight.shape[1]] = kernels
        split = padded.reshape(p, self.filters, q, self.channels, -1)
        return split.transpose(0, 2, 4, 3, 1).reshape(p, q, kernels.shape[2], -1)

    def filter_groups(self, weight: np.ndarray) -> np.ndarray:
        return best_groups(matrix_of(weight), self.filters)

    def in_groups_of(self, filters: int) -> Kgs:
        return replace(self, filters=filters)
