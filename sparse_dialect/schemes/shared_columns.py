"""Rows that share columns (GRIM's matrix reorder): base of the schemes whose filters do, and their groups.

A weight is seen as a matrix: rows are filters, columns are (channel, tap), or the inputs of a linear layer.
Rows with one set of kept columns form groups, so that one loaded input serves them all:

    rows 0 and 2 keep {0, 1, 4}, rows 1 and 3 keep {2, 5}  ->  groups [[0, 2], [1, 3]]
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .filter_order import similarity_chain
from .scheme import Scheme

# Of the places that a mask of blocks or groups keeps, so many may hold a zero all the same: a filter that
# its batch norm scaled to nothing, a weight that was trained to it.
ACCIDENTAL_ZEROS = 0.01

LARGEST_GROUP = 8  # rows whose sums fit in vector registers together with a few vectors of outputs
ENOUGH_FILL = 1.05  # stored weights over nonzeros, up to which smaller groups are not tried
GROUP_OVERHEAD = {1: 2.0, 2: 1.2, 3: 1.1}  # what a multiply costs in small groups: a load serves few
LARGEST_CHAIN = 1 << 26  # entries of a matrix that similarity is computed for


@dataclass(frozen=True)
class SharedColumns(Scheme):
    """Base of the schemes whose filters share columns in groups."""

    @abstractmethod
    def filter_groups(self, weight: np.ndarray) -> np.ndarray:
        """The filters of ``weight`` in groups that share columns, i64 [groups, size] (``group_rows``)."""

    @abstractmethod
    def in_groups_of(self, filters: int) -> SharedColumns:
        """The scheme of which so many filters share columns."""

    def multiply_adds(self, weight: np.ndarray) -> int:
        return stored_weights(matrix_of(weight), self.filter_groups(weight))

    @property
    def channels_together(self) -> int:
        """Neighbouring channels that keep the same places."""
        return 1


def matrix_of(weight: np.ndarray) -> np.ndarray:
    """A weight as [rows, columns], without a copy: the GEMM view of a convolution."""
    return weight.reshape(len(weight), -1)


def nothing_to_share(weight: np.ndarray) -> str:
    """Why it is useless to look for structure in ``weight``: too few zeros or nothing else; else empty."""
    nonzeros = np.count_nonzero(weight)
    if nonzeros == weight.size:
        return "no weight is zero"
    if nonzeros > (1 - ACCIDENTAL_ZEROS) * weight.size:
        return f"only {1 - nonzeros / weight.size:.2%} of its weights are zero"
    return "" if nonzeros else "no weight is left"


def plausible_sizes(misfits: np.ndarray, sizes: Iterable[int], spare: float) -> list[int]:
    """Of ``sizes``, those whose groups of neighbours few ``misfits`` lie in; the others cannot fit.

    ``misfits`` [M - 1] counts the entries that rule out a shared set between each row and the next. Each is
    a zero in a group's hull, of which there may be ``spare``; a zero counts in two pairs at most.
    """
    pair = np.arange(len(misfits))
    return [size for size in sizes if size <= len(misfits) + 1
            and misfits[pair % size != size - 1].sum() <= 2 * spare]


def row_sets(matrix: np.ndarray) -> np.ndarray:
    """For each row of ``matrix`` [M, K] the number of its set of kept columns, in order of appearance."""
    known: dict[bytes, int] = {}
    return np.array([known.setdefault(np.packbits(row != 0).tobytes(), len(known)) for row in matrix],
                    np.int64)


def group_rows(matrix: np.ndarray, size: int) -> np.ndarray:
    """The rows of ``matrix`` [M, K] in groups that share columns, i64 [groups, size], longest first.

    Rows of equal sets come together. Of what is left over, similar rows share a group where at least half
    of a row's columns are the group's already; a group with too few rows repeats its last one.
    """
    sets = row_sets(matrix)
    by_set = np.argsort(sets, kind="stable")
    groups, left = [], []
    for members in np.split(by_set, np.flatnonzero(np.diff(sets[by_set])) + 1):
        whole = len(members) // size * size
        groups.append(members[:whole].reshape(-1, size))
        left.append(members[whole:])
    joined = np.concatenate([*groups, *_join(matrix, np.concatenate(left), size)])
    lengths = np.array([np.count_nonzero(matrix[group[0]]) for group in joined])
    return joined[np.lexsort((joined[:, 0], -lengths))]


def _join(matrix: np.ndarray, rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Groups of rows whose sets differ, each [1, size]."""
    if len(rows) * matrix.shape[1] <= LARGEST_CHAIN:
        rows = similarity_chain(rows, np.where(matrix[rows] != 0, 0, -1))
    groups: list[list[int]] = []
    shared = np.zeros(matrix.shape[1], bool)
    for row in rows:
        kept = matrix[row] != 0
        fits = groups and len(groups[-1]) < size
        if fits and 2 * np.count_nonzero(kept & shared) >= np.count_nonzero(kept):
            groups[-1].append(int(row))
            shared |= kept
        else:
            groups.append([int(row)])
            shared = kept
    return [np.array([group + group[-1:] * (size - len(group))]) for group in groups]


def shared_columns(matrix: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The columns, increasing, that any row of ``group`` keeps."""
    return np.flatnonzero((matrix[group] != 0).any(axis=0))


def stored_weights(matrix: np.ndarray, groups: np.ndarray) -> int:
    """Weights that ``groups`` store: every row of a group holds all of the group's columns."""
    return sum(len(shared_columns(matrix, group)) for group in groups) * groups.shape[1]


def best_groups(matrix: np.ndarray, rows: int) -> np.ndarray:
    """The groups (``group_rows``) of ``matrix`` that run fastest where ``rows`` neighbours are meant to
    share columns.

    Smaller groups are considered only where that size stores many zeros.
    """
    natural = natural_size(rows)
    best = group_rows(matrix, natural)
    stored = stored_weights(matrix, best)
    cost = stored * GROUP_OVERHEAD.get(natural, 1.0)
    if stored > ENOUGH_FILL * np.count_nonzero(matrix):
        for size in (s for s in (4, 2, 1) if s < natural):
            groups = group_rows(matrix, size)
            if stored_weights(matrix, groups) * GROUP_OVERHEAD.get(size, 1.0) < cost:
                best, cost = groups, stored_weights(matrix, groups) * GROUP_OVERHEAD.get(size, 1.0)
    return best


def natural_size(rows: int) -> int:
    """Rows a group where ``rows`` share columns: at most LARGEST_GROUP, with as little padding as can be."""
    if rows <= LARGEST_GROUP:
        return rows
    return min(range(LARGEST_GROUP, LARGEST_GROUP // 2 - 1, -1), key=lambda size: -(-rows // size) * size)

