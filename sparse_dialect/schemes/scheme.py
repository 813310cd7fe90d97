"""The central abstraction: a scheme says which masks it covers, and projects weights onto them.

Weights are float32, [F, C/groups, *kernel] for convolutions and [M, K] for linear layers. A scheme is a
frozen value that holds only what the whole layer shares (kernel size, pattern library); the mask itself is
where the weight's zeros are. How a mask is stored is a ``Storage``'s business (``sparse_dialect/storage``).

The fields of a scheme (integers, and tuples of tuples of them) are the parameters of its attribute
``#sparse.<name>``, in their order: ``dialect/schemes.py`` makes it from them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

SCHEMES: dict[str, type[Scheme]] = {}  # by name, in the order of detection; __init_subclass__ fills it


@dataclass(frozen=True)
class Scheme(ABC):
    """Base of every scheme; subclasses set ``name`` and register by it."""

    name: ClassVar[str]
    last_resort: ClassVar[bool] = False  # fits where no structure does: detection tries it after all others

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in cls.__dict__:
            SCHEMES[cls.name] = cls

    @classmethod
    @abstractmethod
    def find(cls, mask: np.ndarray) -> Self | str:
        """The scheme that covers every True of ``mask`` (bool, of the weight's shape; see ``is_nonzero``), or
        one clause on why none does (``kernel (3, 7) keeps 5 entries``); never approximate."""

    @classmethod
    def detect(cls, weight: np.ndarray) -> Self | None:
        """The scheme that covers every nonzero of ``weight``, or None."""
        found = cls.find(is_nonzero(weight))
        return None if isinstance(found, str) else found

    @classmethod
    def why_not(cls, weight: np.ndarray) -> str:
        """Why ``detect`` gives None; empty when it fits."""
        found = cls.find(is_nonzero(weight))
        return found if isinstance(found, str) else ""

    @classmethod
    @abstractmethod
    def project(cls, weight: np.ndarray, *args: Any, **options: Any) -> np.ndarray:
        """The Euclidean projection of ``weight`` onto the scheme: a new float32 array of the same shape."""

    @abstractmethod
    def multiply_adds(self, weight: np.ndarray) -> int:
        """Multiply-adds that kernels do for all filters at one output place: the weights that are stored."""


def is_nonzero(weight: np.ndarray) -> np.ndarray:
    """The mask: True where a weight is kept (NaN counts as kept); a mask is its own."""
    return weight if weight.dtype == np.bool_ else weight != 0


def largest(values: np.ndarray, keep: int) -> np.ndarray:
    """Mask of exactly ``keep`` entries of largest magnitude; among equals the first. Any shape, float32.

    A radix select over the bits (positive floats order as their bits do), so that a 100-million-weight layer
    needs one byte an entry of extra memory, not a sorted copy.
    """
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    if keep >= flat.size:
        return np.ones(values.shape, bool)
    if keep <= 0:
        return np.zeros(values.shape, bool)
    bits = flat.view(np.uint32)
    chunks = [slice(start, start + _CHUNK) for start in range(0, flat.size, _CHUNK)]
    histogram = np.zeros(1 << 15, np.int64)
    for chunk in chunks:
        histogram += np.bincount((bits[chunk] & _MAGNITUDE) >> 16, minlength=1 << 15)
    above = np.cumsum(histogram[::-1])[::-1]  # entries whose upper half is at least the index
    upper = int(np.flatnonzero(above >= keep)[-1])
    remaining = keep - int(above[upper] - histogram[upper])  # to take from the threshold's bucket
    magnitudes = (bits[chunk] & _MAGNITUDE for chunk in chunks)
    bucket = np.concatenate([part[part >> 16 == upper] for part in magnitudes])
    threshold = np.partition(bucket, bucket.size - remaining)[bucket.size - remaining]
    mask = np.empty(flat.size, bool)
    for chunk in chunks:
        np.greater(bits[chunk] & _MAGNITUDE, threshold, out=mask[chunk])
    missing = remaining - int(np.count_nonzero(bucket > threshold))
    for chunk in chunks:
        if missing > 0:
            equal = np.flatnonzero(bits[chunk] & _MAGNITUDE == threshold)[:missing]
            mask[chunk][equal] = True
            missing -= equal.size
    return mask.reshape(values.shape)


_CHUNK = 1 << 22
_MAGNITUDE = np.uint32(0x7FFFFFFF)
