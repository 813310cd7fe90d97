"""Parts of near-equal work that filter groups are dealt into, so that threads own some of them each."""

from __future__ import annotations

import numpy as np


def thread_chunks(groups: int) -> int:
    """Parts that filter groups are cut into for threads: up to 4, a divisor, so that parts are equal. (More
    would leave fewer rows to sort by run length, which costs single-thread speed.)"""
    return max(count for count in range(1, 5) if groups % count == 0)


def dealt(work: np.ndarray, chunks: int) -> list[np.ndarray]:
    """The indices of ``work`` in ``chunks`` parts of near-equal sum and size, heaviest first in each."""
    heavy_first = np.argsort(-work, kind="stable")
    lap, lane = np.divmod(np.arange(len(work)), chunks)
    lane = np.where(lap % 2, chunks - 1 - lane, lane)  # dealt forth and back
    return [heavy_first[lane == chunk] for chunk in range(chunks)]
