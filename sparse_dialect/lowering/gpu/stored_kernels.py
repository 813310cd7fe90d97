"""Weights as the GPU's convolution reads them: groups of filters, their kernels by class, their places.

    scheme                  filters of a group          classes
    pattern, kxk conn.      1, by length (FKR)          a pattern of the library each
    1x1 connectivity        4 alike                     a subset of the four filters each
    bcr, kgs                those that share columns    a set of taps of one kernel row each
    unstructured, n_m       1, by length                a tap each
    dense                   4 neighbours                one: all taps
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...schemes import Connectivity, Dense, Scheme, SharedColumns
from ...schemes.filter_order import similarity_chain
from ...schemes.kernels import Kernels, KernelScheme, repeated
from ...storage.column_groups import ungrouped
from .kernels.convolution import Tap, products_of

MOST_CLASSES = 15  # a loop each: code grows with them
ALIKE = 4  # filters of a 1x1 layer that share loads


@dataclass(frozen=True)
class Geometry:
    """Where taps lie: groups of the convolution, dilation and padding (depth, height, width), and the
    vectors from a plane, a slice and a row of the input to the next."""

    groups: int
    dilation: tuple[int, int, int]
    padding: tuple[int, int, int]
    plane: int
    slice: int
    pitch: int

    def place(self, kernel: Sequence[int], tap: int) -> tuple[int, int, int]:
        """The pixel of a tap, from the output's own place in the input."""
        sizes = (1, 1, *kernel)[-3:]
        places = np.unravel_index(tap, sizes)
        dz, dy, dx = (int(place) * dilation - padding
                      for place, dilation, padding in zip(places, self.dilation, self.padding, strict=True))
        return dz, dy, dx


@dataclass(frozen=True)
class Stored:
    """``groups`` [G, S] of filters; ``classes`` of kernels, and the arrays ``rows``, ``index`` and ``weight``
    of ``Convolution``."""

    groups: np.ndarray
    classes: tuple[tuple[Tap, ...], ...]
    rows: np.ndarray
    index: np.ndarray
    weight: np.ndarray
    kernels: int


@dataclass
class _Entries:
    """Kernels before they are sorted: group, class, place in the input, and weights [n, products]."""

    owner: np.ndarray
    kind: np.ndarray
    place: np.ndarray
    weight: np.ndarray


def stored_kernels(scheme: Scheme, weight: np.ndarray, where: Geometry, dense_filters: int = ALIKE) -> Stored:
    """``weight`` [F, C / groups, *kernel] as the kernel reads it; ``dense_filters`` share loads where it is
    dense."""
    taps = int(np.prod(weight.shape[2:]))
    if isinstance(scheme, SharedColumns):
        return _shared(scheme, ungrouped(weight, where.groups), where)
    if isinstance(scheme, Connectivity) and taps == 1 and where.groups == 1:
        return _alike(weight, where)
    if isinstance(scheme, Dense):
        return _dense(weight, where, dense_filters)
    assert isinstance(scheme, KernelScheme)
    return _single(scheme.kernels(weight), scheme.patterns(weight.shape[2:]), weight, where)


def _single(kept: Kernels, library: Sequence[Sequence[int]], weight: np.ndarray, where: Geometry) -> Stored:
    """A filter a group, the longest first."""
    filters, channels = weight.shape[:2]
    order = np.argsort(-np.bincount(kept.filters, minlength=filters), kind="stable")
    place = np.empty(filters, np.int64)
    place[order] = np.arange(filters)
    kernel = weight.shape[2:]
    classes = tuple(tuple(Tap(*where.place(kernel, tap)) for tap in pattern) for pattern in library)
    values = np.zeros((len(kept.filters), products_of(classes)), np.float32)
    flat = weight.reshape(filters, channels, -1)
    for number, pattern in enumerate(library):
        here = np.flatnonzero(kept.patterns == number)
        own = flat[kept.filters[here, None], kept.channels[here, None], list(pattern)]
        values[here[:, None], np.arange(len(pattern))] = own
    again = repeated(kept, tuple(map(tuple, library)))
    values[:, : again.shape[1]][again] = 0
    first = kept.filters // (filters // where.groups) * channels
    entries = _Entries(place[kept.filters], kept.patterns, (first + kept.channels) * where.plane, values)
    return _sorted(order[:, None], classes, entries)


