"""Which scheme a mask that follows none is nearest to, and how far off it is: what to tell a person who
meant one."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np

from .kernels import common_count, kernels_of
from .n_m import DETECTED

LARGEST = 1 << 25  # weights; of more, looking would take seconds
FARTHEST = 0.25  # share of odd parts beyond which nothing is near


class Near(NamedTuple):
    """``odd`` of ``parts`` parts of a mask do not follow ``scheme``; ``what`` says what they are."""

    scheme: str
    odd: int
    parts: int
    what: str

    def __str__(self) -> str:
        return f"nearest is {self.scheme}: {self.odd:,} of {self.parts:,} {self.what}"


def nearest(mask: np.ndarray) -> str:
    """``nearest is pattern: 3 of 16,384 kernels keep 5 places``; empty where nothing is near, and of very
    large masks."""
    if mask.size > LARGEST or mask.all() or not mask.any():
        return ""
    found = [near for near in _candidates(mask) if 0 < near.odd <= FARTHEST * near.parts]
    return str(min(found, key=lambda near: near.odd / near.parts)) if found else ""


def _candidates(mask: np.ndarray) -> Iterator[Near]:
    rows: np.ndarray = np.count_nonzero(mask.reshape(len(mask), -1), axis=1)
    full = 2 * rows >= rows.max()
    if not full.all():
        yield Near("structured", int(np.count_nonzero(rows[~full])), int(np.count_nonzero(~full)),
                   "filters that keep little keep something")
    if mask.ndim > 2 and prod(mask.shape[2:]) > 1:
        yield from _of_kernels(np.count_nonzero(kernels_of(mask), axis=2), prod(mask.shape[2:]))
    for m in DETECTED:
        whole = mask.shape[1] // m * m
        if whole:
            counts = np.zeros((len(mask), whole // m, *mask.shape[2:]), np.uint8)
            for channel in range(m):
                counts += mask[:, channel:whole:m]
            n = common_count(counts)
            if n < m:
                yield Near(f"n_m ({n}:{m})", int(np.count_nonzero(counts != n)), counts.size,
                           f"groups of {m} channels keep more or less than {n}")


def _of_kernels(kept: np.ndarray, places: int) -> Iterator[Near]:
    """Connectivity and patterns, of how many places each kernel keeps."""
    entries = common_count(kept)
    if entries == places:
        partial = (kept > 0) & (kept < places)
        yield Near("connectivity", int(np.count_nonzero(partial)), kept.size, "kernels are cut in part")
        return
    more = kept[kept > entries]
    if more.size:
        counts = sorted(set(more.tolist()))
        places_kept = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        yield Near("pattern", int(more.size), kept.size, f"kernels keep {places_kept} places")
