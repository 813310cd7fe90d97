"""The places that every group of kernels keeps, and dense weights for those (KGS; RT3D, AAAI 2021).

    start    [P * Q + 1]                   i32   units before each group, groups row-major [P, Q]
    location [units]                       i8    taps of each group, increasing (uint8 bits; i16 for more than
                                                 256 taps)
    weight   [units, channels, filters]    f32   zero where a group reaches past the weight's edge

RT3D names no format: this is its natural form, for comparison by ``espalier inspect --storage``; what
runs instead is ``column_groups.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from ..schemes.kgs import Kgs
from ..schemes.scheme import Scheme
from .storage import FLOATS, WEIGHT, ArrayForm, Count, Packed, Storage, from_u16

NARROW = 256  # taps that a byte tells apart


@dataclass(frozen=True)
class KgsArrays(Storage):
    """The groups of a scheme ``kgs``, in their own order."""

    name: ClassVar[str] = "kgs"
    runs: ClassVar[bool] = False

    def why_not(self, scheme: Scheme, shape: Sequence[int]) -> str:
        if not isinstance(scheme, Kgs) or len(shape) < 3:
            return f"expected a convolution of kernel groups, found {scheme.name} {list(shape)}"
        if tuple(shape[2:]) != scheme.kernel:
            return f"expected kernels of {scheme.kernel}, found {tuple(shape[2:])}"
        return ""

    def arrays(self, weight: np.ndarray, scheme: Scheme, order: np.ndarray | None) -> dict[str, np.ndarray]:
        assert isinstance(scheme, Kgs)
        if order is not None:
            raise EspalierError("storage kgs keeps the filters in their own order")
        units = scheme.units(weight)
        kept = units.any(axis=3)
        location = np.nonzero(kept)[2]
        narrow = kept.shape[2] <= NARROW
        return {"start": np.concatenate([[0], np.cumsum(kept.sum(axis=2).ravel())]).astype(np.int32),
                "location": location.astype(np.uint8).view(np.int8) if narrow else location.astype(np.int16),
                WEIGHT: units[kept].reshape(-1, scheme.channels, scheme.filters)}

    def unpack(self, packed: Packed) -> np.ndarray:
        scheme, arrays, (filters, channels, *kernel) = packed.scheme, packed.arrays, packed.shape
        assert isinstance(scheme, Kgs)
        p, q = -(-filters // scheme.filters), -(-channels // scheme.channels)
        units = np.zeros((p * q, prod(kernel), scheme.channels * scheme.filters), np.float32)
        location = arrays["location"]
        location = from_u16(location) if location.dtype == np.int16 else location.view(np.uint8)
        group = np.repeat(np.arange(p * q), np.diff(arrays["start"]))
        units[group, location] = arrays[WEIGHT].reshape(len(location), units.shape[2])
        split = units.reshape(p, q, prod(kernel), scheme.channels, scheme.filters).transpose(0, 4, 1, 3, 2)
        whole = split.reshape(p * scheme.filters, q * scheme.channels, -1)[:filters, :channels]
        return np.ascontiguousarray(whole).reshape(packed.shape)

    def forms(self, scheme: Scheme, shape: Sequence[int]) -> dict[str, ArrayForm]:
        assert isinstance(scheme, Kgs)
        groups = -(-shape[0] // scheme.filters) * -(-shape[1] // scheme.channels)
        narrow = prod(shape[2:]) <= NARROW
        return {"start": ArrayForm(("int32",), (groups + 1,)),
                "location": ArrayForm(("int8" if narrow else "int16",), (Count("units"),)),
                WEIGHT: ArrayForm(FLOATS, (Count("units"), scheme.channels, scheme.filters))}
