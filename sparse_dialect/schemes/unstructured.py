"""Unstructured sparsity: zeros anywhere. The honest baseline, and what fits any mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from .kernels import SingleWeights
from .scheme import largest


@dataclass(frozen=True)
class Unstructured(SingleWeights):
    """Any weight is kept or cut."""

    name: ClassVar[str] = "unstructured"
    last_resort: ClassVar[bool] = True

    @classmethod
    def find(cls, mask: np.ndarray) -> Unstructured | str:
        if mask.all():
            return "no weight is zero"
        return cls() if mask.any() else "no weight is left"

    @classmethod
    def project(cls, weight: np.ndarray, *, rate: float = 2.0) -> np.ndarray:
        """The nearest weight that keeps one entry in ``rate``: those of largest magnitude, at least one."""
        if rate < 1:
            raise EspalierError(f"unstructured keeps one weight in `rate`: expected >= 1, found {rate:g}")
        weight = np.asarray(weight, np.float32)
        return weight * largest(weight, max(1, round(weight.size / rate)))
