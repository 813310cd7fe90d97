"""Block-based column-row sparsity (BCR; GRIM, TPAMI 2022): blocks of a matrix cut whole rows and columns.

The weight is a matrix, [F, C * taps] for a convolution. In each ``rows`` x ``columns`` block (smaller at
the edges) the mask is an outer product: some rows of the block, times some columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from .scheme import is_nonzero
from .shared_columns import (
    ACCIDENTAL_ZEROS,
    SharedColumns,
    best_groups,
    matrix_of,
    nothing_to_share,
    plausible_sizes,
)

ROWS_AT_A_TIME = 256

# Sizes that detection tries, large ones first. A block that fits a size fits its divisors, so of the widths
# that no power of two divides the primes will do.
DETECTED_ROWS = range(32, 1, -1)
DETECTED_COLUMNS = {  # by a divisor; GRIM's 16 first: blocks of 32, 64, ... columns fit that as well
    2: (16, 8, 4, 2), **{prime: (prime,) for prime in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31)}}


@dataclass(frozen=True)
class Bcr(SharedColumns):
    """BCR with blocks of ``rows`` x ``columns``."""

    rows: int
    columns: int
    name: ClassVar[str] = "bcr"

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise EspalierError(f"a block has at least 1 x 1 weights, found {self.rows} x {self.columns}")

    @classmethod
    def find(cls, mask: np.ndarray) -> Bcr | str:
        if nothing := nothing_to_share(mask):
            return nothing
        kept, places = matrix_of(mask), prod(mask.shape[2:])
        spare, pairs = ACCIDENTAL_ZEROS * np.count_nonzero(kept), _Neighbours(kept)
        sizes = ((rows, columns) for divisor, widths in DETECTED_COLUMNS.items()
                 if divisor == 2 or places % divisor  # whole kernels would fit, and they are connectivity's
                 for rows in plausible_sizes(pairs.misfits(divisor, spare), DETECTED_ROWS, spare)
                 for columns in widths if columns <= kept.shape[1])
        return next((cls(*size) for size in sizes if _excess(kept, *size, spare) <= spare),
                    "no blocks of 2 x 2 or more cut whole rows and columns")

    def fits(self, weight: np.ndarray) -> bool:
        """Whether the mask of ``weight`` is an outer product in every block, up to accidental zeros."""
        kept = is_nonzero(matrix_of(weight))
        spare = ACCIDENTAL_ZEROS * np.count_nonzero(kept)
        return bool(_excess(kept, self.rows, self.columns, spare) <= spare)

    @classmethod
    def project(cls, weight: np.ndarray, *, rows: int = 4, columns: int = 16, rate: float = 10,
                row_rate: float = 1) -> np.ndarray:
        """A near weight that keeps one weight in ``rate``, in every block of ``rows`` x ``columns`` the same.

        Every block keeps the same number of columns, those of largest L2 norm (where their number does not
        divide, blocks with the strongest next column keep one more): the nearest such weight. With a
        ``row_rate`` above 1 each block then keeps one row in ``row_rate``, and more columns to match the
        rate. Raises ``EspalierError`` for blocks larger than the matrix and for impossible rates.
        """
        matrix = matrix_of(np.asarray(weight, np.float32))
        cls(rows, columns)
        if rows > matrix.shape[0] or columns > matrix.shape[1]:
            raise EspalierError(f"blocks of {rows} x {columns} are larger than the {matrix.shape[0]} x "
                                f"{matrix.shape[1]} matrix: choose smaller blocks or leave the layer out")
        if not 1 <= row_rate <= rate:
            raise EspalierError(f"block keeps one weight in `rate`, one row of a block in `row_rate`: "
                                f"expected 1 <= row_rate <= rate, found {row_rate:g} and {rate:g}")
        result = np.zeros_like(matrix)
        for first in range(0, len(matrix), rows):
            strip = matrix[first : first + rows]
            kept = _keep_columns(np.square(strip).sum(axis=0), columns, rate / row_rate)
            result[first : first + rows] = strip * kept
            if row_rate > 1:
                _cut_rows(result[first : first + rows], columns, row_rate)
        return result.reshape(weight.shape)

    def filter_groups(self, weight: np.ndarray) -> np.ndarray:
        return best_groups(matrix_of(weight), self.rows)

    def in_groups_of(self, filters: int) -> Bcr:
        return replace(self, rows=filters)


class _Neighbours:
    """Each row of a mask [M, K] and the next, a bit for every such pair, packed when they are first asked
    for: detection looks at them once a divisor, most often at the first rows alone."""

    def __init__(self, kept: np.ndarray) -> None:
        self._kept = kept
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def misfits(self, width: int, spare: float) -> np.ndarray:
        """i64 [M - 1], for each pair: groups of ``width`` columns where both rows keep something, but not the
        same; they lie in no common block of a multiple of ``width`` columns. Counted as far as blocks of some
        height are plausible."""
        counts = np.zeros(len(self._kept) - 1, np.int64)
        groups = self._kept.shape[1] // width * width
        for first in range(0, len(counts), ROWS_AT_A_TIME):
            above, below = (words[:, :groups] for words in self._part(first // ROWS_AT_A_TIME))
            unlike = _any_of(above ^ below, width) & _any_of(above, width) & _any_of(below, width)
            bits = np.unpackbits(unlike.view(np.uint8).reshape(*unlike.shape, 8), axis=2, bitorder="little")
            found = bits.sum(axis=1).ravel()
            counts[first : first + ROWS_AT_A_TIME] = found[: len(counts) - first]
            if not plausible_sizes(counts, DETECTED_ROWS, spare):
                break
        return counts

    def _part(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The first and the second rows of ROWS_AT_A_TIME pairs, u64 [words, K]."""
        while len(self._parts) <= number:
            first = len(self._parts) * ROWS_AT_A_TIME
            rows = self._kept[first : first + ROWS_AT_A_TIME + 1]
            self._parts.append((_words(rows[:-1]), _words(rows[1:])))
        return self._parts[number]


