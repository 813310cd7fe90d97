"""Compressed sparse rows of the matrix [F, C * taps]: the baseline that GRIM compares with; holds any mask.

    indptr  [F + 1]    i32   start of each stored row
    reorder [F]        i32   original row of each stored row
    columns [nonzeros] i32   increasing inside a row
    weight  [nonzeros] f32

For comparison, by ``espalier inspect --storage``: no kernel reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from ..schemes.scheme import Scheme, is_nonzero
from ..schemes.shared_columns import matrix_of
from .storage import FLOATS, WEIGHT, ArrayForm, Count, Packed, Storage, checked_order


@dataclass(frozen=True)
class Csr(Storage):
    """CSR with 32-bit columns and row starts."""

    name: ClassVar[str] = "csr"
    runs: ClassVar[bool] = False

    def why_not(self, scheme: Scheme, shape: Sequence[int]) -> str:
        return "" if len(shape) >= 2 else f"expected a matrix or a convolution, found {list(shape)}"

    def arrays(self, weight: np.ndarray, scheme: Scheme, order: np.ndarray | None) -> dict[str, np.ndarray]:
        matrix = matrix_of(weight)
        order = checked_order(order, len(matrix))
        counts = np.array([np.count_nonzero(row) for row in matrix], np.int64)[order]
        if counts.sum() > np.iinfo(np.int32).max:
            raise EspalierError(f"CSR with 32-bit offsets holds at most 2^31 weights, found {counts.sum()}")
        indptr = np.zeros(len(matrix) + 1, np.int32)
        np.cumsum(counts, out=indptr[1:])
        columns = np.empty(indptr[-1], np.int32)
        values = np.empty(indptr[-1], np.float32)
        for row, source in enumerate(order):  # a nonzero() of the whole needs 16 bytes an entry
            kept = slice(indptr[row], indptr[row + 1])
            columns[kept] = np.flatnonzero(is_nonzero(matrix[source]))
            values[kept] = matrix[source, columns[kept]]
        return {"indptr": indptr, "reorder": order.astype(np.int32), "columns": columns, WEIGHT: values}

    def unpack(self, packed: Packed) -> np.ndarray:
        dense = np.zeros(packed.shape, np.float32)
        rows = np.repeat(packed.arrays["reorder"], np.diff(packed.arrays["indptr"]))
        matrix_of(dense)[rows, packed.arrays["columns"]] = packed.arrays[WEIGHT]
        return dense

    def forms(self, scheme: Scheme, shape: Sequence[int]) -> dict[str, ArrayForm]:
        return {"indptr": ArrayForm(("int32",), (shape[0] + 1,)),
                "reorder": ArrayForm(("int32",), (shape[0],)),
                "columns": ArrayForm(("int32",), (Count("nonzeros"),)),
                WEIGHT: ArrayForm(FLOATS, (Count("nonzeros"),))}
