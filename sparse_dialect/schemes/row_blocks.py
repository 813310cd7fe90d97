"""Storage of sparse matrices for matrix-vector products: strips of four rows share one list of columns.

BCRC (GRIM; papers.md, section 3.3) cut up for vectors: the columns that a strip keeps come in chunks of 16,
and a chunk's inputs are gathered once for all its rows (filter-level LRE). A chunk names its columns by one
byte each, relative to an even spread:

    column of lane l = base + l * step + offset[l]        base i32 a chunk, step a constant of the row class

Where a block has cut rows, or the mask is unstructured, rows of one strip keep different columns. Each
column belongs to one of a few row classes, sets of the strip's rows (bit r: row r), and a chunk stores
weights for the rows of its class only. A matrix whose strips keep whole columns has one class, all rows.
With several classes a strip is cut into pieces of up to 8192 columns, so that all classes find the inputs
of a piece in L1. Chunks lie class by class, in each class strip by strip and piece by piece:

    edges  [U + 1]         i32   first group of strips of each share; shares hold about equal work
    start  [C * S * P + 1] i32   first chunk of each (class, strip, piece)
    base   [chunks]        i32
    offset [chunks, 16]    i8    uint8 bits
    weight [vectors, 16]   f32   chunk by chunk, 16 weights for each row of its class; 0 where a lane is empty

``by_column`` storage, for machines that gather no vectors, has one class, and a chunk's weights column by
column, the strip's four rows next to each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

STRIP = 4  # rows of a strip
ALL_ROWS = (1 << STRIP) - 1
CHUNK = 16  # columns of a chunk
REACH = 255  # largest offset of a column
PIECE = 8192  # inputs that stay in L1: 32 KiB of f32
LARGEST_STEP = 2 * REACH + 1  # up to which a single column anywhere fits a chunk
SHARES = 240  # pieces of about equal work: many threads get equal parts of it
FULL_SPREAD = 40  # mean distance of columns up to which most chunks are full
GATHER = 1.5  # what gathering costs a column, in weights streamed (0.5 from DRAM, 4 from L2)
STRIP_WORK = 2.0  # the fixed work of a strip, in chunks


def few_inputs(lanes: int) -> int:
    """From so many inputs on vectors run along the inputs: below, most of their lanes would idle."""
    return lanes // 2


@dataclass(frozen=True)
class Strips:
    """What code for a packed matrix is specialised by: ``count`` strips of ``pieces``, the row ``classes``
    and the ``steps`` of their columns."""

    count: int
    pieces: int
    classes: tuple[int, ...]
    steps: tuple[int, ...]
    by_column: bool


@dataclass(frozen=True)
class RowBlocks:
    """A packed matrix [M, K]: its storage ``arrays`` and their ``strips``."""

    arrays: dict[str, np.ndarray]
    strips: Strips


def pack_row_blocks(weight: np.ndarray, by_column: bool = False, group: int = 1) -> RowBlocks:
    """``weight`` f32 [M, K] in strips of its rows as they come; a share holds whole groups of ``group``
    strips."""
    masks = _row_masks(weight)
    counts = np.sum([np.bincount(strip, minlength=ALL_ROWS + 1) for strip in masks], axis=0)
    classes = (ALL_ROWS,) if by_column else choose_classes(counts, len(masks))
    pieces = -(-weight.shape[1] // PIECE) if len(classes) > 1 else 1
    steps, parts = [], []
    for rows, table in zip(classes, _cover(classes).T, strict=True):
        stored = table[masks]
        steps.append(_step(stored))
        parts.append(_pack_class(weight, stored, pieces, rows, steps[-1], by_column))
    work = np.full(len(masks), STRIP_WORK)
    for part in parts:
        work += part.counts.reshape(-1, pieces).sum(axis=1) * (GATHER + part.vectors) / (GATHER + STRIP)
    starts = np.cumsum(np.concatenate([[0], *(part.counts for part in parts)]))
    return RowBlocks({"edges": _edges(work, group), "start": starts.astype(np.int32),
                      "base": np.concatenate([part.base for part in parts]),
                      "offset": np.concatenate([part.offset for part in parts]).view(np.int8),
                      "weight": np.concatenate([part.weight for part in parts])},
                     Strips(len(masks), pieces, classes, tuple(steps), by_column))


def unpack_row_blocks(packed: RowBlocks, shape: tuple[int, int]) -> np.ndarray:
    """The dense f32 [M, K] behind ``pack_row_blocks``."""
    arrays, strips, vector = packed.arrays, packed.strips, 0
    offsets = arrays["offset"].view(np.uint8)
    dense = np.zeros((strips.count * STRIP, shape[1]), np.float32)
    for number, (rows, step) in enumerate(zip(strips.classes, strips.steps, strict=True)):
        members = _members(rows)
        for strip in range(strips.count):
            first = (number * strips.count + strip) * strips.pieces
            for chunk in range(arrays["start"][first], arrays["start"][first + strips.pieces]):
                columns = arrays["base"][chunk] + step * np.arange(CHUNK) + offsets[chunk]
                values = arrays["weight"][vector : vector + len(members)]
                values = values.reshape(CHUNK, STRIP).T if strips.by_column else values
                at, lane = np.nonzero(values)
                dense[strip * STRIP + members[at], columns[lane]] = values[at, lane]
                vector += len(members)
    return dense[: shape[0]]


# -- row classes ------------------------------------------------------------------------------


def choose_classes(counts: np.ndarray, strips: int) -> tuple[int, ...]:
    """The row classes of least cost for ``counts`` [16] columns that keep each set of rows.

    Starts from one class of all rows that occur, and from a class for each row, and adds or drops classes
    while that pays. The largest class comes first.
    """
    places = int(counts.sum())
    union = int(np.bitwise_or.reduce(np.flatnonzero(counts))) or ALL_ROWS

    def cost(classes: frozenset[int]) -> float:
        ordered = tuple(sorted(classes))
        stored = counts @ (_cover(ordered) != 0)
        spread = np.maximum(places / np.maximum(stored, 1) / FULL_SPREAD, 1) ** 2
        chunks = stored / CHUNK * np.minimum(spread, CHUNK) + strips / 2  # a strip's last one is half empty
        return float(chunks @ [GATHER + rows.bit_count() for rows in ordered])

    def improved(classes: frozenset[int]) -> frozenset[int]:
        ways = [classes ^ {rows} for rows in range(1, ALL_ROWS + 1)]
        best = min((way for way in ways if _covers(way, union)), key=cost)
        return improved(best) if cost(best) < cost(classes) else classes

    single = frozenset(1 << row for row in range(STRIP) if union >> row & 1)
    best = min((improved(start) for start in (frozenset({union}), single)), key=cost)
    return tuple(sorted(best, key=lambda rows: (-rows.bit_count(), rows)))


def _covers(classes: frozenset[int], rows: int) -> bool:
    return rows & ~int(np.bitwise_or.reduce([0, *classes])) == 0


@cache
def _cheapest(mask: int, classes: frozenset[int]) -> tuple[float, tuple[int, ...]]:
    """The least cost of storing a column that the rows ``mask`` keep, and the classes that do so."""
    if not mask:
        return 0.0, ()
    options = []
    for rows in classes:
        if rows & mask:
            cost, others = _cheapest(mask & ~rows, classes)
            options.append((GATHER + rows.bit_count() + cost, (rows, *others)))
    return min(options)


@cache
def _cover(classes: tuple[int, ...]) -> np.ndarray:
    """u8 [16, C]: the rows that class c stores of a column that the rows ``mask`` keep."""
    table = np.zeros((ALL_ROWS + 1, len(classes)), np.uint8)
    known = frozenset(classes)
    for mask in range(1, ALL_ROWS + 1):
        missing = mask if _covers(known, mask) else 0
        for rows in _cheapest(missing, known)[1]:
            table[mask, classes.index(rows)] = missing & rows
            missing &= ~rows
    return table


def _members(rows: int) -> np.ndarray:
    """The rows of a class, as numbers."""
    return np.array([row for row in range(STRIP) if rows >> row & 1])


def _row_masks(weight: np.ndarray) -> np.ndarray:
    """u8 [strips, K]: for each strip and column the set of rows that keep it."""
    masks = np.zeros((-(-len(weight) // STRIP), weight.shape[1]), np.uint8)
    for row in range(STRIP):
        kept = weight[row::STRIP] != 0
        masks[: len(kept)] |= kept.view(np.uint8) << row
    return masks


# -- columns ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """One class: ``counts`` of chunks for each piece, and its chunks; each has ``vectors`` of weights."""

    counts: np.ndarray
    vectors: int
    base: np.ndarray
    offset: np.ndarray
    weight: np.ndarray


def _step(stored: np.ndarray) -> int:
    """The even spread of a chunk's columns: as far apart as those that are ``stored``, u8 [strips, K], are
    on average."""
    counts, columns = np.count_nonzero(stored, axis=1), stored.shape[1]
    mean = columns * np.count_nonzero(counts) // max(int(counts.sum()), 1)
    return int(min(mean, LARGEST_STEP, (columns - 1) // (CHUNK - 1)))


def _pack_class(weight: np.ndarray, stored: np.ndarray, pieces: int, rows: int, step: int,
                by_column: bool) -> _Part:
    """The chunks of one class; ``stored`` u8 [strips, K] are the rows that it stores of each column.

    All pieces advance together, a chunk a turn. A chunk takes the next columns of its piece as far as
    their offsets reach. Empty lanes must reach some column too, so ``base`` is kept inside the matrix, and
    columns near its end go to later lanes.
    """
    width, members, ramp = stored.shape[1], _members(rows), step * np.arange(CHUNK)
    strip, column = np.nonzero(stored)
    piece = strip * pieces + column // -(-width // pieces)
    following, ends = (np.searchsorted(piece, np.arange(len(stored) * pieces), side)
                       for side in ("left", "right"))
    limit = width - 1 - int(ramp[-1])
    order, base, offset, values = [], [], [], []
    while (active := np.flatnonzero(following < ends)).size:
        first = column[following[active]]
        lane = np.maximum(CHUNK - (ends - following)[active], 0)  # last columns are near the end
        lane = np.minimum(lane, first // max(step, 1))
        lane = np.maximum(lane, -((limit + REACH - first) // max(step, 1)))
        at = following[active][:, None] + np.arange(CHUNK) - lane[:, None]
        used = (at >= following[active][:, None]) & (at < ends[active][:, None])
        place = column[np.clip(at, 0, len(column) - 1)] - ramp
        low = np.minimum.accumulate(np.where(used, place, width), axis=1)
        high = np.maximum.accumulate(np.where(used, place, -width), axis=1)
        whole = used.all(axis=1) & (high[:, -1] - low[:, -1] <= REACH)
        used &= whole[:, None] | ((high - np.minimum(low, limit) <= REACH) & (low >= -REACH))
        low = np.where(used, place, width).min(axis=1)
        low = np.where(whole, low, np.minimum(low, limit))[:, None]
        read = np.where(used, place + ramp, np.maximum(low + ramp, 0))
        kept = stored[active[:, None] // pieces, read] * used
        chunk = np.zeros((len(active), len(members), CHUNK), np.float32)
        for vector, row in enumerate(members):
            at_strip, at_lane = np.nonzero(kept >> row & 1)
            chunk[at_strip, vector, at_lane] = weight[
                active[at_strip] // pieces * STRIP + row, read[at_strip, at_lane]]
        values.append((chunk.transpose(0, 2, 1) if by_column else chunk).reshape(len(active), -1, CHUNK))
        order.append(active)
        base.append(low[:, 0])
        offset.append((read - ramp - low).astype(np.uint8))
        following[active] += used.sum(axis=1)
    if not order:  # arrays are never empty: a chunk that no strip counts
        return _Part(np.zeros(len(following), np.int64), len(members), np.zeros(1, np.int32),
                     np.zeros((1, CHUNK), np.uint8), np.zeros((len(members), CHUNK), np.float32))
    owner = np.concatenate(order)
    sorting = np.argsort(owner, kind="stable")
    return _Part(np.bincount(owner, minlength=len(following)), len(members),
                 np.concatenate(base)[sorting].astype(np.int32), np.concatenate(offset)[sorting],
                 np.concatenate(values)[sorting].reshape(-1, CHUNK))


def _edges(work: np.ndarray, group: int) -> np.ndarray:
    """The first group of strips of each share, i32 [shares + 1]: cuts of about equal ``work``."""
    groups = np.add.reduceat(work, np.arange(0, len(work), group))
    before = np.concatenate([[0.0], np.cumsum(groups)])
    shares = min(SHARES, len(groups))
    goals = before[-1] * np.arange(shares + 1) / shares
    edges = np.searchsorted((before[:-1] + before[1:]) / 2, goals)
    edges[-1] = len(groups)
    return edges.astype(np.int32)
