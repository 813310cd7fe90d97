"""A scheme of one's own in one file, as docs and tests show it: every filter keeps one tap, in all channels.

Shift convolutions look like this. No other file knows of it: detection, the attribute
``#sparse.shift<[...]>``, storage, kernels and the report follow from what is written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from espalier.sparse_dialect.schemes.kernels import SingleWeights, kernels_of


@dataclass(frozen=True)
class Shift(SingleWeights):
    """``taps``: the tap of each filter, row-major in the kernel."""

    taps: tuple[int, ...]
    name: ClassVar[str] = "shift"

    @classmethod
    def find(cls, mask: np.ndarray) -> Shift | str:
        if mask.ndim < 3 or np.prod(mask.shape[2:]) == 1:
            return "there are no taps to choose from"
        taps = kernels_of(mask).any(axis=1)
        several = np.count_nonzero(taps, axis=1) > 1
        if several.any():
            return f"filter {int(several.argmax())} keeps several taps"
        return cls(tuple(int(tap) for tap in taps.argmax(axis=1)))

    @classmethod
    def project(cls, weight: np.ndarray) -> np.ndarray:
        """The nearest weight: each filter's tap of largest norm stays."""
        kernels = np.array(kernels_of(weight), np.float32)
        best = np.square(kernels).sum(axis=1).argmax(axis=1)
        kernels *= best[:, None, None] == np.arange(kernels.shape[2])
        return kernels.reshape(weight.shape)
