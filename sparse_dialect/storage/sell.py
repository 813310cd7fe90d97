"""Storage of sparse matrices for matrix-vector products: vectors run along rows, weights stream once.

BCRC's shared columns (GRIM, TPAMI 2022) in slices (SELL-C-sigma; Kreutzer et al., SIAM 2014). A
*lane* is a group of 1, 2 or 4 neighbouring rows with the columns that any of them keeps. The lanes of a
slice walk through the columns together: an entry holds at most one column of each, all of them inside one
window of the input, from which vector loads and permutes, or gathers, fetch them:

    column of lane l = base + index[e, l]         base = sum of advance[e'] of the slice's entries e' <= e

A lane whose next column lies beyond the window waits. Rows come in units that belong to one thread and have
slices of their own; lanes are sorted by length inside a unit.

    edges   [U + 1]   i32   first unit of each share; shares hold about equal work
    start   [S + 1]   i32   first entry of each slice
    place   [S, L]    i8    uint8 bits: where the lane's rows lie in its unit, in groups
    advance [E]       i8    uint8 bits: how far the window moves
    index   [E, L]    i8    uint8 bits
    weight  [E, G, L] f32   0 where a row does not keep the column, or the lane has none

With ``gates`` above 1 the rows are those of a recurrent layer, in the order of ``gates.py``.

Where loads can only bring one scalar at a time, vectors run along the rows of a group of 4 instead. There,
and where vectors run along many inputs, weights lie as [E, L, G] (``by_lane``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..devices.cores import Core
from ..errors import EspalierError
from ..schemes.scheme import Scheme, is_nonzero
from .gates import interleave_gates, separate_gates, unit_groups
from .storage import FLOATS, WEIGHT, ArrayForm, Count, Packed, Storage

GROUPS = (4, 2, 1)  # rows of a lane
UNIT_ROWS = 128
MOST_TOGETHER = 4  # indivisible runs of rows in a unit
ALIGNMENT = 16  # windows start at multiples of it, except at the end of the matrix
LARGEST_ADVANCE = 240
LARGEST_BYTE = 255
PERMUTED = 64  # the window that permutes fetch from: four registers
STREAMED = 1 << 18  # from so many weights of single rows on a wider window: fewer lanes wait, so less streams
STREAMED_WINDOW = 192
PERMUTED_LANES = 16
GATHERED = 256  # the window that a byte reaches
ENTRIES_AT_ONCE = 1 << 15
WAITS = 1.5  # columns of a window that a lane finds empty while others are at work there
FAR = 1 << 30  # a column behind all others
SHARES = 240  # pieces of about equal work: many threads get equal parts of it

# What fetching the inputs of an entry costs, in vectors of weights multiplied.
LOAD_COST, PERMUTE_COST, GATHER_COST, SCALAR_COST = 1.0, 1.5, 4.0, 8.0


def few_inputs(lanes: int, group: int) -> int:
    """From so many inputs on vectors run along the inputs of lanes of ``group`` rows: below, most of their
    lanes would idle. (Rows of a group share what is picked from the inputs, so that picking pays longer.)"""
    return lanes * 3 // 4 if group == GROUPS[0] and lanes >= PERMUTED_LANES else lanes // 2


@dataclass(frozen=True)
class Sell(Storage):
    """The ``rows`` of a unit, how many of them make a ``group``, the ``lanes`` of a slice, the ``window`` of
    an entry, and the ``gates`` of a recurrent layer (1: a linear one)."""

    rows: int
    group: int
    lanes: int
    window: int
    by_lane: bool = False
    gates: int = 1
    name: ClassVar[str] = "sell"

    @staticmethod
    def choose(weight: np.ndarray, lanes: int, core: Core, gates: int = 1, inputs: int | None = 1,
               given: tuple[int | None, int | None] = (None, None)) -> Sell:
        """What suits ``weight`` [M, K] on ``core``. ``inputs`` that share it (None: only the run knows, so
        there may be many): vectors run along many of them, but not in recurrent layers. Units hold whole
        runs of rows: of a recurrent layer, the ``gates`` of ``lanes`` hidden units; of a linear one, as many
        as fill slices, up to UNIT_ROWS. ``given``: a group and a window that are obeyed."""
        rows = interleave_gates(weight, gates, lanes) if gates > 1 else weight
        full = GROUPS[0] * lanes
        run = gates * lanes if gates > 1 else min(UNIT_ROWS, -(-len(rows) // full) * full)
        kept = is_nonzero(rows)
        counts = _group_columns(kept)
        window, group, many = GATHERED, choose_group(counts, LOAD_COST), gates == 1
        if gates > 1 or (inputs is not None and inputs < few_inputs(lanes, group)):
            (window, fetching), many = _fetching(core, lanes), False
            group = choose_group(counts, fetching)
        if core.wide_windows and window == PERMUTED and group == 1 and counts[1] >= STREAMED:
            window = STREAMED_WINDOW
        group, window = given[0] or group, given[1] or window
        by_lane = group == GROUPS[0] and (many or not core.gathers)
        return Sell(_unit_rows(len(rows), lanes, group, run), group, lanes, window, by_lane, gates)

    def estimate(self, weight: np.ndarray) -> int:
        """About how many weights ``weight`` takes, those of waiting lanes included; without packing it."""
        rows = interleave_gates(weight, self.gates, self.lanes) if self.gates > 1 else weight
        kept = int(np.count_nonzero(_grouped(is_nonzero(rows), self.group))) * self.group
        waits = 1 + WAITS * rows.size / (self.window * max(kept, 1))
        filled = -(-len(rows) // self.rows) * self.padded_rows / len(rows)
        return int(kept * waits * filled)

    @property
    def filters_per_group(self) -> int:
        """The group, by the name that schedules give it."""
        return self.group

    @property
    def per_unit(self) -> int:
        """Slices of a unit."""
        return -(-self.rows // (self.group * self.lanes))

    @property
    def padded_rows(self) -> int:
        """Rows of a unit with those that fill its last slice."""
        return self.per_unit * self.group * self.lanes

    def why_not(self, scheme: Scheme, shape: Sequence[int]) -> str:
        if len(shape) != 2:
            return f"expected a matrix, found a weight of rank {len(shape)}"
        if min(self.rows, self.lanes, self.window, self.gates) < 1 or self.group not in GROUPS:
            return f"expected sizes of 1 or more, and a group of {GROUPS}, found {self}"
        if self.rows % self.group or self.rows // self.group > LARGEST_BYTE or self.window > GATHERED:
            return f"expected at most {LARGEST_BYTE} groups, and a window of {GATHERED}, found {self}"
        if self.gates > 1 and (shape[0] % self.gates or self.rows % (self.gates * self.lanes)):
            return f"expected units of whole runs of {self.gates} gates of {self.lanes} units, found {self}"
        return ""

    def arrays(self, weight: np.ndarray, scheme: Scheme, order: np.ndarray | None) -> dict[str, np.ndarray]:
        if order is not None:
            raise EspalierError("storage sell sorts rows by itself: expected no order")
        rows = interleave_gates(weight, self.gates, self.lanes) if self.gates > 1 else weight
        place, entries = _entries(_grouped(is_nonzero(rows), self.group), self)
        work = np.bincount(entries.owner // self.per_unit, minlength=len(place) // self.per_unit)
        counts = np.bincount(entries.owner, minlength=len(place))
        packed = {"edges": _edges(work + 1.0),
                  "start": np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
                  "place": place.astype(np.uint8), "advance": entries.advance.astype(np.uint8),
                  "index": entries.index, WEIGHT: _weights(rows, place, entries, self)}
        for name in ("advance", "index", WEIGHT):  # arrays are never empty: an entry that no slice counts
            if not len(packed[name]):
                packed[name] = np.zeros((1, *packed[name].shape[1:]), packed[name].dtype)
        return {name: array.view(np.int8) if array.dtype == np.uint8 else array
                for name, array in packed.items()}

    def unpack(self, packed: Packed) -> np.ndarray:
        arrays = packed.arrays
        start, total = arrays["start"], np.cumsum(arrays["advance"].view(np.uint8), dtype=np.int64)
        owner = np.repeat(np.arange(len(start) - 1), np.diff(start))
        before = np.concatenate([[0], total])[start[owner]]
        column = (total[: len(owner)] - before)[:, None] + arrays["index"].view(np.uint8)[: len(owner)]
        values = arrays[WEIGHT][: len(owner)]
        values = values.swapaxes(1, 2) if self.by_lane else values
        entry, row, lane = np.nonzero(values)
        group = arrays["place"].view(np.uint8)[owner[entry], lane].astype(np.int64)
        first = owner[entry] // self.per_unit * self.rows + group * self.group
        dense = np.zeros((self._stored_rows(packed.shape), packed.shape[1]), np.float32)
        dense[first + row, column[entry, lane]] = values[entry, row, lane]
        return separate_gates(dense, self.gates, self.lanes, packed.shape[0]) if self.gates > 1 else dense

    def forms(self, scheme: Scheme, shape: Sequence[int]) -> dict[str, ArrayForm]:
        slices = -(-self._stored_rows(shape) // self.rows) * self.per_unit
        inner = (self.lanes, self.group) if self.by_lane else (self.group, self.lanes)
        return {"edges": ArrayForm(("int32",), (Count("shares", plus=1),)),
                "start": ArrayForm(("int32",), (slices + 1,)),
                "place": ArrayForm(("int8",), (slices, self.lanes)),
                "advance": ArrayForm(("int8",), (Count("entries"),)),
                "index": ArrayForm(("int8",), (Count("entries"), self.lanes)),
                WEIGHT: ArrayForm(FLOATS, (Count("entries"), *inner))}

    def _stored_rows(self, shape: Sequence[int]) -> int:
        """Rows of the matrix with those that fill up the last groups of hidden units."""
        if self.gates == 1:
            return shape[0]
        return unit_groups(shape[0] // self.gates, self.lanes) * self.gates * self.lanes


def windows(lanes: int, core: Core) -> tuple[int, ...]:
    """The windows that ``core`` picks inputs from."""
    permuted = core.permutes and lanes == PERMUTED_LANES
    return (*range(PERMUTED, GATHERED, PERMUTED), GATHERED) if permuted else (GATHERED,)


def choose_group(counts: Mapping[int, int], fetching: float) -> int:
    """How many rows a lane best holds where fetching an entry's inputs costs ``fetching``; ``counts``: the
    entries of each choice."""
    return min(GROUPS, key=lambda group: counts[group] * (group + fetching))


def _group_columns(kept: np.ndarray) -> dict[int, int]:
    """For each of GROUPS, the columns that groups of so many rows of the mask ``kept`` [M, K] keep in all."""
    counts, rows = {}, 1
    for group in sorted(GROUPS):
        kept, rows = _grouped(kept, group // rows), group
        counts[group] = int(np.count_nonzero(kept))
    return counts


def _fetching(core: Core, lanes: int) -> tuple[int, float]:
    """The window of an entry, and what fetching its inputs costs."""
    if core.permutes and lanes == PERMUTED_LANES:
        return PERMUTED, PERMUTE_COST
    return GATHERED, GATHER_COST if core.gathers else SCALAR_COST


def _grouped(kept: np.ndarray, group: int) -> np.ndarray:
    """bool [ceil(M / group), K]: the columns that any row of a group keeps."""
    while group > 1:
        pairs = kept[::2].copy()
        pairs[: len(kept) // 2] |= kept[1::2]
        kept, group = pairs, group // 2
    return kept


def _unit_rows(rows: int, lanes: int, group: int, run: int) -> int:
    """Rows of a unit: as few runs as fill slices best."""
    def slices(runs: int) -> int:
        return -(-rows // (runs * run)) * -(-runs * run // (group * lanes))

    return run * min(range(1, MOST_TOGETHER + 1), key=slices)


# -- entries ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entries:
    """The slice that each entry belongs to, and its columns ``base`` + ``index``, [E, L] where ``used``."""

    owner: np.ndarray
    advance: np.ndarray
    base: np.ndarray
    index: np.ndarray
    used: np.ndarray


def _entries(lists: np.ndarray, slices: Sell) -> tuple[np.ndarray, _Entries]:
    """The places of the lanes of all slices, [S, L], and their entries; ``lists`` bool [groups, K].

    All slices advance together, an entry a turn.
    """
    width, (counts, column) = lists.shape[1], _columns(lists)
    place, member = _sorted_lanes(counts, slices)
    following = np.concatenate([[0], np.cumsum(counts + 1)])[np.minimum(member, len(counts))]
    active, base = np.arange(len(place)), np.zeros(len(place), np.int32)
    limit = max(width - slices.window, 0)
    turns = []
    while len(active):
        found = column[following]
        nearest = found.min(axis=1)
        going_on = nearest < FAR
        if not going_on.all():
            active, following, base = (each[going_on] for each in (active, following, base))
            continue
        base = np.minimum(np.minimum(nearest - nearest % ALIGNMENT, limit), base + LARGEST_ADVANCE)
        used = found < (base + slices.window)[:, None]
        following += used
        turns.append((active, base, (found - base[:, None]).astype(np.uint8), used))
    if not turns:
        none = np.zeros(0, np.int64)
        return place, _Entries(none, none, none, np.zeros((0, slices.lanes), np.uint8),
                               np.zeros((0, slices.lanes), bool))
    fields = [np.concatenate(parts) for parts in zip(*turns, strict=True)]
    order = np.argsort(fields[0], kind="stable")
    owner, base, index, used = (field[order] for field in fields)
    index[~used] = 0
    first = np.diff(owner, prepend=-1) > 0
    advance = np.where(first, base, np.diff(base, prepend=0))
    return place, _Entries(owner, advance, base, index, used)


def _columns(lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many columns each group keeps, and those of all groups, i32, with ``FAR`` behind each group's and
    at last, for lanes of no group."""
    far = np.array([FAR], np.int32)
    columns = [part for kept in lists for part in (np.flatnonzero(kept).astype(np.int32), far)]
    return np.count_nonzero(lists, axis=1), np.concatenate([*columns, far])


