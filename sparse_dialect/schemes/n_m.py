"""N:M sparsity: of every M neighbouring input channels at most N keep their weight.

As PyTorch and torchao write 2:4 (``to_sparse_semi_structured``; ``WeightNormSparsifier`` with blocks of
1 x 4): along the inputs of each row of a matrix [M, K]; of a convolution [F, C, *kernel], along the channels
of each filter at each tap. 2:4 of eight inputs (Mishra et al., 2021):

    x . . x   . x x .
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from .kernels import SingleWeights
from .shared_columns import ACCIDENTAL_ZEROS

DETECTED = (2, 4, 8, 16, 32)  # M, small ones first: what is 2:4 is 4:8 as well
ROWS_AT_A_TIME = 256
LEAST_GROUPS = 16  # of fewer, all may keep as many by chance


@dataclass(frozen=True)
class NM(SingleWeights):
    """``n`` of every ``m`` channels; a last group with fewer channels keeps ``n`` at the most."""

    n: int
    m: int
    name: ClassVar[str] = "n_m"

    def __post_init__(self) -> None:
        if not 1 <= self.n < self.m:
            raise EspalierError(f"n_m keeps n of m weights: expected 1 <= n < m, found {self.n} of {self.m}")

    @classmethod
    def find(cls, mask: np.ndarray) -> NM | str:
        """The smallest groups of which nearly all keep as many weights as the fullest does, but not all."""
        if mask.all():
            return "no weight is zero"
        if not mask.any():
            return "no weight is left"
        for m in DETECTED:
            n = _fullest(mask, m) if m <= mask.shape[1] else 0
            if 0 < n < m:
                return cls(n, m)
        return "no groups of channels keep equally many weights"

    @classmethod
    def project(cls, weight: np.ndarray, *, n: int = 2, m: int = 4) -> np.ndarray:
        """The nearest weight that keeps ``n`` of every ``m`` channels: those of largest magnitude, the first
        among equals."""
        cls(n, m)
        weight = np.array(weight, np.float32)
        for first in range(0, weight.shape[1], m):
            group = weight[:, first : first + m]  # a view
            rank = np.argsort(np.argsort(-np.abs(group), axis=1, kind="stable"), axis=1, kind="stable")
            group[rank >= n] = 0
        return weight


def _fullest(mask: np.ndarray, m: int) -> int:
    """How many of ``m`` channels the fullest group keeps; 0 where others keep fewer by more than chance."""
    whole = mask.shape[1] // m * m
    n, kept, groups = 0, 0, 0
    for first in range(0, len(mask), ROWS_AT_A_TIME):
        part = mask[first : first + ROWS_AT_A_TIME]
        counts = np.zeros((len(part), whole // m, *mask.shape[2:]), np.uint8)
        for channel in range(m):
            counts += part[:, channel:whole:m]
        rest = np.count_nonzero(part[:, whole:], axis=1)
        n = max(n, int(counts.max()), int(rest.max(initial=0)))
        kept += int(counts.sum(dtype=np.int64))
        groups += counts.size
        if n == m or 2 * kept < n * groups:  # most masks end at the first rows
            return 0
    return n if groups >= LEAST_GROUPS and kept >= (1 - ACCIDENTAL_ZEROS) * n * groups else 0
