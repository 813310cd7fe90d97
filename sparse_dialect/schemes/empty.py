"""Empty: every weight is cut, as global pruning leaves some layers. Only the bias is left to compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .kernels import Kernels, KernelScheme, Library


@dataclass(frozen=True)
class Empty(KernelScheme):
    """Nothing is kept."""

    name: ClassVar[str] = "empty"

    @classmethod
    def find(cls, mask: np.ndarray) -> Empty | str:
        return "a weight is left" if mask.any() else cls()

    @classmethod
    def project(cls, weight: np.ndarray) -> np.ndarray:
        """Zeros."""
        return np.zeros(weight.shape, np.float32)

    def patterns(self, kernel: Sequence[int]) -> Library:
        return ()

    def kernels(self, weight: np.ndarray) -> Kernels:
        none = np.zeros(0, np.int64)
        return Kernels(none, none, none)

    def multiply_adds(self, weight: np.ndarray) -> int:
        return 0