def _sorted_lanes(counts: np.ndarray, slices: Sell) -> tuple[np.ndarray, np.ndarray]:
    """The place of each lane in its unit and the group of rows that it is, [S, L], longest first in a unit;
    ``counts`` columns of each group. Lanes that only fill up are no group of the matrix."""
    own, lanes = slices.rows // slices.group, slices.per_unit * slices.lanes
    units = -(-len(counts) // own)
    lengths = np.zeros((units, lanes), np.int64)
    lengths[:, :own] = np.pad(counts, (0, units * own - len(counts))).reshape(units, own)
    place = np.argsort(-lengths, axis=1, kind="stable")
    member = np.where(place < own, place + own * np.arange(units)[:, None], len(counts))
    return place.reshape(-1, slices.lanes), member.reshape(-1, slices.lanes)


def _weights(weight: np.ndarray, place: np.ndarray, entries: _Entries, slices: Sell) -> np.ndarray:
    """The weights of all entries, [E, G, L] or [E, L, G]; some entries at a time, for places take more memory
    than weights."""
    unit = np.arange(len(place))[:, None] // slices.per_unit
    first = place * slices.group + unit * slices.rows
    values = np.zeros((len(entries.owner), slices.group, slices.lanes), np.float32)
    for begin in range(0, len(values), ENTRIES_AT_ONCE):
        part = slice(begin, begin + ENTRIES_AT_ONCE)
        column = entries.base[part, None] + entries.index[part]
        for row in range(slices.group):
            at = first[entries.owner[part]] + row
            inside = entries.used[part] & (at < len(weight))
            values[part, row][inside] = weight[at[inside], column[inside]]
    return np.ascontiguousarray(values.swapaxes(1, 2)) if slices.by_lane else values


def _edges(work: np.ndarray) -> np.ndarray:
    """The first unit of each share, i32 [shares + 1]: cuts of about equal ``work``."""
    before = np.concatenate([[0.0], np.cumsum(work)])
    shares = min(SHARES, len(work))
    goals = before[-1] * np.arange(shares + 1) / shares
    edges = np.searchsorted((before[:-1] + before[1:]) / 2, goals)
    edges[-1] = len(work)
    return edges.astype(np.int32)
