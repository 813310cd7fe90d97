"""Structured pruning: whole filters (rows), or whole input channels (columns), are cut; a dense rest stays.

What channel pruning leaves (``torch.nn.utils.prune.ln_structured``; Li et al., ICLR 2017): a smaller dense
matrix inside the old one.

    x . x x .
    . . . . .      rows 0 and 2, columns 0, 2 and 3
    x . x x .

A few strays outside are no reason to see no structure: they are kept apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from .scheme import is_nonzero, largest
from .shared_columns import (
    ACCIDENTAL_ZEROS,
    LARGEST_GROUP,
    SharedColumns,
    best_groups,
    matrix_of,
    nothing_to_share,
)

# Of all weights, and of those that are kept, so many may lie outside.
MOST_STRAYS, MOST_STRAYS_OF_KEPT = 0.005, 0.05


@dataclass(frozen=True)
class Structured(SharedColumns):
    """Some rows times some columns of a matrix [M, K]; some filters times some channels of a convolution."""

    name: ClassVar[str] = "structured"

    @classmethod
    def find(cls, mask: np.ndarray) -> Structured | str:
        if nothing := nothing_to_share(mask):
            return nothing
        rows, columns = kept_rows_and_columns(mask)
        if len(rows) == mask.shape[0] and len(columns) == mask.shape[1]:
            return "no filter and no channel is cut whole"
        kept, inside = int(np.count_nonzero(mask)), mask[np.ix_(rows, columns)]
        strays = kept - int(np.count_nonzero(inside))
        if strays > min(MOST_STRAYS * mask.size, MOST_STRAYS_OF_KEPT * kept):
            return f"{strays:,} weights lie outside the filters and channels that keep most"
        zeros = (inside.size - kept + strays) / inside.size
        if zeros > ACCIDENTAL_ZEROS:
            return f"{zeros:.1%} of the weights between kept filters and channels are zero"
        return cls()

    @classmethod
    def project(cls, weight: np.ndarray, *, rate: float = 2.0) -> np.ndarray:
        """The nearest weight that keeps one filter in ``rate``: those of largest L2 norm, at least one."""
        if not rate >= 1:
            raise EspalierError(f"structured keeps one filter in `rate`: expected >= 1, found {rate:g}")
        weight = np.array(weight, np.float32)
        norms = np.square(matrix_of(weight)).sum(axis=1)
        weight[~largest(norms, max(1, round(len(weight) / rate)))] = 0
        return weight

    def multiply_adds(self, weight: np.ndarray) -> int:
        if weight.ndim > 2:
            return super().multiply_adds(weight)
        rows, columns = kept_rows_and_columns(weight)
        return len(rows) * len(columns) + int(np.count_nonzero(without_kept(weight)))

    def filter_groups(self, weight: np.ndarray) -> np.ndarray:
        return best_groups(matrix_of(weight), LARGEST_GROUP)

    def in_groups_of(self, filters: int) -> Structured:
        return self


def kept_rows_and_columns(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows (filters) and columns (input channels) of ``weight``, increasing, that keep at least half as
    much as the fullest; what others keep are strays."""
    mask = is_nonzero(matrix_of(weight))
    rows = _full(np.count_nonzero(mask, axis=1))
    kept = mask if len(rows) == len(mask) else mask[rows]
    return rows, _full(np.count_nonzero(kept, axis=0).reshape(weight.shape[1], -1).sum(axis=1))


def _full(counts: np.ndarray) -> np.ndarray:
    return np.flatnonzero(2 * counts >= max(int(counts.max()), 1))


def without_kept(weight: np.ndarray) -> np.ndarray:
    """The strays of a matrix alone."""
    strays = np.array(weight, np.float32)
    strays[np.ix_(*kept_rows_and_columns(weight))] = 0
    return strays
