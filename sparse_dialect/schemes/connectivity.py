"""Connectivity: whole kernels are kept or cut (PatDNN, ASPLOS 2020); all that a 1x1 kernel can have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from .kernels import Library, PatternScheme, common_count, keep_kernels, kernels_of
from .scheme import is_nonzero

# Of the weights of kept kernels: a few by accident, and those around strays in kernels that are cut.
MOST_ZEROS = 0.10


@dataclass(frozen=True)
class Connectivity(PatternScheme):
    """A library of the one full pattern; a zero in a kept kernel is stored like the rest."""

    kernel: tuple[int, ...]
    name: ClassVar[str] = "connectivity"

    @property
    def entries(self) -> int:
        """Weights stored for each kept kernel."""
        return prod(self.kernel)

    @classmethod
    def find(cls, mask: np.ndarray) -> Connectivity | str:
        if mask.ndim < 3:
            return "a matrix has no kernels"
        kept = np.count_nonzero(kernels_of(mask), axis=2)
        places = prod(mask.shape[2:])
        if not kept.any():
            return "no kernel is left"
        if kept.all():
            return "no kernel is cut"
        entries = common_count(kept)
        if entries < places:
            at = np.unravel_index(int(np.argmax((kept > 0) & (kept < places))), kept.shape)
            return f"kernel ({at[0]}, {at[1]}) keeps {kept[at]} of {places} entries"
        zeros = 1 - kept.sum() / (places * np.count_nonzero(kept))
        if zeros > MOST_ZEROS:
            return f"{zeros:.1%} of the weights of kept kernels are zero"
        return cls(tuple(mask.shape[2:]))

    @classmethod
    def project(cls, weight: np.ndarray, *, rate: float = 2.0, balance: str = "layer") -> np.ndarray:
        """The nearest weight that keeps one kernel in ``rate``: those of largest L2 norm (PatDNN)."""
        kernels = kernels_of(np.asarray(weight, np.float32))
        norms = np.einsum("fcp,fcp->fc", kernels, kernels)
        return (kernels * keep_kernels(norms, rate, balance)[:, :, None]).reshape(weight.shape)

    def assign(self, weight: np.ndarray) -> np.ndarray:
        """The pattern of each kernel: i16 [F, C], 0 where it is kept, -1 where it is cut."""
        if tuple(weight.shape[2:]) != self.kernel:
            raise EspalierError(f"expected kernels of {self.kernel}, found {tuple(weight.shape[2:])}")
        return np.where(is_nonzero(kernels_of(weight)).any(axis=2), 0, -1).astype(np.int16)

    def patterns(self, kernel: Sequence[int]) -> Library:
        return (tuple(range(prod(kernel))),)