def _words(rows: np.ndarray) -> np.ndarray:
    """``rows`` bool [R, K] as u64 [ceil(R / 64), K]: 64 rows of a column a word."""
    packed = np.zeros((-(-len(rows) // 64) * 8, rows.shape[1]), np.uint8)
    for bit in range(8):  # numpy packs along rows thirty times faster than along columns
        part = rows[bit::8].view(np.uint8)
        packed[: len(part)] |= part << bit
    words = packed.reshape(-1, 8, rows.shape[1]).transpose(0, 2, 1)
    return np.ascontiguousarray(words).view(np.uint64)[:, :, 0]


def _any_of(words: np.ndarray, width: int) -> np.ndarray:
    """u64 [W, K / width]: bits that any of ``width`` neighbouring columns of ``words`` has."""
    found = words[:, ::width].copy()
    for column in range(1, width):
        found |= words[:, column::width]
    return found


def _excess(kept: np.ndarray, rows: int, columns: int, limit: float) -> int:
    """Zeros among the kept rows x kept columns of all ``rows`` x ``columns`` blocks of ``kept`` [M, K]; not
    counted much beyond ``limit``."""
    edges, excess = np.arange(0, kept.shape[1], columns), 0
    for first in range(0, len(kept), rows):
        strip = kept[first : first + rows]
        inside = np.add.reduceat(strip.sum(axis=0), edges)
        kept_rows = np.logical_or.reduceat(strip, edges, axis=1).sum(axis=0)
        kept_columns = np.add.reduceat(strip.any(axis=0).astype(np.int64), edges)
        excess += int((kept_rows * kept_columns - inside).sum())
        if excess > limit:
            break
    return excess


def _keep_columns(squares: np.ndarray, block: int, rate: float) -> np.ndarray:
    """Mask of the columns [K] that a strip of blocks keeps: one in ``rate``, at least one.

    Each block of ``block`` columns keeps its share, rounded down, and the strongest columns after those
    fill up the total.
    """
    if rate == 1:
        return np.ones(len(squares), bool)
    blocks = -(-len(squares) // block)
    table = np.full((blocks, block), -1, np.float32)
    table.reshape(-1)[: len(squares)] = squares
    ranked = np.argsort(-table, axis=1, kind="stable")
    share = (np.minimum(block, len(squares) - block * np.arange(blocks)) / rate).astype(np.int64)
    missing = max(1, round(len(squares) / rate)) - int(share.sum())
    following = np.take_along_axis(table, np.take_along_axis(ranked, share[:, None], axis=1), axis=1)[:, 0]
    share[np.argsort(-following, kind="stable")[:missing]] += 1
    kept = np.zeros(table.shape, bool)
    np.put_along_axis(kept, ranked, np.arange(block) < share[:, None], axis=1)
    return kept.reshape(-1)[: len(squares)]


def _cut_rows(strip: np.ndarray, block: int, rate: float) -> None:
    """In every block of ``block`` columns, keeps one row of ``strip`` in ``rate``, at least one, in place."""
    edges = np.arange(0, strip.shape[1], block)
    norms = np.add.reduceat(np.square(strip), edges, axis=1)
    ranked = np.argsort(-norms, axis=0, kind="stable")
    kept = np.zeros(norms.shape, bool)
    np.put_along_axis(kept, ranked[: max(1, round(len(strip) / rate))], True, axis=0)
    strip *= np.repeat(kept, np.diff(np.append(edges, strip.shape[1])), axis=1)
