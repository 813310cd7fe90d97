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
