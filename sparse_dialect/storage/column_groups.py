"""Groups of filters that share columns, a block of channels at a time (GRIM's matrix reorder).

A convolution stores its G groups of S filters (``schemes/shared_columns.py`` finds them) a block of channels
at a time. A *unit* is one tap of U neighbouring channels. The Z slices of a kernel (its depth) come one after
the other, so that code can leave out those at either end; inside a block a unit has the number

    (slice * channels / U + channel / U) * taps of a slice + tap

    start   [B * G * Z + 1]   i32   start of each (channel block, group, slice), in units
    reorder [G * S]           i16   filters of each group (uint16 bits; i32 for more than 2^16); a short group
                                    repeats its last
    gap     [E]               i8    uint8 bits: unit minus the one before it in its block (the first: minus 0)
    weight  [E, U, S]         f32   all S filters of every channel of the unit
    before  [B * G * Z]       i16   the unit before each start (as reorder; i32 for 2^16 units); only if Z > 1

One byte for U x S weights; a unit of zeros bridges a gap over 255. A grouped convolution is stored as the
whole convolution that it is part of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from ..geometry.layouts import three
from ..schemes.scheme import Scheme
from ..schemes.shared_columns import SharedColumns
from .chunks import dealt, thread_chunks
from .storage import FLOATS, WEIGHT, ArrayForm, Count, Packed, Storage, as_u16, from_u16

LARGEST_GAP = 255
NARROW = 1 << 16  # numbers below it are kept in 16 bits


@dataclass(frozen=True)
class ColumnGroups(Storage):
    """``filters_per_group`` filters that share columns, in units of ``unit`` channels, in blocks of
    ``channel_block`` of all channels (0: one block) of a convolution of ``groups`` groups."""

    filters_per_group: int = 1
    unit: int = 1
    channel_block: int = 0
    groups: int = 1
    name: ClassVar[str] = "column_groups"

    def why_not(self, scheme: Scheme, shape: Sequence[int]) -> str:
        if not isinstance(scheme, SharedColumns) or len(shape) < 3:
            return f"expected a convolution whose filters share columns, found {scheme.name} {list(shape)}"
        channels, block = shape[1] * self.groups, self._block(shape)
        if self.groups < 1 or shape[0] % self.groups:
            return f"expected groups that divide {shape[0]} filters, found {self.groups}"
        if self.filters_per_group < 1:
            return f"expected a filters_per_group of 1 or more, found {self.filters_per_group}"
        if block < 1 or channels % block:
            return f"expected a channel_block that divides {channels} channels, found {block}"
        if self.unit < 1 or block % self.unit:
            return f"expected a unit that divides {block} channels of a block, found {self.unit}"
        return ""

    def arrays(self, weight: np.ndarray, scheme: Scheme, order: np.ndarray | None) -> dict[str, np.ndarray]:
        """``order`` lists the filters group by group; a short group repeats one. The groups are dealt into
        ``thread_chunks`` of near-equal work, one after the other."""
        whole = ungrouped(weight, self.groups)
        groups = self._groups(whole, scheme, order)
        blocks = _blocks(whole, self.unit, self._block(weight.shape))
        kept = blocks.any(axis=-1).reshape(*blocks.shape[:2], -1)  # [F, B, units of a block]
        slices = blocks.shape[2]
        edges = np.arange(slices) * (kept.shape[2] // slices)  # the first unit of each slice
        work = np.array([np.count_nonzero(kept[group].any(axis=0)) for group in groups])
        groups = groups[np.concatenate(dealt(work, thread_chunks(len(groups))))]
        lengths, before, gaps = [0], [], []
        values = [np.empty((0, self.unit, groups.shape[1]), np.float32)]
        for block in range(blocks.shape[1]):
            units = blocks[:, block].reshape(len(whole), -1, self.unit).transpose(1, 2, 0)  # [units, U, F]
            for group in groups:
                stored = _bridged(np.flatnonzero(kept[group, block].any(axis=0)))
                firsts = np.searchsorted(stored, edges)
                gaps.append(np.diff(stored, prepend=0).astype(np.uint8))
                values.append(units[stored][:, :, group])
                lengths.extend(np.diff(firsts, append=len(stored)))
                before.extend(np.append(stored, 0)[firsts - 1])  # nothing is before the first: 0
        arrays = {"start": np.cumsum(lengths).astype(np.int32),
                  "reorder": _narrow(groups.ravel(), len(whole)),
                  "gap": np.concatenate(gaps).view(np.int8), WEIGHT: np.concatenate(values)}
        return arrays | ({"before": _narrow(np.array(before), kept.shape[2])} if slices > 1 else {})

    def unpack(self, packed: Packed) -> np.ndarray:
        arrays, (filters, channels, *kernel) = packed.arrays, packed.shape
        whole = np.zeros((filters, channels * self.groups, *kernel), np.float32)
        blocks = _blocks(whole, self.unit, self._block(packed.shape))  # a view
        _, _, slices, own, taps, _ = blocks.shape
        groups = from_u16(arrays["reorder"]).reshape(-1, self.filters_per_group)
        gaps = arrays["gap"].view(np.uint8).astype(np.int64)
        for row, (first, last) in enumerate(pairwise(arrays["start"][::slices])):
            block, group = divmod(row, len(groups))
            at = np.unravel_index(np.cumsum(gaps[first:last]), (slices, own, taps))
            blocks[(groups[group][:, None], block, *at)] = arrays[WEIGHT][first:last].transpose(2, 0, 1)
        return regrouped(whole, self.groups)

    def forms(self, scheme: Scheme, shape: Sequence[int]) -> dict[str, ArrayForm]:
        slices, block = three(shape[2:])[0], self._block(shape)
        rows = shape[1] * self.groups // block * slices  # of each group
        forms = {"start": ArrayForm(("int32",), (Count("groups", rows, 1),)),
                 "reorder": ArrayForm((_narrow_type(shape[0]),), (Count("groups", self.filters_per_group),)),
                 "gap": ArrayForm(("int8",), (Count("units"),)),
                 WEIGHT: ArrayForm(FLOATS, (Count("units"), self.unit, self.filters_per_group))}
        if slices > 1:
            units = block // self.unit * prod(shape[2:])
            forms["before"] = ArrayForm((_narrow_type(units),), (Count("groups", rows),))
        return forms

    def _block(self, shape: Sequence[int]) -> int:
        return self.channel_block or shape[1] * self.groups

    def _groups(self, whole: np.ndarray, scheme: Scheme, order: np.ndarray | None) -> np.ndarray:
        """The filters of each group, [G, S]."""
        assert isinstance(scheme, SharedColumns)
        found = scheme.filter_groups(whole) if order is None else np.asarray(order, np.intp)
        filters = set(range(len(whole)))
        if found.size % self.filters_per_group or set(found.ravel().tolist()) != filters:
            raise EspalierError(f"expected a filter_order of all {len(whole)} filters in groups of "
                                f"{self.filters_per_group}, found {found.ravel().tolist()}; "
                                f"run sparse-reorder-filters")
        return found.reshape(-1, self.filters_per_group)


def ungrouped(weight: np.ndarray, groups: int) -> np.ndarray:
    """A grouped convolution's weight [F, C / groups, *kernel] as [F, C, *kernel], zero outside the groups."""
    if groups == 1:
        return weight
    filters, channels = weight.shape[:2]
    whole = np.zeros((groups, filters // groups, groups, *weight.shape[1:]), weight.dtype)
    for group, part in enumerate(weight.reshape(groups, -1, *weight.shape[1:])):
        whole[group, :, group] = part
    return whole.reshape(filters, groups * channels, *weight.shape[2:])


def regrouped(whole: np.ndarray, groups: int) -> np.ndarray:
    """The inverse of ``ungrouped``: [F, C, *kernel] as [F, C / groups, *kernel]."""
    if groups == 1:
        return whole
    filters, channels = whole.shape[:2]
    split = whole.reshape(groups, filters // groups, groups, channels // groups, *whole.shape[2:])
    own = np.stack([split[group, :, group] for group in range(groups)])
    return own.reshape(filters, channels // groups, *whole.shape[2:])


def _blocks(weight: np.ndarray, unit: int, channel_block: int) -> np.ndarray:
    """``weight`` [F, C, *kernel] as [F, B, slices, channel / U, taps of a slice, U]."""
    filters, channels, *kernel = weight.shape
    shape = filters, channels // channel_block, channel_block // unit, unit, three(kernel)[0], -1
    return weight.reshape(shape).transpose(0, 1, 4, 2, 5, 3)


def _narrow_type(count: int) -> str:
    return "int16" if count <= NARROW else "int32"


def _narrow(numbers: np.ndarray, count: int) -> np.ndarray:
    """Numbers below ``count`` as uint16 bits where they fit."""
    return as_u16(numbers) if count <= NARROW else numbers.astype(np.int32)


def _bridged(units: np.ndarray) -> np.ndarray:
    """``units``, increasing, with others between where the next is more than 255 away (or the first from
    0)."""
    gaps = np.diff(units, prepend=0)
    steps = np.maximum(gaps - 1, 0) // LARGEST_GAP + 1
    last = np.cumsum(steps) - 1
    result = np.repeat(units, steps)
    return result - (np.repeat(last, steps) - np.arange(len(result))) * LARGEST_GAP
