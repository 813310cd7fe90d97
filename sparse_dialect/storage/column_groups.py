"""Rows that share columns: GRIM's matrix reorder, and the storage that the CPU kernels stream.

A weight is seen as a matrix: rows are filters, columns are (channel, kernel place), or the inputs of a
linear layer. Rows with one set of kept columns form groups, so that one loaded input serves them all:

    rows 0 and 2 keep {0, 1, 4}, rows 1 and 3 keep {2, 5}  ->  groups [[0, 2], [1, 3]]

A convolution stores its G groups of S filters a block of channels at a time. A *unit* is one kernel place
of U neighbouring channels. The Z slices of a kernel (its depth) come one after the other, so that code can
leave out those at either end; inside a block a unit has the number

    (slice * channels / U + channel / U) * places of a slice + place

    start   [B * G * Z + 1]   i32   start of each (channel block, group, slice), in units
    reorder [G * S]           i16   filters of each group (uint16 bits; i32 for more than 2^16); a short group
                                    repeats its last
    gap     [E]               i8    uint8 bits: unit minus the one before it in its block (the first: minus 0)
    weight  [E, U, S]         f32   all S filters of every channel of the unit
    before  [B * G * Z]       i16   the unit before each start (as reorder; i32 for 2^16 units); only if Z > 1

One byte for U x S weights; a unit of zeros bridges a gap over 255.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..geometry.layouts import three
from ..schemes.scheme import Scheme
from .blocked_fkw import dealt, thread_chunks
from .filter_order import similarity_chain

# Of the places that a mask of blocks or groups keeps, so many may hold a zero all the same: a filter that
# its batch norm scaled to nothing, a weight that was trained to it.
ACCIDENTAL_ZEROS = 0.01

LARGEST_GROUP = 8  # rows whose sums fit in vector registers together with a few vectors of outputs
ENOUGH_FILL = 1.05  # stored weights over nonzeros, up to which smaller groups are not tried
GROUP_OVERHEAD = {1: 2.0, 2: 1.2, 3: 1.1}  # what a multiply costs in small groups: a load serves few
LARGEST_GAP = 255
LARGEST_CHAIN = 1 << 26  # entries of a matrix that similarity is computed for


@dataclass(frozen=True)
class SharedColumns(Scheme):
    """Base of the schemes whose filters share columns in groups."""

    @abstractmethod
    def filter_groups(self, weight: np.ndarray) -> np.ndarray:
        """The filters of ``weight`` in groups that share columns, i64 [groups, size] (``group_rows``)."""

    @abstractmethod
    def in_groups_of(self, filters: int) -> SharedColumns:
        """The scheme of which so many filters share columns."""

    @property
    def channels_together(self) -> int:
        """Neighbouring channels that keep the same places."""
        return 1


def matrix_of(weight: np.ndarray) -> np.ndarray:
    """A weight as [rows, columns], without a copy: the GEMM view of a convolution."""
    return weight.reshape(len(weight), -1)


def nothing_to_share(weight: np.ndarray) -> str:
    """Why it is useless to look for structure in ``weight``: too few zeros or nothing else; else empty."""
    nonzeros = np.count_nonzero(weight)
    if nonzeros == weight.size:
        return "no weight is zero"
    if nonzeros > (1 - ACCIDENTAL_ZEROS) * weight.size:
        return f"only {1 - nonzeros / weight.size:.2%} of its weights are zero"
    return "" if nonzeros else "no weight is left"


def plausible_sizes(misfits: np.ndarray, sizes: Iterable[int], spare: float) -> list[int]:
    """Of ``sizes``, those whose groups of neighbours few ``misfits`` lie in; the others cannot fit.

    ``misfits`` [M - 1] counts the entries that rule out a shared set between each row and the next. Each is
    a zero in a group's hull, of which there may be ``spare``; a zero counts in two pairs at most.
    """
    pair = np.arange(len(misfits))
    return [size for size in sizes if size <= len(misfits) + 1
            and misfits[pair % size != size - 1].sum() <= 2 * spare]


def row_sets(matrix: np.ndarray) -> np.ndarray:
    """For each row of ``matrix`` [M, K] the number of its set of kept columns, in order of appearance."""
    known: dict[bytes, int] = {}
    return np.array([known.setdefault(np.packbits(row != 0).tobytes(), len(known)) for row in matrix],
                    np.int64)


def group_rows(matrix: np.ndarray, size: int) -> np.ndarray:
    """The rows of ``matrix`` [M, K] in groups that share columns, i64 [groups, size], longest first.

    Rows of equal sets come together. Of what is left over, similar rows share a group where at least half
    of a row's columns are the group's already; a group with too few rows repeats its last one.
    """
    sets = row_sets(matrix)
    by_set = np.argsort(sets, kind="stable")
    groups, left = [], []
    for members in np.split(by_set, np.flatnonzero(np.diff(sets[by_set])) + 1):
        whole = len(members) // size * size
        groups.append(members[:whole].reshape(-1, size))
        left.append(members[whole:])
    joined = np.concatenate([*groups, *_join(matrix, np.concatenate(left), size)])
    lengths = np.array([np.count_nonzero(matrix[group[0]]) for group in joined])
    return joined[np.lexsort((joined[:, 0], -lengths))]


def _join(matrix: np.ndarray, rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Groups of rows whose sets differ, each [1, size]."""
    if len(rows) * matrix.shape[1] <= LARGEST_CHAIN:
        rows = similarity_chain(rows, np.where(matrix[rows] != 0, 0, -1))
    groups: list[list[int]] = []
    shared = np.zeros(matrix.shape[1], bool)
    for row in rows:
        kept = matrix[row] != 0
        fits = groups and len(groups[-1]) < size
        if fits and 2 * np.count_nonzero(kept & shared) >= np.count_nonzero(kept):
            groups[-1].append(int(row))
            shared |= kept
        else:
            groups.append([int(row)])
            shared = kept
    return [np.array([group + group[-1:] * (size - len(group))]) for group in groups]


