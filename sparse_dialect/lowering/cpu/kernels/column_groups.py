"""Emits the kernel of a convolution whose filters share columns: a GEMM micro-kernel over gathered columns.

    for sub-tile of the tile:                     # T output lines; S filters x T lines of sums in registers
      acc[f][t] = bias[f], or the partial sums of the block before
      unit = 0
      for e in start[row] .. start[row + 1]:      # units of (block, group): one kernel place of U channels
        unit += gap[e]
        at = table[unit] + the sub-tile's offset
        for i in 0 .. U:
          acc[f][t] += weight[e][i][f] * input[at + channel i + line t]
      keep acc as partial sums; after the last block store activation(acc + residual), pooled if asked

This is what a visit of a group in ``tile.py`` does, for every scheme of ``storage/column_groups.py``. Where
the input is packed, and where a 1x1 window reads it in place, the address of a column is a sum of one number
for its channel and place (``table``) and one for the output line, so code knows no place and no pattern. A
column's T lines are loaded for all S filters; every multiply loads its own vector here, and
``sparse-eliminate-redundant-loads`` shares them (filter level).

Lanes do not cut the depth, so at either end of a volume whole slices of a kernel read padding alone. There
``e`` runs over the units of the slices inside (``Window.slices_inside``), from the unit ``before`` them on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod

import numpy as np

from ....devices.cores import Core
from ....geometry.layouts import LaneGrid, Three, box
from ....ir.mlir import ir
from ..emit.builder import Builder, Value, flat
from ..plan.conv_plan import ITEM_FIELDS, ConvPlan, cut
from .tile import TileEmitter, TileKernel, add_function

SUB_TILE_FIELDS = ("input", "line", "position", "slice")

Run = tuple[Value, Value, Value]  # units: begin, end, and the number of the one before


@dataclass(frozen=True, kw_only=True)
class ColumnsKernel(TileKernel):
    """Everything static about the code; equal values share one function.

    ``size`` filters share columns in each group, ``unit`` channels share an index byte; ``sub_tile`` output
    lines are computed together, for ``size / passes`` filters at a time.
    """

    group_count: int
    size: int
    unit: int
    sub_tile: Three
    passes: int = 1

    @property
    def groups(self) -> int:
        return self.group_count

    @property
    def sums(self) -> int:
        """Every place of a group: where a short group repeats its last filter, each copy adds up its own."""
        return self.groups * self.size

    def shapes(self, plan: ConvPlan) -> dict[Three, list[Three]]:
        """The sub-tiles of a tile: origins (depth, row, column) by shape."""
        return cut(plan.tile, self.sub_tile, self.pool)

    def pitch(self, plan: ConvPlan) -> int:
        """Lines from a channel to the next, in scratch or in the input."""
        if not plan.direct:
            return len(plan.region)
        assert isinstance(self.source, LaneGrid)
        return self.source.lines


def columns_tables(kernel: ColumnsKernel, plan: ConvPlan) -> list[np.ndarray]:
    """What the kernel looks up, i32, in floats and lines: the input offset of each unit of a channel block,
    [units]; for each sub-tile SUB_TILE_FIELDS, [sub-tiles, 4]; for each output slice the first of the
    kernel's slices that it needs, and the one after the last, [slices, 2]."""
    lanes = kernel.target.lanes
    taps = np.array([plan.line_of[tap] for tap in plan.window.taps]).reshape(plan.window.kernel[0], 1, -1)
    channels = np.arange(0, kernel.channel_block, kernel.unit) * kernel.pitch(plan)
    rows, position = [], 0
    for shape, origins in kernel.shapes(plan).items():
        for origin in origins:
            depth, row, column = (o // p for o, p in zip(origin, kernel.pool, strict=True))
            rows.append((plan.line_read(origin, (0, 0, 0)) * lanes, kernel.stored.line(depth, row, column),
                         position, origin[0]))
            position += prod(shape)
    inside = [plan.window.slices_inside(kernel.source.depth, at) for at in range(kernel.target.depth)]
    return [((channels[:, None] + taps) * lanes).ravel().astype(np.int32), np.array(rows, np.int32),
            np.array([(slices.start, slices.stop) for slices in inside], np.int32)]


def unit_visits(kernel: ColumnsKernel, plan: ConvPlan, start: np.ndarray) -> list[int]:
    """How often the loop body of each shape of sub-tiles runs: units of the slices inside, for each pass."""
    units = np.diff(start).reshape(-1, plan.window.kernel[0]).sum(axis=0)
    firsts = plan.items[:, ITEM_FIELDS.index("output_slice")].tolist()
    inside = [[plan.window.slices_inside(kernel.source.depth, first + origin[0], shape[0])
               for first in firsts for origin in origins] for shape, origins in kernel.shapes(plan).items()]
    return [kernel.passes * sum(int(units[slices.start : slices.stop].sum()) for slices in each)
            for each in inside]


def emit_columns_kernel(module: ir.Operation, name: str, kernel: ColumnsKernel, plan: ConvPlan,
                        operand_types: list[ir.Type], core: Core) -> None:
    """Adds ``func.func private @name`` to ``module``.

    Its arguments: input, output, [residual,] bias [F], items, borders, gathers, permuted, the three tables
    of ``columns_tables``, start [B * G * Z + 1], reorder [G * S], gap [E], weight [E, U, S],
    [before [B * G * Z],] scratch (memref<?xi8>), begin and end of the units (item, chunk of groups).
    """
    add_function(module, name, _Emitter, kernel, plan, operand_types, core)


class _Emitter(TileEmitter):
    kernel: ColumnsKernel

    def __init__(self, b: Builder, kernel: ColumnsKernel, plan: ConvPlan, arguments: list[Value]) -> None:
        self.kernel = kernel
        super().__init__(b, plan, arguments)
        (self.table, self.sub_tiles, self.slices, self.starts, self.reorder, self.gap, self.weight,
         *self.before) = self.storage
        self.flat = flat(self.input if plan.direct else self.packer.scratch)

    def _group(self, group: Value) -> None:
        b, kernel = self.b, self.kernel
        row = group if kernel.blocks == 1 else b.add(b.multiply(self.block, kernel.groups), group)
        self.row = b.multiply(row, self.plan.window.kernel[0])
        self.run = b.integer(self.starts, self.row), b.integer(self.starts, b.add(self.row, 1)), b.index(0)
        self.places = [b.add(b.multiply(group, kernel.size), f) for f in range(kernel.size)]
        self.filters = [b.integer(self.reorder, place) for place in self.places]
        self.stored_channels = self._stored_channels(self.places, self.filters)
        first = 0
        for kind, (shape, origins) in enumerate(kernel.shapes(self.plan).items()):
            b.loop(first, first + len(origins), partial(self._sub_tile, shape, kind))
            first += len(origins)

    def _sub_tile(self, shape: Three, kind: int, at: Value) -> None:
        b, count = self.b, self.kernel.size // self.kernel.passes
        offset, line, position, slice_ = (b.integer(self.sub_tiles, at, b.index(i))
                                          for i in range(len(SUB_TILE_FIELDS)))
        place = _SubTile(kind, box(*map(range, shape)), b.add(offset, self._origin()),
                         b.add(self.item["output_line"], line), position,
                         self._run_inside(b.add(self.item["output_slice"], slice_), shape[0])
                         if self.before else self.run)
        for first in range(0, self.kernel.size, count):
            self._pass(place, range(first, first + count))

    def _run_inside(self, first: Value, count: int) -> Run:
        """The units that ``count`` output slices from ``first`` on need."""
        b = self.b
        low = b.add(self.row, b.integer(self.slices, b.add(first, count - 1), b.index(0)))
        high = b.add(self.row, b.integer(self.slices, first, b.index(1)))
        return b.integer(self.starts, low), b.integer(self.starts, high), b.integer(self.before[0], low)

    def _pass(self, place: _SubTile, members: range) -> None:
        """A sub-tile of the group's filters ``members``."""
        places, filters, channels = ([values[f] for f in members] for values in
                                     (self.places, self.filters, self.stored_channels))
        self._either_last(lambda: self._claim(channels, place.lines, place.first_line))
        totals = self._start(filters, places, len(place.lines), place.position)
        totals = self._columns(place, members, totals)

        def last() -> None:
            whole = self._whole(places, totals, place.position)
            self._finish(channels, place.lines, whole, place.first_line)

        self._either_last(last, lambda: self._keep(places, totals, place.position))

    def _origin(self) -> Value:
        """Where the tile's input starts: floats from the start of scratch, or of the input."""
        b, kernel = self.b, self.kernel
        if not self.plan.direct:
            return b.index(0)
        channel = b.add(b.multiply(self.item["image"], kernel.channels), self.first_channel)
        line = b.add(b.multiply(channel, kernel.pitch(self.plan)), self.item["source_line"])
        return b.multiply(line, b.lanes)

    def _columns(self, place: _SubTile, members: range, totals: Sequence[Value]) -> list[Value]:
        """The multiplies of the group's filters ``members`` at a sub-tile."""
        b, pitch = self.b, self.kernel.pitch(self.plan) * self.b.lanes
        reads = [self.plan.line_read(line, (0, 0, 0)) * b.lanes for line in place.lines]

        def unit(e: Value, *carried: Value) -> list[Value]:
            *acc, number = carried
            number = b.add(number, b.integer(self.gap, e))
            at = b.add(b.integer(self.table, number), place.input)
            for i in range(self.kernel.unit):
                weight = b.weights(self.weight, [e, b.index(i)], b.index(members.start), len(members))
                for f, (t, read) in product(range(len(members)), enumerate(reads)):
                    loaded = b.load(self.flat, b.add(at, i * pitch + read))
                    loaded.owner.attributes["espalier.filter"] = b.integer_attribute(f)
                    acc[f * len(reads) + t] = b.fma(loaded, weight(f), acc[f * len(reads) + t])
            return [*acc, number]

        begin, end, before = place.run
        *totals, _ = b.loop(begin, end, unit, [*totals, before], attributes={"espalier.class": place.kind})
        return totals


@dataclass(frozen=True)
class _SubTile:
    """One sub-tile as the code sees it: which shape, its output lines relative to the first; where its input
    starts (floats), its stored lines, its partial sums, and its units."""

    kind: int
    lines: list[Three]
    input: Value
    first_line: Value
    position: Value
    run: Run
