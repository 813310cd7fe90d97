"""Dense: nothing is cut. The fall-back that fits every weight, run by the same kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from ..storage.blocked_fkw import Terms
from .scheme import Cost, Scheme


@dataclass(frozen=True)
class Dense(Scheme):
    """The weight as it is: ``weight`` f32 [F, C, *kernel] or [M, K]. There is nothing to reorder."""

    name: ClassVar[str] = "dense"

    @classmethod
    def detect(cls, weight: np.ndarray) -> Dense:
        return cls()

    @classmethod
    def why_not(cls, weight: np.ndarray) -> str:
        return ""

    @classmethod
    def project(cls, weight: np.ndarray) -> np.ndarray:
        """A copy: every weight is dense."""
        return np.array(weight, np.float32)

    def pack(self, weight: np.ndarray, order: np.ndarray | None = None) -> dict[str, np.ndarray]:
        if order is not None:
            raise EspalierError("dense storage keeps the filters in their own order")
        return {"weight": np.ascontiguousarray(weight, np.float32)}

    def unpack(self, arrays: Mapping[str, np.ndarray], shape: Sequence[int]) -> np.ndarray:
        return np.array(arrays["weight"], np.float32).reshape(tuple(shape))

    def classes(self, places: int, group: int) -> tuple[Terms, ...]:
        """One class: all filters of the group at all places."""
        return (tuple((f, place) for place in range(places) for f in range(group)),)

    def cost(self, weight: np.ndarray) -> Cost:
        return Cost(weight.size, int(np.count_nonzero(weight)), 4 * weight.size, 0, 4 * weight.size)
