"""FKW a channel block: the storage that the CPU kernels stream.

The channels are cut into B blocks of ``channel_block``; each block has an FKW of its own, one after the
other. A *row* is (block, filter group), and ``group`` filters share a row: a stored kernel then holds one
weight for each of its class's terms (filter of the group, kernel place), so one loaded input serves several
filters (LRE, filter level).

    offset  [B * F/G + 1]          i32   start of each row, in kernels
    reorder [B * F]                i32   original filter of each place of each row
    stride  [B * F/G, classes + 1] i16   kernels before each class inside the row, from 0
    index   [K]                    i16   channel of each kernel inside its block (uint16 bits)
    weight  [sum of terms]         f32   in the order of the kernels, then of the class's terms
    start   [B * F/G]              i32   start of each row in ``weight``; only where classes differ in terms

With one block and groups of one filter this is FKW exactly as PatDNN defines it (a test
holds it to that).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Terms = tuple[tuple[int, int], ...]  # (filter of the group, kernel place) of each weight of a stored kernel


@dataclass(frozen=True)
class StoredKernels:
    """The kernels that a layer stores: filter group, input channel and class of each; i32, any order."""

    groups: np.ndarray
    channels: np.ndarray
    classes: np.ndarray


def thread_chunks(groups: int) -> int:
    """Parts that filter groups are cut into for threads: up to 4, a divisor, so that parts are equal. (More
    would leave fewer rows to sort by run length, which costs single-thread speed.)"""
    return max(count for count in range(1, 5) if groups % count == 0)


def pack_blocked(weight: np.ndarray, classes: tuple[Terms, ...], kernels: StoredKernels, order: np.ndarray,
                 group: int, channel_block: int,
                 convolution_groups: int = 1) -> dict[str, np.ndarray]:
    """The arrays of ``weight`` [F, C / convolution_groups, *kernel].

    ``order`` [F] lists the filters as to be stored (FKR); ``kernels`` and groups count in that order. Where
    there are several blocks the groups are dealt into ``thread_chunks`` of near-equal work, which stay
    together in every block (a thread owns chunks); inside a chunk and a block, rows of equal run lengths
    become neighbours, which the branch predictor rewards.
    """
    filters, channels = weight.shape[0], weight.shape[1] * convolution_groups
    groups, blocks = filters // group, channels // channel_block
    order = np.asarray(order, np.int64)
    base = order[kernels.groups * group] // (filters // convolution_groups) * weight.shape[1]
    absolute = kernels.channels + base
    block = absolute // channel_block
    runs = np.zeros((blocks, groups, len(classes)), np.int64)
    np.add.at(runs, (block, kernels.groups, kernels.classes), 1)
    rows = _row_order(runs)

    place = np.empty((blocks, groups), np.int64)
    place[np.arange(blocks)[:, None], rows] = np.arange(groups)
    row = block * groups + place[block, kernels.groups]
    by_row = np.lexsort((kernels.channels, kernels.classes, row))
    stored, kind = kernels.groups[by_row], kernels.classes[by_row]
    channel, absolute = kernels.channels[by_row], absolute[by_row]

    counts = runs[np.arange(blocks)[:, None], rows].reshape(blocks * groups, -1)
    stride = np.concatenate([np.zeros((len(counts), 1), np.int64), np.cumsum(counts, axis=1)], axis=1)
    terms = np.array([len(t) for t in classes])
    starts = np.concatenate([[0], np.cumsum(terms[kind])])
    values = np.empty(int(starts[-1]), np.float32)
    dense = weight.reshape(filters, weight.shape[1], -1)
    for c, kind_terms in enumerate(classes):
        here = np.flatnonzero(kind == c)
        for t, (f, spot) in enumerate(kind_terms):
            values[starts[here] + t] = dense[order[stored[here] * group + f], channel[here], spot]
    offset = np.concatenate([[0], np.cumsum(stride[:, -1])])
    arrays = {"offset": offset.astype(np.int32),
              "reorder": order[rows.reshape(-1, 1) * group + np.arange(group)].ravel().astype(np.int32),
              "stride": stride.astype(np.uint16).view(np.int16),
              "index": (absolute % channel_block).astype(np.uint16).view(np.int16), "weight": values}
    if len(set(terms.tolist())) > 1:
        arrays["start"] = starts[offset[:-1]].astype(np.int32)
    return arrays


def _row_order(runs: np.ndarray) -> np.ndarray:
    """The filter groups of each block in storage order, [blocks, groups]; ``runs`` [blocks, groups,
    classes]."""
    blocks, groups, _ = runs.shape
    if blocks == 1:
        return np.arange(groups)[None]
    members = dealt(runs.sum(axis=(0, 2)), thread_chunks(groups))
    result = np.empty((blocks, groups), np.int64)
    for block in range(blocks):
        result[block] = np.concatenate([m[np.lexsort(runs[block, m].T[::-1])] for m in members])
    return result


def dealt(work: np.ndarray, chunks: int) -> list[np.ndarray]:
    """The indices of ``work`` in ``chunks`` parts of near-equal sum and size, heaviest first in each."""
    heavy_first = np.argsort(-work, kind="stable")
    lap, lane = np.divmod(np.arange(len(work)), chunks)
    lane = np.where(lap % 2, chunks - 1 - lane, lane)  # dealt forth and back
    return [heavy_first[lane == chunk] for chunk in range(chunks)]
