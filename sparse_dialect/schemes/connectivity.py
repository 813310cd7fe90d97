"""Connectivity: whole kernels are kept or cut (PatDNN, ASPLOS 2020); all that a 1x1 kernel can have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from ..storage.blocked_fkw import StoredKernels, Terms
from ..storage.fkw import Library, common_count, fkw_cost, keep_kernels, kernels_of, pack_fkw, unpack_fkw
from .scheme import Cost, Scheme, is_nonzero


@dataclass(frozen=True)
class Connectivity(Scheme):
    """A library of the one full pattern, stored as FKW; a zero in a kept kernel is stored like the rest."""

    kernel: tuple[int, ...]
    name: ClassVar[str] = "connectivity"

    @property
    def library(self) -> Library:
        """The full pattern: all places of the kernel."""
        return (tuple(range(prod(self.kernel))),)

    @property
    def entries(self) -> int:
        """Weights stored for each kept kernel."""
        return prod(self.kernel)

    @classmethod
    def detect(cls, weight: np.ndarray) -> Connectivity | None:
        return None if cls.why_not(weight) else cls(tuple(weight.shape[2:]))

    @classmethod
    def why_not(cls, weight: np.ndarray) -> str:
        if weight.ndim < 3:
            return "a matrix has no kernels"
        kept = np.count_nonzero(is_nonzero(kernels_of(weight)), axis=2)
        places = prod(weight.shape[2:])
        if not kept.any():
            return "no kernel is left"
        if kept.all():
            return "no kernel is cut"
        entries = common_count(kept)
        if entries < places:
            at = np.unravel_index(int(np.argmax((kept > 0) & (kept < places))), kept.shape)
            return f"kernel ({at[0]}, {at[1]}) keeps {kept[at]} of {places} entries"
        return ""

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

    def pack(self, weight: np.ndarray, order: np.ndarray | None = None) -> dict[str, np.ndarray]:
        return pack_fkw(weight, self.assign(weight), self.library, order)

    def unpack(self, arrays: Mapping[str, np.ndarray], shape: Sequence[int]) -> np.ndarray:
        return unpack_fkw(arrays, shape, self.library)

    def classes(self, places: int, group: int) -> tuple[Terms, ...]:
        """One class for each set of filters of a group that keep a channel; set s holds filter f where bit
        f is 1."""
        return tuple(tuple((f, place) for place in range(places) for f in range(group) if kept >> f & 1)
                     for kept in range(1, 1 << group))

    def stored_kernels(self, weight: np.ndarray, group: int) -> StoredKernels:
        kept = (self.assign(weight) >= 0).reshape(-1, group, weight.shape[1])
        sets = (kept << np.arange(group)[:, None]).sum(axis=1)
        rows, channels = np.nonzero(sets)
        return StoredKernels(rows, channels, sets[rows, channels] - 1)

    def cost(self, weight: np.ndarray) -> Cost:
        return fkw_cost(weight, self.library)
