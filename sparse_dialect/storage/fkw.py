"""FKW (filter, kernel, weight) a channel block: the storage of kernels that follow a pattern library.

The channels are cut into B blocks; each block has an FKW of its own, one after the other. A *row* is (block,
filter group), and ``filters_per_group`` filters share a row: a stored kernel then holds one weight for each
of its class's terms (filter of the group, tap), so one loaded input serves several filters (LRE, filter
level).

    offset  [B * R + 1]          i32   start of each row, in kernels; R = ceil(F / G) rows a block
    reorder [B * R * G]          i32   original filter of each place of each row; a short row repeats its last
    stride  [B * R, classes + 1] i16   kernels before each class inside the row, from 0 (uint16 bits)
    index   [K]                  i16   channel of each kernel inside its block (uint16 bits)
    weight  [sum of terms]       f32   in the order of the kernels, then of the class's terms
    start   [B * R]              i32   start of each row in ``weight``; only where classes differ in terms

Inside a row, kernels are sorted by class, then channel. With one block and groups of one filter this is FKW
exactly as PatDNN defines it (Niu et al., ASPLOS 2020, figure on FKW; its example is a test).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, NamedTuple

import numpy as np

from ..schemes.kernels import Kernels, KernelScheme, repeated
from ..schemes.scheme import Scheme
from .chunks import dealt, thread_chunks
from .storage import FLOATS, WEIGHT, ArrayForm, Count, Packed, Storage, as_u16, checked_order, from_u16

Terms = tuple[tuple[int, int], ...]  # (filter of the group, tap) of each weight of a stored kernel
LARGEST = 1 << 16  # numbers that 16 bits hold


class _Kernels(NamedTuple):
    """The stored kernels of a layer: filter group, channel and class of each, in any order."""

    groups: np.ndarray
    channels: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class Fkw(Storage):
    """FKW of a convolution of ``groups`` groups, in blocks of ``channel_block`` of all its channels (0: one
    block), ``filters_per_group`` filters a row. ``mixed``: a row's classes run as one, so that rows of
    equally many kernels are neighbours, whatever their classes."""

    filters_per_group: int = 1
    channel_block: int = 0
    groups: int = 1
    mixed: bool = False
    name: ClassVar[str] = "fkw"

    def why_not(self, scheme: Scheme, shape: Sequence[int]) -> str:
        if not isinstance(scheme, KernelScheme) or len(shape) < 3:
            return f"expected a convolution whose kernels follow patterns, found {scheme.name} {list(shape)}"
        channels, block = shape[1] * self.groups, self._block(shape)
        if self.filters_per_group < 1:
            return f"expected a filters_per_group of 1 or more, found {self.filters_per_group}"
        patterns = scheme.patterns(shape[2:])
        if self.filters_per_group > 1 and len(patterns) > 1 and max(map(len, patterns)) > 1:
            return ("expected one pattern or single weights, for filters share rows, found "
                    f"{len(patterns)} patterns")
        if self.mixed and (self.filters_per_group > 1 or len(set(map(len, patterns))) != 1):
            return "expected rows of one filter and patterns of equally many places, for all run as one"
        if self.groups < 1 or shape[0] % self.groups or (self.groups > 1 and self.filters_per_group > 1):
            return f"expected groups that divide {shape[0]} filters, each in a row of its own"
        if block < 1 or channels % block:
            return f"expected a channel_block that divides {channels} channels, found {block}"
        if block >= LARGEST:
            return f"it indexes at most {LARGEST - 1} input channels, found {block}"
        return ""

    def classes(self, scheme: Scheme, kernel: Sequence[int]) -> tuple[Terms, ...]:
        """The kernel classes of kernels of size ``kernel``: one a pattern; where filters share rows, one for
        each pattern and set of filters of a row that keep it at a channel. Set s holds filter f where bit f
        is 1."""
        assert isinstance(scheme, KernelScheme)
        patterns = scheme.patterns(kernel)
        if self.filters_per_group == 1:
            return tuple(tuple((0, tap) for tap in pattern) for pattern in patterns)
        filters = range(self.filters_per_group)
        return tuple(tuple((f, tap) for tap in pattern for f in filters if kept >> f & 1)
                     for pattern in patterns for kept in range(1, 1 << self.filters_per_group))

    def arrays(self, weight: np.ndarray, scheme: Scheme, order: np.ndarray | None) -> dict[str, np.ndarray]:
        """``order`` [F] lists the filters as to be stored (FKR).

        Where there are several blocks the groups are dealt into ``thread_chunks`` of near-equal work, which
        stay together in every block (a thread owns chunks); inside a chunk and a block, rows of equal run
        lengths become neighbours, which the branch predictor rewards.
        """
        assert isinstance(scheme, KernelScheme)
        filters, group = weight.shape[0], self.filters_per_group
        channel_block = self._block(weight.shape)
        groups, blocks = self._rows(weight.shape), weight.shape[1] * self.groups // channel_block
        order = checked_order(order, filters)
        order = np.append(order, order[-1:].repeat(groups * group - filters))
        classes = self.classes(scheme, weight.shape[2:])
        kept = scheme.kernels(weight[order])
        kernels = self._stored(kept, weight.shape)
        base = order[kernels.groups * group] // (filters // self.groups) * weight.shape[1]
        absolute = kernels.channels + base
        block = absolute // channel_block
        runs = np.zeros((blocks, groups, len(classes)), np.int64)
        np.add.at(runs, (block, kernels.groups, kernels.classes), 1)
        rows = _row_order(runs.sum(axis=2, keepdims=True) if self.mixed else runs)

        # where each filter group comes in its block, and with that the row of each kernel
        place = np.empty((blocks, groups), np.int64)
        place[np.arange(blocks)[:, None], rows] = np.arange(groups)
        row = block * groups + place[block, kernels.groups]
        by_row = np.lexsort((kernels.channels, kernels.classes, row))
        stored = _Kernels(*(each[by_row] for each in kernels))
        absolute = absolute[by_row]

        counts = runs[np.arange(blocks)[:, None], rows].reshape(blocks * groups, -1)
        stride = np.concatenate([np.zeros((len(counts), 1), np.int64), np.cumsum(counts, axis=1)], axis=1)
        terms = np.array([len(t) for t in classes], np.int64)
        starts = np.concatenate([[0], np.cumsum(terms[stored.classes])])
        values = np.empty(int(starts[-1]), np.float32)
        once = ~repeated(kept, scheme.patterns(weight.shape[2:]))[by_row] if group == 1 else None
        dense = weight.reshape(filters, weight.shape[1], -1)
        for kind, kind_terms in enumerate(classes):
            here = np.flatnonzero(stored.classes == kind)
            for at, (f, tap) in enumerate(kind_terms):
                members = order[stored.groups[here] * group + f]
                value = dense[members, stored.channels[here], tap]
                values[starts[here] + at] = value if once is None else value * once[here, at]
        offset = np.concatenate([[0], np.cumsum(stride[:, -1])])
        index = absolute % channel_block
        arrays = {"offset": offset.astype(np.int32),
                  "reorder": order[rows.reshape(-1, 1) * group + np.arange(group)].ravel().astype(np.int32),
                  "stride": as_u16(stride), "index": as_u16(index), WEIGHT: values}
        for name in ("index", WEIGHT):  # arrays are never empty: a kernel that no row counts
            if not len(arrays[name]):
                arrays[name] = np.zeros(1, arrays[name].dtype)
        if len(set(terms.tolist())) > 1:
            arrays["start"] = starts[offset[:-1]].astype(np.int32)
        return arrays

    def unpack(self, packed: Packed) -> np.ndarray:
        arrays, shape = packed.arrays, packed.shape
        group, classes = self.filters_per_group, self.classes(packed.scheme, shape[2:])
        dense = np.zeros((*shape[:2], prod(shape[2:])), np.float32)
        runs = np.diff(from_u16(arrays["stride"]), axis=1)
        row = np.repeat(np.arange(len(runs)), runs.sum(axis=1))
        kind = np.repeat(np.tile(np.arange(len(classes)), len(runs)), runs.ravel())
        starts = np.concatenate([[0], np.cumsum(np.array([len(terms) for terms in classes], np.int64)[kind])])
        block = row // self._rows(shape)
        channel = block * self._block(shape) + from_u16(arrays["index"])[: len(row)]
        for number, terms in enumerate(classes):
            here = np.flatnonzero(kind == number)
            for at, (f, tap) in enumerate(terms):
                members = arrays["reorder"][row[here] * group + f].astype(np.intp)
                own = channel[here] - members // (shape[0] // self.groups) * shape[1]
                # a filter that fills up a row comes again, as it is; a tap that a kernel has again is 0
                found = arrays[WEIGHT][starts[here] + at]
                dense[members, own, tap] = np.where(found == 0, dense[members, own, tap], found)
        return dense.reshape(shape)

    def forms(self, scheme: Scheme, shape: Sequence[int]) -> dict[str, ArrayForm]:
        classes = self.classes(scheme, shape[2:])
        blocks = shape[1] * self.groups // self._block(shape)
        rows = blocks * self._rows(shape)
        forms = {"offset": ArrayForm(("int32",), (rows + 1,)),
                 "reorder": ArrayForm(("int32",), (rows * self.filters_per_group,)),
                 "stride": ArrayForm(("int16",), (rows, len(classes) + 1)),
                 "index": ArrayForm(("int16",), (Count("kernels"),)),
                 WEIGHT: ArrayForm(FLOATS, (Count("weights"),))}
        differ = len({len(terms) for terms in classes}) > 1
        return forms | ({"start": ArrayForm(("int32",), (rows,))} if differ else {})

    def _rows(self, shape: Sequence[int]) -> int:
        """Rows of a block."""
        return -(-shape[0] // self.filters_per_group)

    def _block(self, shape: Sequence[int]) -> int:
        return self.channel_block or shape[1] * self.groups

    def _stored(self, kept: Kernels, shape: Sequence[int]) -> _Kernels:
        """The kernels of rows: those of a row's filters at one channel, of one pattern, are stored as one."""
        if self.filters_per_group == 1:
            return _Kernels(kept.filters, kept.channels, kept.patterns)
        group, patterns = self.filters_per_group, max(int(kept.patterns.max(initial=0)) + 1, 1)
        sets = np.zeros((self._rows(shape), shape[1], patterns), np.int64)
        np.add.at(sets, (kept.filters // group, kept.channels, kept.patterns), 1 << kept.filters % group)
        rows, channels, kinds = np.nonzero(sets)
        return _Kernels(rows, channels, kinds * ((1 << group) - 1) + sets[rows, channels, kinds] - 1)


def _row_order(runs: np.ndarray) -> np.ndarray:
    """The filter groups of each block in storage order, [blocks, groups]; ``runs`` [blocks, groups,
    classes]."""
    blocks, groups, classes = runs.shape
    if blocks == 1 or classes == 0:
        return np.tile(np.arange(groups), (blocks, 1))
    members = dealt(runs.sum(axis=(0, 2)), thread_chunks(groups))
    result = np.empty((blocks, groups), np.int64)
    for block in range(blocks):
        result[block] = np.concatenate([m[np.lexsort(runs[block, m].T[::-1])] for m in members])
    return result
