"""Kernel patterns: each kernel keeps the places of one library pattern, or nothing (PatDNN, ASPLOS 2020;
PCONV).

    library ((0, 1, 3, 4), (1, 4, 5, 7)) of kernel (3, 3):   x x .    . x .
                                                             x x .    . x x
                                                             . . .    . x .
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from .kernels import Kernels, Library, PatternScheme, common_count, keep_kernels, kernels_of
from .scheme import is_nonzero

ODD_KERNELS = 0.15  # of the kept kernels, so many may keep more than the places of a pattern
MAX_PATTERNS = 16  # code is specialised per pattern; beyond this its size costs more than regularity gives


@dataclass(frozen=True)
class Pattern(PatternScheme):
    """Every kept kernel stores exactly ``entries`` places, those of one pattern of ``library`` (row-major
    places).

    A kept weight may be zero by accident: its kernel belongs to any pattern that covers what is left. A few
    odd kernels may keep more places than a pattern has: they are stored as several.
    """

    kernel: tuple[int, ...]
    library: Library
    name: ClassVar[str] = "pattern"

    def __post_init__(self) -> None:
        places = prod(self.kernel)
        for pattern in self.library:
            if list(pattern) != sorted({p for p in pattern if 0 <= p < places}):
                raise EspalierError(f"a pattern of kernel {self.kernel} lists increasing places below "
                                    f"{places}, found {pattern}")
        if len({len(pattern) for pattern in self.library}) != 1:
            raise EspalierError(f"all patterns of a library keep equally many places, found {self.library}")

    @property
    def entries(self) -> int:
        """Weights stored for each kept kernel."""
        return len(self.library[0])

    @classmethod
    def find(cls, mask: np.ndarray) -> Pattern | str:
        """With the smallest library found that covers ``mask``."""
        found = _library(mask)
        return found if isinstance(found, str) else cls(tuple(mask.shape[2:]), found)

    @classmethod
    def project(cls, weight: np.ndarray, *, entries: int = 4, patterns: int = 8,
                library: Library | None = None, connectivity: float = 1.0,
                balance: str = "layer") -> np.ndarray:
        """The nearest weight whose kernels follow ``library`` (default: the most frequent natural patterns).

        Each kernel takes the pattern that leaves the largest L2 norm; then one kernel in ``connectivity``
        stays, those of largest remaining norm, which is the exact projection onto both constraints at once
        (the sets S and S' of PatDNN's ADMM).
        """
        kernels = kernels_of(np.asarray(weight, np.float32))
        if library is None:
            library = natural_library([weight], entries, patterns)
        squares = kernels * kernels
        norms = np.stack([squares[:, :, list(p)].sum(axis=2) for p in library], axis=2)
        best = norms.argmax(axis=2)
        masks = np.zeros((len(library), kernels.shape[2]), np.float32)
        for row, places in zip(masks, library, strict=True):
            row[list(places)] = 1
        result = kernels * masks[best]
        if connectivity != 1:
            result *= keep_kernels(norms.max(axis=2), connectivity, balance)[:, :, None]
        return result.reshape(weight.shape)

    def assign(self, weight: np.ndarray) -> np.ndarray:
        """The pattern of each kernel, i16 [F, C], of an odd one that with most of its places, -1 where it is
        cut; ``EspalierError`` if one fits none."""
        covers, inverse = self._covers(weight)
        ids = np.array([cover[0] if cover else -1 for cover in covers], np.int16)[inverse]
        return ids.reshape(weight.shape[:2])

    def kernels(self, weight: np.ndarray) -> Kernels:
        covers, inverse = self._covers(weight)
        listed = []
        for turn in range(max(map(len, covers), default=0)):
            ids = np.array([cover[turn] if turn < len(cover) else -1 for cover in covers], np.int64)[inverse]
            kept = np.flatnonzero(ids >= 0)
            listed.append((*np.divmod(kept, weight.shape[1]), ids[kept]))
        if not listed:
            return Kernels(*(np.zeros(0, np.int64),) * 3)
        return Kernels(*(np.concatenate(parts) for parts in zip(*listed, strict=True)))

    def _covers(self, weight: np.ndarray) -> tuple[list[list[int]], np.ndarray]:
        """The patterns that together cover each distinct set of kept places, and the set of each kernel."""
        if tuple(weight.shape[2:]) != self.kernel:
            raise EspalierError(f"expected kernels of {self.kernel}, found {tuple(weight.shape[2:])}")
        sets, inverse, _ = _distinct(is_nonzero(kernels_of(weight)))
        covers = [_cover(kept, self.library) for kept in sets]
        for number, (kept, cover) in enumerate(zip(sets, covers, strict=True)):
            if kept and not cover:
                at = divmod(int(np.argmax(inverse == number)), weight.shape[1])
                raise EspalierError(f"kernel {at} keeps places {kept}, "
                                    f"which no pattern of the library covers")
        return covers, inverse

    def patterns(self, kernel: Sequence[int]) -> Library:
        return self.library


def natural_library(weights: Iterable[np.ndarray], entries: int, count: int) -> Library:
    """The ``count`` most frequent natural patterns of all kernels of ``weights`` [F, C, *kernel], all of one
    kernel size.

    A natural pattern is the centre and the ``entries - 1`` others of largest magnitude (PatDNN); a
    kernel of even size has no centre, there it is simply the largest ``entries``. Kernels that are zero do
    not vote.
    """
    votes: Counter[tuple[int, ...]] = Counter()
    for weight in weights:
        kernels = np.abs(kernels_of(np.asarray(weight, np.float32)).reshape(-1, prod(weight.shape[2:])))
        places = kernels.shape[1]
        if not 1 <= entries <= places:
            raise EspalierError(f"a kernel of {places} places cannot keep {entries} entries")
        kernels = kernels[kernels.any(axis=1)]
        if all(size % 2 for size in weight.shape[2:]):
            kernels[:, places // 2] = np.inf
        top = np.argpartition(-kernels, entries - 1, axis=1)[:, :entries]
        kept = np.zeros(kernels.shape, bool)
        np.put_along_axis(kept, top, True, axis=1)
        sets, _, counts = _distinct(kept)
        for pattern, votes_here in zip(sets, counts, strict=True):
            votes[pattern] += int(votes_here)
    if not votes:
        raise EspalierError("no kernel is left to choose patterns from")
    ranked = sorted(votes, key=lambda pattern: (-votes[pattern], pattern))
    return tuple(sorted(ranked[:count]))


# -- fitting a library to a mask -----------------------------------------------------------------------------


_UNCOVERED = -2


def _library(mask: np.ndarray) -> Library | str:
    """The smallest library found that covers the mask, or the complaint."""
    if mask.ndim < 3:
        return "a matrix has no kernels"
    if prod(mask.shape[2:]) == 1:
        return "its kernels have one place"
    kernels = kernels_of(mask)
    kept = np.count_nonzero(kernels, axis=2)
    if not kept.any():
        return "no kernel is left"
    entries = common_count(kept)
    if entries == kernels.shape[2]:
        return f"its kernels keep all {entries} places"
    if np.count_nonzero(kept > entries) > ODD_KERNELS * np.count_nonzero(kept):
        at = np.unravel_index(int(kept.argmax()), kept.shape)
        return f"kernel ({at[0]}, {at[1]}) keeps {kept.max()} entries where most keep {entries}"
    sets, _, counts = _distinct(kernels)
    full = [s for s in sets if len(s) == entries]
    if len(full) > MAX_PATTERNS:
        full = _frequent(sets, counts, entries)
    if len(full) <= MAX_PATTERNS:
        odd = [s for s in sets if len(s) > entries or (len(s) == entries and s not in full)]
        missing = sorted({place for s in odd for place in s}.difference(*full))
        short = [s for s in sets if 0 < len(s) < entries and _covering(s, full) == _UNCOVERED]
        short += [tuple(missing[at : at + entries]) for at in range(0, len(missing), entries)]
        full += _extend(short, entries, mask.shape[2:])
    if len(full) > MAX_PATTERNS:
        return f"its kernels follow {len(full)} patterns, more than {MAX_PATTERNS}"
    return tuple(sorted(full))


def _frequent(sets: list[tuple[int, ...]], counts: np.ndarray, entries: int) -> list[tuple[int, ...]]:
    """Of ``sets`` of ``entries`` places the MAX_PATTERNS most frequent, if the others are odd; else all."""
    full = sorted((-int(count), s) for s, count in zip(sets, counts, strict=True) if len(s) == entries)
    frequent, rare = full[:MAX_PATTERNS], full[MAX_PATTERNS:]
    odd = sum(-count for count, _ in rare) <= ODD_KERNELS * sum(-count for count, _ in full)
    return sorted(s for _, s in (frequent if odd else full))


def _distinct(mask: np.ndarray) -> tuple[list[tuple[int, ...]], np.ndarray, np.ndarray]:
    """The distinct kept-place sets of ``mask`` [..., places], the set of each kernel (flat), their counts."""
    flat = mask.reshape(-1, mask.shape[-1])
    if flat.shape[1] > _COUNTED_PLACES:
        _, first, inverse, counts = np.unique(np.packbits(flat, axis=1), axis=0, return_index=True,
                                              return_inverse=True, return_counts=True)
        return [tuple(np.flatnonzero(flat[row]).tolist()) for row in first], inverse.ravel(), counts
    codes = np.zeros(len(flat), np.uint16)
    for place, kept in enumerate(flat.T):
        codes |= kept.astype(np.uint16) << np.uint16(place)
    counts = np.bincount(codes, minlength=1 << flat.shape[1])
    present = np.flatnonzero(counts)
    numbers = np.zeros(len(counts), np.int64)
    numbers[present] = np.arange(len(present))
    sets = [tuple(place for place in range(flat.shape[1]) if code >> place & 1) for code in present.tolist()]
    return sets, numbers[codes], counts[present]


_COUNTED_PLACES = 16  # so far every set of places has a counter: far faster than sorting


def _covering(kept: tuple[int, ...], library: Sequence[tuple[int, ...]]) -> int:
    """The index of ``kept`` in ``library``, else of the first pattern that covers it, else ``_UNCOVERED``."""
    if kept in library:
        return library.index(kept)
    return next((i for i, pattern in enumerate(library) if set(kept) <= set(pattern)), _UNCOVERED)


def _cover(kept: tuple[int, ...], library: Sequence[tuple[int, ...]]) -> list[int]:
    """The patterns of ``library`` that together have all places ``kept``, in turn that with most of what is
    left; none where nothing is kept, or where they cannot."""
    whole = _covering(kept, library)
    if not kept or whole != _UNCOVERED:
        return [whole] if kept else []
    left, found = set(kept), []
    while left:
        best = max(range(len(library)), key=lambda i: len(left.intersection(library[i])))
        if not left.intersection(library[best]):
            return []
        found.append(best)
        left.difference_update(library[best])
    return found


def _extend(short: list[tuple[int, ...]], entries: int, kernel: Sequence[int]) -> list[tuple[int, ...]]:
    """Patterns of ``entries`` places that cover all ``short`` sets: merged, then filled from the centre."""
    merged: list[set[int]] = []
    for kept in sorted(short, key=lambda s: (-len(s), s)):
        home = next((m for m in merged if len(m | set(kept)) <= entries), None)
        if home is None:
            merged.append(set(kept))
        else:
            home |= set(kept)
    coordinates = np.indices(tuple(kernel)).reshape(len(kernel), -1).T
    distance = np.abs(coordinates - (np.array(kernel) - 1) / 2).sum(axis=1)
    for pattern in merged:
        free = [int(p) for p in np.argsort(distance, kind="stable") if p not in pattern]
        pattern.update(free[: entries - len(pattern)])
    return [tuple(sorted(p)) for p in {frozenset(m) for m in merged}]