def _dense(weight: np.ndarray, where: Geometry, most: int) -> Stored:
    """Neighbouring filters of a group of the convolution together, all taps in one class."""
    filters, channels, *kernel = weight.shape
    own = filters // where.groups
    together = min(most, own)
    numbers = np.arange(-(-own // together) * together).clip(max=own - 1).reshape(-1, together)
    groups = np.concatenate([numbers + at * own for at in range(where.groups)])
    taps = int(np.prod(kernel))
    taps_of_all = [Tap(*where.place(kernel, tap), own) for tap in range(taps) for own in range(together)]
    classes = (tuple(taps_of_all),)
    values = np.zeros((len(groups), channels, products_of(classes)), np.float32)
    flat = weight.reshape(filters, channels, taps)[groups]  # [G, S, C, taps]
    values[:, :, : taps * together] = flat.transpose(0, 2, 3, 1).reshape(len(groups), channels, -1)
    owner, channel = np.indices((len(groups), channels)).reshape(2, -1)
    first = groups[owner, 0] // own * channels
    place = (first + channel) * where.plane
    entries = _Entries(owner, np.zeros_like(owner), place, values.reshape(len(owner), -1))
    return _sorted(groups, classes, entries)


def _alike(weight: np.ndarray, where: Geometry) -> Stored:
    """Filters of one tap, four that keep similar channels together; a class is which of them keep it."""
    matrix = weight.reshape(len(weight), -1)
    filters = len(matrix)
    order = similarity_chain(np.arange(filters), np.where(matrix != 0, 0, -1))
    together = min(ALIKE, filters)
    padded = order[np.arange(-(-filters // together) * together).clip(max=filters - 1)]
    groups = padded.reshape(-1, together)
    values = matrix[groups].transpose(0, 2, 1)  # [G, C, S]
    sets = ((values != 0) << np.arange(together)).sum(axis=2)
    used = [int(number) for number in np.unique(sets) if number]
    used = used or [1]
    members = [[own for own in range(together) if number >> own & 1] for number in used]
    classes = tuple(tuple(Tap(*where.place((1,), 0), own) for own in those) for those in members)
    owner, channel = np.nonzero(sets)
    kind = np.searchsorted(used, sets[owner, channel])
    stored = np.zeros((len(owner), products_of(classes)), np.float32)
    for number, those in enumerate(members):
        here = np.flatnonzero(kind == number)
        stored[here[:, None], np.arange(len(those))] = values[owner[here, None], channel[here, None], those]
    return _sorted(groups, classes, _Entries(owner, kind, channel * where.plane, stored))


def _shared(scheme: SharedColumns, whole: np.ndarray, where: Geometry) -> Stored:
    """Filters that share columns together. A kernel is one row of taps at one channel; its class is which of
    them are kept, or, where those were too many loops, each tap is a kernel of its own."""
    groups = scheme.filter_groups(whole)
    filters, channels, *kernel = whole.shape
    wide = kernel[-1]
    flat = whole.reshape(filters, -1, wide)[groups]  # [G, S, rows of taps, wide]
    kept = (flat != 0).any(axis=1)
    sets = (kept << np.arange(wide)).sum(axis=2) if wide < 16 else np.zeros(kept.shape[:2], np.int64)
    used = [int(number) for number in np.unique(sets) if number]
    if wide >= 16 or len(used) > MOST_CLASSES:
        owner, line, tap = np.nonzero(kept)
        members, kind = [[own] for own in range(wide)], tap
    else:
        used = used or [1]
        owner, line = np.nonzero(sets)
        members = [[own for own in range(wide) if number >> own & 1] for number in used]
        kind = np.searchsorted(used, sets[owner, line])
    size = groups.shape[1]
    across = [where.place(kernel, tap)[2] for tap in range(wide)]
    classes = tuple(tuple(Tap(0, 0, across[tap], own) for tap in those for own in range(size))
                    for those in members)
    values = np.zeros((len(owner), products_of(classes)), np.float32)
    for number, those in enumerate(members):
        here = np.flatnonzero(kind == number)
        own = flat[owner[here], :, line[here]][:, :, those]  # [n, S, taps]
        values[here, : len(those) * size] = own.transpose(0, 2, 1).reshape(len(here), -1)
    lines = flat.shape[2] // channels
    offsets = []
    for number in range(lines):
        dz, dy, _ = where.place(kernel, number * wide)
        offsets.append(dz * where.slice + dy * where.pitch)
    place = line // lines * where.plane + np.array(offsets)[line % lines]
    return _sorted(groups, classes, _Entries(owner, kind, place, values))


def _sorted(groups: np.ndarray, classes: tuple[tuple[Tap, ...], ...], entries: _Entries) -> Stored:
    """The arrays: kernels by group, class and place."""
    order = np.lexsort((entries.place, entries.kind, entries.owner))
    runs = np.zeros((len(groups), len(classes)), np.int64)
    np.add.at(runs, (entries.owner, entries.kind), 1)
    ends = np.cumsum(runs).reshape(runs.shape)
    rows = np.concatenate([groups, ends[:, :1] - runs[:, :1], ends], axis=1)
    count = len(order)
    index, values = entries.place[order], entries.weight[order]
    if not count:  # a buffer has at least one element
        index, values = np.zeros(1, np.int64), np.zeros((1, products_of(classes)), np.float32)
    return Stored(groups, classes, rows.astype(np.int32), index.astype(np.int32), values, count)
