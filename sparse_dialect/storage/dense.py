"""Dense weights as the kernels stream them: kernel-major for convolutions, lane-major for matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from ..schemes.dense import Dense
from ..schemes.scheme import Scheme
from .fkw import Terms
from .gates import interleave_gates, separate_gates, unit_groups
from .storage import FLOATS, WEIGHT, ArrayForm, Packed, Storage

DENSE_VECTORS = 4  # vectors of rows that share a broadcast input


@dataclass(frozen=True)
class DenseKernels(Storage):
    """A convolution's weight [F, C, *kernel], C of one group, as

        weight [ceil(F / S), C, taps * S]   f32   the S filters of a group innermost

    where ``filters_per_group`` S filters share loaded inputs; a short group repeats the last filter."""

    filters_per_group: int = 1
    name: ClassVar[str] = "dense_kernels"

    def why_not(self, scheme: Scheme, shape: Sequence[int]) -> str:
        if not isinstance(scheme, Dense) or len(shape) < 3:
            return f"expected a dense convolution, found {scheme.name} {list(shape)}"
        if self.filters_per_group < 1:
            return f"expected a filters_per_group of 1 or more, found {self.filters_per_group}"
        return ""

    def classes(self, scheme: Scheme, kernel: Sequence[int]) -> tuple[Terms, ...]:
        """One class: all filters of the group at all taps."""
        return (tuple((f, tap) for tap in range(prod(kernel)) for f in range(self.filters_per_group)),)

    def arrays(self, weight: np.ndarray, scheme: Scheme, order: np.ndarray | None) -> dict[str, np.ndarray]:
        _check_no_order(self, order)
        groups, channels, _ = self._sizes(weight.shape)
        whole = weight[np.minimum(np.arange(groups * self.filters_per_group), len(weight) - 1)]
        grouped = whole.reshape(groups, self.filters_per_group, channels, -1)
        packed = np.ascontiguousarray(grouped.transpose(0, 2, 3, 1), np.float32)
        return {WEIGHT: packed.reshape(*self._sizes(weight.shape))}

    def unpack(self, packed: Packed) -> np.ndarray:
        groups, channels, _ = self._sizes(packed.shape)
        grouped = packed.arrays[WEIGHT].reshape(groups, channels, -1, self.filters_per_group)
        filters = np.ascontiguousarray(grouped.transpose(0, 3, 1, 2), np.float32)
        return filters.reshape(-1, *packed.shape[1:])[: packed.shape[0]]

    def forms(self, scheme: Scheme, shape: Sequence[int]) -> dict[str, ArrayForm]:
        return {WEIGHT: ArrayForm(FLOATS, self._sizes(shape))}

    def _sizes(self, shape: Sequence[int]) -> tuple[int, int, int]:
        group = self.filters_per_group
        return -(-shape[0] // group), shape[1], prod(shape[2:]) * group


@dataclass(frozen=True)
class DenseRows(Storage):
    """A matrix [M, K] for matrix-vector products: vectors run along rows, weights stream once.

        weight [ceil(M / (V * L)), K, V, L]   f32   rows of zeros at the end

    ``vectors`` V of ``lanes`` L rows share a broadcast input; of a recurrent layer they are its ``gates``
    (see ``gates.py``; 1: a linear layer)."""

    lanes: int
    vectors: int = DENSE_VECTORS
    gates: int = 1
    name: ClassVar[str] = "dense_rows"

    def why_not(self, scheme: Scheme, shape: Sequence[int]) -> str:
        if not isinstance(scheme, Dense) or len(shape) != 2:
            return f"expected a dense matrix, found {scheme.name} {list(shape)}"
        if min(self.lanes, self.vectors, self.gates) < 1:
            return f"expected lanes, vectors and gates of 1 or more, found {self}"
        if self.gates > 1 and (self.vectors != self.gates or shape[0] % self.gates):
            return f"expected a vector for each of {self.gates} gates of equally many rows, found {self}"
        return ""

    def arrays(self, weight: np.ndarray, scheme: Scheme, order: np.ndarray | None) -> dict[str, np.ndarray]:
        _check_no_order(self, order)
        rows = interleave_gates(weight, self.gates, self.lanes) if self.gates > 1 else weight
        blocks, columns, *_ = self.sizes(weight.shape)
        width = self.vectors * self.lanes
        packed = np.zeros((blocks, columns, width), np.float32)
        for at in range(blocks):
            part = rows[at * width : (at + 1) * width]
            packed[at, :, : len(part)] = part.T
        return {WEIGHT: packed.reshape(self.sizes(weight.shape))}

    def unpack(self, packed: Packed) -> np.ndarray:
        blocks, columns, vectors, lanes = self.sizes(packed.shape)
        by_row = packed.arrays[WEIGHT].reshape(blocks, columns, vectors * lanes).swapaxes(1, 2)
        rows = np.ascontiguousarray(by_row, np.float32).reshape(-1, columns)
        if self.gates > 1:
            return separate_gates(rows, self.gates, self.lanes, packed.shape[0])
        return rows[: packed.shape[0]]

    def forms(self, scheme: Scheme, shape: Sequence[int]) -> dict[str, ArrayForm]:
        return {WEIGHT: ArrayForm(FLOATS, self.sizes(shape))}

    def sizes(self, shape: Sequence[int]) -> tuple[int, int, int, int]:
        """The sizes of ``weight``."""
        blocks = (unit_groups(shape[0] // self.gates, self.lanes) if self.gates > 1
                  else -(-shape[0] // (self.vectors * self.lanes)))
        return blocks, shape[1], self.vectors, self.lanes


def _check_no_order(storage: Storage, order: np.ndarray | None) -> None:
    if order is not None:
        raise EspalierError(f"storage {storage.name} keeps the filters in their own order")
