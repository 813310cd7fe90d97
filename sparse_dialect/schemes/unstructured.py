"""Unstructured sparsity: zeros anywhere, stored as CSR. The honest baseline, and what fits any mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from ..storage.blocked_fkw import StoredKernels, Terms
from ..storage.fkw import checked_order
from .scheme import Cost, Scheme, is_nonzero, largest


@dataclass(frozen=True)
class Unstructured(Scheme):
    """CSR of the matrix [F, C * places], in which columns increase inside a row.

    ``indptr`` i32 [F + 1], ``reorder`` i32 [F] (the filter of each stored row), ``columns`` i32,
    ``weight`` f32.
    """

    name: ClassVar[str] = "unstructured"

    @classmethod
    def detect(cls, weight: np.ndarray) -> Unstructured | None:
        return None if cls.why_not(weight) else cls()

    @classmethod
    def why_not(cls, weight: np.ndarray) -> str:
        nonzeros = np.count_nonzero(weight)
        if nonzeros == weight.size:
            return "no weight is zero"
        return "" if nonzeros else "no weight is left"

    @classmethod
    def project(cls, weight: np.ndarray, *, rate: float = 2.0) -> np.ndarray:
        """The nearest weight that keeps one entry in ``rate``: those of largest magnitude, at least one."""
        if rate < 1:
            raise EspalierError(f"unstructured keeps one weight in `rate`: expected >= 1, found {rate:g}")
        weight = np.asarray(weight, np.float32)
        return weight * largest(weight, max(1, round(weight.size / rate)))

    def pack(self, weight: np.ndarray, order: np.ndarray | None = None) -> dict[str, np.ndarray]:
        matrix = weight.reshape(len(weight), -1)
        order = checked_order(order, len(matrix))
        counts = np.array([np.count_nonzero(row) for row in matrix], np.int64)[order]
        if counts.sum() > np.iinfo(np.int32).max:
            raise EspalierError(f"CSR with 32-bit offsets holds at most 2^31 weights, found {counts.sum()}")
        indptr = np.zeros(len(matrix) + 1, np.int32)
        np.cumsum(counts, out=indptr[1:])
        columns, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
        for row, source in enumerate(order):  # a nonzero() of the whole needs 16 bytes an entry
            kept = slice(indptr[row], indptr[row + 1])
            columns[kept] = np.flatnonzero(is_nonzero(matrix[source]))
            values[kept] = matrix[source, columns[kept]]
        return {"indptr": indptr, "reorder": order.astype(np.int32), "columns": columns, "weight": values}

    def unpack(self, arrays: Mapping[str, np.ndarray], shape: Sequence[int]) -> np.ndarray:
        dense = np.zeros(tuple(shape), np.float32)
        rows = np.repeat(arrays["reorder"], np.diff(arrays["indptr"]))
        dense.reshape(len(dense), -1)[rows, arrays["columns"]] = arrays["weight"]
        return dense

    def classes(self, places: int, group: int) -> tuple[Terms, ...]:
        """One class a kernel place: a stored kernel is a single weight."""
        return tuple(((0, place),) for place in range(places))

    def stored_kernels(self, weight: np.ndarray, group: int) -> StoredKernels:
        return StoredKernels(*np.nonzero(is_nonzero(weight.reshape(*weight.shape[:2], -1))))

    def cost(self, weight: np.ndarray) -> Cost:
        nonzeros = int(np.count_nonzero(weight))
        index_bytes = 4 * (len(weight) + 1) + 4 * len(weight) + 4 * nonzeros
        return Cost(nonzeros, nonzeros, 4 * nonzeros, index_bytes, 4 * weight.size)
