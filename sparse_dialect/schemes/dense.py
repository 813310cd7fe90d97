"""Dense: nothing is cut. The fall-back that fits every weight, run by the same kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from .kernels import Kernels, KernelScheme, Library


@dataclass(frozen=True)
class Dense(KernelScheme):
    """The weight as it is: every kernel keeps all of its taps."""

    name: ClassVar[str] = "dense"
    last_resort: ClassVar[bool] = True

    @classmethod
    def find(cls, mask: np.ndarray) -> Dense | str:
        return cls()

    @classmethod
    def project(cls, weight: np.ndarray) -> np.ndarray:
        """A copy: every weight is dense."""
        return np.array(weight, np.float32)

    def patterns(self, kernel: Sequence[int]) -> Library:
        return (tuple(range(prod(kernel))),)

    def kernels(self, weight: np.ndarray) -> Kernels:
        filters, channels = np.indices(weight.shape[:2]).reshape(2, -1)
        return Kernels(filters, channels, np.zeros(len(filters), np.int64))

    def multiply_adds(self, weight: np.ndarray) -> int:
        return int(weight.size)
