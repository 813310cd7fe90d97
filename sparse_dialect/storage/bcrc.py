"""BCRC (GRIM, TPAMI 2022): the columns of rows that keep the same set, stored once.

    reorder    [F]        i32   original row of each stored row
    offset     [F + 1]    i32   start of each stored row's weights
    occurrence [G + 1]    i32   first stored row of each group of rows that share a column set
    stride     [G + 1]    i32   start of each group's columns
    column     [columns]  i16   compact columns, increasing (uint16 bits; i32 where the matrix is wider)
    weight     [nonzeros] f32   row by row

For comparison, by ``espalier inspect --storage``: no kernel reads it. What runs instead are
``column_groups.py`` (convolutions) and ``sell.py`` (matrices), which store one byte where BCRC stores two.
A test holds it to GRIM's example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from ..schemes.scheme import Scheme, is_nonzero
from ..schemes.shared_columns import matrix_of, row_sets
from .storage import FLOATS, WEIGHT, ArrayForm, Count, Packed, Storage, as_u16, checked_order, from_u16

NARROW = 1 << 16


@dataclass(frozen=True)
class Bcrc(Storage):
    """BCRC of the matrix [F, C * taps]; borders of blocks leave no trace in it, so it holds any mask."""

    name: ClassVar[str] = "bcrc"
    runs: ClassVar[bool] = False

    def why_not(self, scheme: Scheme, shape: Sequence[int]) -> str:
        return "" if len(shape) >= 2 else f"expected a matrix or a convolution, found {list(shape)}"

    def arrays(self, weight: np.ndarray, scheme: Scheme, order: np.ndarray | None) -> dict[str, np.ndarray]:
        """Without an ``order`` rows of equal column sets come together."""
        matrix = matrix_of(weight)
        sets = row_sets(matrix)
        order = np.argsort(sets, kind="stable") if order is None else checked_order(order, len(matrix))
        counts = np.array([np.count_nonzero(row) for row in matrix], np.int64)[order]
        if counts.sum() > np.iinfo(np.int32).max:
            raise EspalierError(f"BCRC with 32-bit offsets holds at most 2^31 weights, found {counts.sum()}")
        offset = np.concatenate([[0], np.cumsum(counts)])
        first = np.flatnonzero(np.diff(sets[order], prepend=-1))
        columns = [np.flatnonzero(matrix[row]) for row in order[first]]
        stride = np.concatenate([[0], np.cumsum([len(c) for c in columns])])
        values = np.empty(offset[-1], np.float32)
        for at, row in enumerate(order):  # a nonzero() of the whole needs 16 bytes an entry
            values[offset[at] : offset[at + 1]] = matrix[row][is_nonzero(matrix[row])]
        column = np.concatenate([*columns, np.empty(0, np.int64)])
        return {"reorder": order.astype(np.int32), "offset": offset.astype(np.int32),
                "occurrence": np.append(first, len(order)).astype(np.int32),
                "stride": stride.astype(np.int32),
                "column": as_u16(column) if matrix.shape[1] <= NARROW else column.astype(np.int32),
                WEIGHT: values}

    def unpack(self, packed: Packed) -> np.ndarray:
        arrays = packed.arrays
        dense = np.zeros(packed.shape, np.float32)
        matrix, column = matrix_of(dense), from_u16(arrays["column"])
        for group in range(len(arrays["stride"]) - 1):
            shared = column[arrays["stride"][group] : arrays["stride"][group + 1]]
            for at in range(arrays["occurrence"][group], arrays["occurrence"][group + 1]):
                weights = arrays[WEIGHT][arrays["offset"][at] : arrays["offset"][at + 1]]
                matrix[arrays["reorder"][at], shared] = weights
        return dense

    def forms(self, scheme: Scheme, shape: Sequence[int]) -> dict[str, ArrayForm]:
        narrow = int(np.prod(shape[1:])) <= NARROW
        return {"reorder": ArrayForm(("int32",), (shape[0],)),
                "offset": ArrayForm(("int32",), (shape[0] + 1,)),
                "occurrence": ArrayForm(("int32",), (Count("groups", plus=1),)),
                "stride": ArrayForm(("int32",), (Count("groups", plus=1),)),
                "column": ArrayForm(("int16" if narrow else "int32",), (Count("columns"),)),
                WEIGHT: ArrayForm(FLOATS, (Count("nonzeros"),))}