def shared_columns(matrix: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The columns, increasing, that any row of ``group`` keeps."""
    return np.flatnonzero((matrix[group] != 0).any(axis=0))


def stored_weights(matrix: np.ndarray, groups: np.ndarray) -> int:
    """Weights that ``groups`` store: every row of a group holds all of the group's columns."""
    return sum(len(shared_columns(matrix, group)) for group in groups) * groups.shape[1]


def best_groups(matrix: np.ndarray, rows: int) -> np.ndarray:
    """The groups (``group_rows``) of ``matrix`` that run fastest where ``rows`` neighbours are meant to
    share columns.

    Smaller groups are considered only where that size stores many zeros.
    """
    natural = natural_size(rows)
    best = group_rows(matrix, natural)
    stored = stored_weights(matrix, best)
    cost = stored * GROUP_OVERHEAD.get(natural, 1.0)
    if stored > ENOUGH_FILL * np.count_nonzero(matrix):
        for size in (s for s in (4, 2, 1) if s < natural):
            groups = group_rows(matrix, size)
            if stored_weights(matrix, groups) * GROUP_OVERHEAD.get(size, 1.0) < cost:
                best, cost = groups, stored_weights(matrix, groups) * GROUP_OVERHEAD.get(size, 1.0)
    return best


def ungrouped(weight: np.ndarray, groups: int) -> np.ndarray:
    """A grouped convolution's weight [F, C / groups, *kernel] as [F, C, *kernel], zero outside the groups."""
    if groups == 1:
        return weight
    filters, channels = weight.shape[:2]
    whole = np.zeros((groups, filters // groups, groups, *weight.shape[1:]), np.float32)
    for group, part in enumerate(weight.reshape(groups, -1, *weight.shape[1:])):
        whole[group, :, group] = part
    return whole.reshape(filters, groups * channels, *weight.shape[2:])


def pack_columns(weight: np.ndarray, groups: np.ndarray, unit: int, channel_block: int,
                 ) -> dict[str, np.ndarray]:
    """The arrays of ``weight`` [F, C, *kernel]; ``unit`` divides ``channel_block``, which divides C.

    The ``groups`` [G, S] are dealt into ``thread_chunks`` of near-equal work, one after the other.
    """
    blocks = _blocks(weight, unit, channel_block)
    kept = blocks.any(axis=-1).reshape(*blocks.shape[:2], -1)  # [F, B, units of a block]
    slices = blocks.shape[2]
    edges = np.arange(slices) * (kept.shape[2] // slices)
    work = np.array([np.count_nonzero(kept[group].any(axis=0)) for group in groups])
    groups = groups[np.concatenate(dealt(work, thread_chunks(len(groups))))]
    lengths, before, gaps, values = [0], [], [], [np.empty((0, unit, groups.shape[1]), np.float32)]
    for block in range(blocks.shape[1]):
        units = blocks[:, block].reshape(len(weight), -1, unit).transpose(1, 2, 0)  # [units, U, F]
        for group in groups:
            stored = _bridged(np.flatnonzero(kept[group, block].any(axis=0)))
            firsts = np.searchsorted(stored, edges)
            gaps.append(np.diff(stored, prepend=0).astype(np.uint8))
            values.append(units[stored][:, :, group])
            lengths.extend(np.diff(firsts, append=len(stored)))
            before.extend(np.append(stored, 0)[firsts - 1])  # nothing is before the first: 0
    arrays = {"start": np.cumsum(lengths).astype(np.int32), "reorder": _narrow(groups.ravel(), len(weight)),
              "gap": np.concatenate(gaps).view(np.int8), "weight": np.concatenate(values)}
    return arrays | ({"before": _narrow(np.array(before), kept.shape[2])} if slices > 1 else {})


def _blocks(weight: np.ndarray, unit: int, channel_block: int) -> np.ndarray:
    """``weight`` [F, C, *kernel] as [F, B, slices, channel / U, places of a slice, U]."""
    filters, channels, *kernel = weight.shape
    shape = filters, channels // channel_block, channel_block // unit, unit, three(kernel)[0], -1
    return weight.reshape(shape).transpose(0, 1, 4, 2, 5, 3)


def _narrow(numbers: np.ndarray, count: int) -> np.ndarray:
    """Numbers below ``count`` as uint16 bits where they fit."""
    return numbers.astype(np.uint16).view(np.int16) if count <= 1 << 16 else numbers.astype(np.int32)


def unpack_columns(arrays: Mapping[str, np.ndarray], shape: Sequence[int], channel_block: int) -> np.ndarray:
    """The dense f32 weight of ``shape`` [F, C, *kernel] behind ``pack_columns``."""
    dense = np.zeros(tuple(shape), np.float32)
    blocks = _blocks(dense, arrays["weight"].shape[1], channel_block)  # a view
    _, _, slices, channels, places, _ = blocks.shape
    order = arrays["reorder"]
    order = (order.view(np.uint16) if order.dtype == np.int16 else order).astype(np.intp)
    groups = order.reshape(-1, arrays["weight"].shape[2])
    gaps = arrays["gap"].view(np.uint8).astype(np.int64)
    for row, (first, last) in enumerate(pairwise(arrays["start"][::slices])):
        block, group = divmod(row, len(groups))
        at = np.unravel_index(np.cumsum(gaps[first:last]), (slices, channels, places))
        blocks[(groups[group][:, None], block, *at)] = arrays["weight"][first:last].transpose(2, 0, 1)
    return dense


def _bridged(units: np.ndarray) -> np.ndarray:
    """``units``, increasing, with others between where the next is more than 255 away (or the first from
    0)."""
    gaps = np.diff(units, prepend=0)
    steps = np.maximum(gaps - 1, 0) // LARGEST_GAP + 1
    last = np.cumsum(steps) - 1
    result = np.repeat(units, steps)
    return result - (np.repeat(last, steps) - np.arange(len(result))) * LARGEST_GAP


def natural_size(rows: int) -> int:
    """Rows a group where ``rows`` share columns: at most LARGEST_GROUP, with as little padding as can be."""
    if rows <= LARGEST_GROUP:
        return rows
    return min(range(LARGEST_GROUP, LARGEST_GROUP // 2 - 1, -1), key=lambda size: -(-rows // size) * size)
