"""Storage of unstructured matrices for matrix-vector products: vectors run along rows, weights stream
once.

CSR in slices of ``lanes`` rows (SELL-C-sigma; Kreutzer et al., SIAM 2014), a column block at a time so that
the gathered inputs stay in L1. Rows are sorted by length inside chunks of CHUNK_SLICES slices, which a
thread owns:

    start  [B * S + 1]   i32   start of each (column block, slice), in entries of ``lanes`` weights
    rows   [B * S, L]    i32   matrix row of each lane (M and above: padding)
    gap    [E, L]        i8    uint8 bits: column minus the one before it in this lane (the block's start)
    weight [E, L]        f32   zero where a lane is padded, or a gap over 255 is bridged

One byte an index: at a density of 1/8 gaps over 255 are bridged once in 10^15 weights.
"""

from __future__ import annotations

import numpy as np

COLUMN_BLOCK = 8192  # inputs a block: 32 KiB of f32
CHUNK_SLICES = 8
LARGEST_GAP = 255


def slice_count(rows: int, lanes: int) -> int:
    """Slices of a matrix of ``rows`` rows."""
    return -(-rows // lanes)


def column_blocks(columns: int) -> int:
    return -(-columns // COLUMN_BLOCK)


def pack_slices(weight: np.ndarray, lanes: int) -> dict[str, np.ndarray]:
    """The four arrays of ``weight`` [M, K], with ``weight`` last."""
    rows, columns = weight.shape
    slices = slice_count(rows, lanes)
    starts, order, gaps, values = [0], [], [], []
    for block in range(column_blocks(columns)):
        part = weight[:, block * COLUMN_BLOCK : (block + 1) * COLUMN_BLOCK]
        counts = np.zeros(slices * lanes, np.int64)
        counts[:rows] = np.count_nonzero(part, axis=1)
        for first in range(0, slices, CHUNK_SLICES):
            chunk = np.arange(first * lanes, min(first + CHUNK_SLICES, slices) * lanes)
            chunk = chunk[np.argsort(-counts[chunk], kind="stable")]
            for member in chunk.reshape(-1, lanes):
                gap, value = _slice(part, member[member < rows], lanes)
                starts.append(starts[-1] + len(gap))
                order.append(member)
                gaps.append(gap)
                values.append(value)
    return {"start": np.array(starts, np.int32), "rows": np.array(order, np.int32),
            "gap": np.concatenate(gaps).view(np.int8), "weight": np.concatenate(values)}


def _slice(part: np.ndarray, member: np.ndarray, lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """The gaps u8 [E, lanes] and weights f32 [E, lanes] of the rows ``member`` (at most ``lanes``, longest
    first)."""
    lane, column = np.nonzero(part[member])
    gap = np.diff(column, prepend=0)
    first = np.flatnonzero(np.diff(lane, prepend=-1))
    gap[first] = column[first]
    bridges = np.maximum(gap - 1, 0) // LARGEST_GAP  # fillers of weight 0 before this entry
    before = np.cumsum(bridges + 1)
    position = before - 1
    position -= np.repeat(before[first] - 1 - bridges[first],
                          np.diff(np.append(first, len(lane)))) if len(first) else 0
    length = int(position.max()) + 1 if len(position) else 0
    gaps, values = np.zeros((length, lanes), np.uint8), np.zeros((length, lanes), np.float32)
    gaps[position, lane] = gap - bridges * LARGEST_GAP
    values[position, lane] = part[member[lane], column]
    for at in np.flatnonzero(bridges):
        gaps[position[at] - bridges[at] : position[at], lane[at]] = LARGEST_GAP
    return gaps, values


def unpack_slices(arrays: dict[str, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The dense f32 [M, K] behind ``pack_slices``."""
    dense = np.zeros(shape, np.float32)
    slices = len(arrays["rows"]) // column_blocks(shape[1])
    gaps = arrays["gap"].view(np.uint8)
    for at, member in enumerate(arrays["rows"]):
        entries = slice(arrays["start"][at], arrays["start"][at + 1])
        column = np.cumsum(gaps[entries].astype(np.int64), axis=0) + at // slices * COLUMN_BLOCK
        entry, lane = np.nonzero(arrays["weight"][entries])
        dense[member[lane], column[entry, lane]] = arrays["weight"][entries][entry, lane]
    return dense
