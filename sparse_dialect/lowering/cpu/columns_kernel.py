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

This is what a visit of a group in ``tile_kernel.py`` does, for every scheme of ``schemes/columns.py``. Where
the input is packed, and where a 1x1 window reads it in place, the address of a column is a sum of one number
for its channel and place (``table``) and one for the output line, so code knows no place and no pattern. A
column's T lines are loaded for all S filters; every multiply loads its own vector here, and
``sparse-eliminate-redundant-loads`` shares them (filter level).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod

import numpy as np

from ...cores import Core
from ...layouts import LaneGrid, Three, box
from ...mlir import ir
from .builder import Builder, Value, element_of, func, memref, private_function
from .conv_plan import ConvPlan, cut
from .tile_kernel import TileEmitter, TileKernel

SUB_TILE_FIELDS = ("input", "line", "position")


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
    [units]; for each sub-tile SUB_TILE_FIELDS, [sub-tiles, 3]."""
    lanes = kernel.target.lanes
    taps = np.array([plan.line_of[tap] for tap in plan.window.taps])
    channels = np.arange(0, kernel.channel_block, kernel.unit) * kernel.pitch(plan)
    rows, position = [], 0
    for shape, origins in kernel.shapes(plan).items():
        for origin in origins:
            depth, row, column = (o // p for o, p in zip(origin, kernel.pool, strict=True))
            rows.append((plan.line_read(origin, (0, 0, 0)) * lanes, kernel.stored.line(depth, row, column),
                         position))
            position += prod(shape)
    return [((channels[:, None] + taps) * lanes).ravel().astype(np.int32), np.array(rows, np.int32)]


def emit_columns_kernel(module: ir.Operation, name: str, kernel: ColumnsKernel, plan: ConvPlan,
                        operand_types: list[ir.Type], core: Core) -> None:
    """Adds ``func.func private @name`` to ``module``.

    Its arguments: input, output, [residual,] bias [F], items, borders, gathers, permuted, the two tables of
    ``columns_tables``, start [B * G + 1], reorder [G * S], gap [E], weight [E, U, S], scratch
    (memref<?xi8>), begin and end of the units (item, chunk of groups).
    """
    _, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        b = Builder(entry, kernel.target.lanes, core, element_of(operand_types[1]))
        _Emitter(b, kernel, plan, list(entry.arguments)).emit()
        func.ReturnOp([])


class _Emitter(TileEmitter):
    kernel: ColumnsKernel

    def __init__(self, b: Builder, kernel: ColumnsKernel, plan: ConvPlan, arguments: list[Value]) -> None:
        self.kernel = kernel
        super().__init__(b, plan, arguments)
        self.table, self.sub_tiles, self.starts, self.reorder, self.gap, self.weight = self.storage
        self.flat = _flat(self.input if plan.direct else self.packer.scratch)

    def _group(self, group: Value) -> None:
        b, kernel = self.b, self.kernel
        row = group if kernel.blocks == 1 else b.add(b.multiply(self.block, kernel.groups), group)
        self.run = b.integer(self.starts, row), b.integer(self.starts, b.add(row, 1))
        self.places = [b.add(b.multiply(group, kernel.size), f) for f in range(kernel.size)]
        self.filters = [b.integer(self.reorder, place) for place in self.places]
        self.stored_channels = self._stored_channels(self.places, self.filters)
        first = 0
        for kind, (shape, origins) in enumerate(kernel.shapes(self.plan).items()):
            b.loop(first, first + len(origins), partial(self._sub_tile, shape, kind))
            first += len(origins)

    def _sub_tile(self, shape: Three, kind: int, at: Value) -> None:
        b, count = self.b, self.kernel.size // self.kernel.passes
        offset, line, position = (b.integer(self.sub_tiles, at, b.index(i))
                                  for i in range(len(SUB_TILE_FIELDS)))
        place = _SubTile(kind, box(*map(range, shape)), b.add(offset, self._origin()),
                         b.add(self.item["output_line"], line), position)
        for first in range(0, self.kernel.size, count):
            self._pass(place, range(first, first + count))

    def _pass(self, place: _SubTile, members: range) -> None:
        """A sub-tile of the group's filters ``members``."""
        places, filters, channels = ([values[f] for f in members] for values in
                                     (self.places, self.filters, self.stored_channels))
        self._either_last(lambda: self._claim(channels, place.lines, place.first_line))
        totals = self._start(filters, places, len(place.lines), place.position)
        totals = self._columns(place, members, totals)
        self._either_last(lambda: self._finish(channels, place.lines, totals, place.first_line),
                          lambda: self._keep(places, totals, place.position))

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

        *totals, _ = b.loop(*self.run, unit, [*totals, b.index(0)], attributes={"espalier.class": place.kind})
        return totals


@dataclass(frozen=True)
class _SubTile:
    """One sub-tile as the code sees it: which shape, its output lines relative to the first; where its input
    starts (floats), its stored lines, and its partial sums."""

    kind: int
    lines: list[Three]
    input: Value
    first_line: Value
    position: Value


def _flat(buffer: Value) -> Value:
    """All elements of a contiguous buffer as one row."""
    size = prod(ir.MemRefType(buffer.type).shape)
    type_ = ir.MemRefType.get([size], element_of(buffer.type))
    return memref.ReinterpretCastOp(type_, buffer, [], [], [], [0], [size], [1]).result
