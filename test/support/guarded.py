"""Arrays between pages that may not be touched: a read or write outside of one ends the process."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence

import numpy as np

_C = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE


def guarded(shape: Sequence[int], dtype: np.dtype, at_end: bool) -> np.ndarray:
    """An array of zeros that ends (or begins) where a page without access does."""
    size = int(np.prod(shape)) * dtype.itemsize
    pages = max(-(-size // PAGE), 1)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (0, pages + 1):
        if _C.mprotect(ctypes.c_void_p(start + page * PAGE), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = PAGE + (pages * PAGE - size if at_end else 0)
    return np.frombuffer(memory, dtype, int(np.prod(shape)), offset).reshape(shape)


def guarded_copy(array: np.ndarray, at_end: bool) -> np.ndarray:
    """``array`` between pages that may not be touched."""
    copy = guarded(array.shape, array.dtype, at_end)
    copy[...] = array
    return copy
