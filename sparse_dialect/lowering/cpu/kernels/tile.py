"""What all convolution kernels share: work items, packing, channel blocks, and the epilogue that stores.

    for item, chunk of filter groups in begin .. end:  # an item is a tile of one image
      for block in channel blocks:                # so that what a visit reads stays in L1
        pack the tile's input region of the block into scratch      # copies; gathers at borders
        for group in chunk:                       # of what kind: kernel_classes.py, column_groups.py
          ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

from ....activations import activation_named
from ....devices.cores import Core
from ....geometry.layouts import LaneGrid, Layout, Three
from ....ir.mlir import ir
from ....ir.values import element_of
from ..emit.builder import Builder, RunningMaximum, Value, arith, func, private_function
from ..emit.formula import activated
from ..emit.packing import Item, Packer
from ..plan.conv_plan import ITEM_FIELDS, ConvPlan, pool_window

STREAMING_BYTES = 8 << 20

_K = TypeVar("_K", bound="TileKernel")


@dataclass(frozen=True, kw_only=True)
class TileKernel(ABC):
    """What is static about the code of any convolution."""

    source: Layout
    target: LaneGrid
    pooled: LaneGrid | None
    channels: int
    channel_block: int
    filters: int
    activation: str
    residual: bool
    chunks: int = 1
    by_chunk: bool = False  # the output holds one chunk, in stored order (fused_depthwise.py); one block only

    def streams(self, line_bytes: int) -> bool:
        """Whether the output is larger than caches hold, so that storing past them saves reading it first."""
        return not self.by_chunk and self.filters * self.stored.lines * line_bytes > STREAMING_BYTES

    @property
    @abstractmethod
    def groups(self) -> int:
        """Groups of filters that share loaded inputs."""

    @property
    def reads(self) -> bool:
        """Whether the input is read at all."""
        return True

    @property
    def blocks(self) -> int:
        return self.channels // self.channel_block

    @property
    def sums(self) -> int:
        """Filters that partial sums are kept for."""
        return self.filters

    def scratch_lines(self, plan: ConvPlan) -> int:
        """Vectors of scratch that one thread needs: a block's packed region, and all filters' partial
        sums."""
        sums = self.sums * prod(plan.tile) if self.blocks > 1 else 0
        return self.packed_lines(plan) + sums

    def packed_lines(self, plan: ConvPlan) -> int:
        """Of these, the packed region; partial sums follow it."""
        return 0 if plan.direct else self.channel_block * self.pitch(plan)

    def pitch(self, plan: ConvPlan) -> int:
        """Lines from a packed channel to the next."""
        return len(plan.region)

    def in_place(self, plan: ConvPlan) -> bool:
        """Whether tiles whose region is a plain box of stored lines are read where they lie."""
        return False

    @property
    def stored(self) -> LaneGrid:
        return self.pooled or self.target

    @property
    def pool(self) -> Three:
        """The window of the fused pool, ones where there is none."""
        return pool_window(self.target, self.pooled)


def add_function(module: ir.Operation, name: str,
                 emitter: Callable[[Builder, _K, ConvPlan, list[Value]], TileEmitter], kernel: _K,
                 plan: ConvPlan, operand_types: list[ir.Type], core: Core) -> None:
    """Adds ``func.func private @name`` to ``module``; ``emitter`` writes its body. Its second argument is
    the output, whose elements are those of all vectors."""
    _, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        b = Builder(entry, kernel.target.lanes, core, element_of(operand_types[1]))
        emitter(b, kernel, plan, list(entry.arguments)).emit()
        func.ReturnOp([])


class TileEmitter(ABC):
    """Walks the work; subclasses emit one group of filters of a block."""

    kernel: TileKernel

    def __init__(self, b: Builder, plan: ConvPlan, arguments: Sequence[Value]) -> None:
        self.b, self.plan, kernel = b, plan, self.kernel
        self.input, self.output, *rest = arguments
        self.line_bytes = b.line_bytes(self.output)
        self.residual = rest.pop(0) if kernel.residual else None
        self.bias, self.items, borders, gathers, permuted, *rest = rest
        *self.storage, scratch, self.begin, self.end = rest
        self.packer = Packer(b, plan, kernel.source, self.input, borders, gathers, permuted, scratch,
                             kernel.channel_block, kernel.pitch(plan), kernel.in_place(plan))
        if kernel.blocks > 1:
            self.partial = b.view(scratch, kernel.packed_lines(plan) * b.lanes,
                                  [kernel.sums, prod(plan.tile), b.lanes])
        self.anew = kernel.blocks > 1 and isinstance(b.element, ir.F16Type)

    def emit(self) -> None:
        """Units of work are (item, chunk of groups): the first and last item of a range may be done in
        part. Where a reader follows chunk by chunk they are (image, chunk, item)."""
        b, chunks = self.b, self.kernel.chunks
        if self.kernel.by_chunk:
            b.loop(self.begin, self.end, self._unit)
            return
        last = arith.CeilDivSIOp(self.end, b.index(chunks)).result
        b.loop(arith.DivSIOp(self.begin, b.index(chunks)).result, last, self._item)

    def _unit(self, unit: Value) -> None:
        b, items = self.b, self.plan.items_per_image
        part, item = b.divide(unit, items)
        image, chunk = b.divide(part, self.kernel.chunks)
        self._visit(b.add(b.multiply(image, items), item), chunk, b.add(chunk, 1))

    def _item(self, item: Value) -> None:
        b, chunks = self.b, self.kernel.chunks
        unit = b.multiply(item, chunks)
        first = arith.MaxSIOp(arith.SubIOp(self.begin, unit).result, b.index(0)).result
        last = b.minimum(arith.SubIOp(self.end, unit).result, b.index(chunks))
        self._visit(item, first, last)

    def _visit(self, item: Value, first: Value, last: Value) -> None:
        """Chunks ``first`` to ``last`` of an item."""
        b, groups = self.b, self.kernel.groups // self.kernel.chunks
        self.item_number, self.item = item, self._fields(item)
        self.stored_image = b.index(0) if self.kernel.by_chunk else self.item["image"]
        self.group_range = b.multiply(first, groups), b.multiply(last, groups)
        if self.kernel.blocks == 1:
            self._block(b.index(0))
        else:
            b.loop(0, self.kernel.blocks, self._block)

    def _fields(self, item: Value) -> Item:
        b = self.b
        return {name: b.integer(self.items, item, b.index(at)) for at, name in enumerate(ITEM_FIELDS)}

    def _block(self, block: Value) -> None:
        """One channel block: pack what the tile reads of it, then all groups."""
        self.block, self.first_channel = block, self.b.multiply(block, self.kernel.channel_block)
        if not self.plan.direct and self.kernel.reads:
            self.packer.pack(self.item, self.first_channel)
        self.b.loop(*self.group_range, self._group)

    @abstractmethod
    def _group(self, group: Value) -> None:
        """All multiplies of a group of filters with the current block, and the epilogue after the last."""

    def _stored_channels(self, places: list[Value], filters: list[Value]) -> list[Value]:
        """Where results go of ``filters``, which lie at ``places`` of the storage order."""
        if not self.kernel.by_chunk:
            return filters
        return [self.b.divide(place, self.kernel.filters // self.kernel.chunks)[1] for place in places]

    def _channel(self, c: Value) -> Value:
        """The input channel of channel ``c`` of the current block."""
        return c if self.kernel.blocks == 1 else self.b.add(self.first_channel, c)

    def _either_last(self, last: Callable[[], None], others: Callable[[], None] = lambda: None) -> None:
        """``last()`` in the last channel block, ``others()`` in those before."""
        if self.kernel.blocks == 1:
            return last()
        final = self.b.compare("eq", self.block, self.b.index(self.kernel.blocks - 1))
        return self.b.either(final, last, others)

    # -- sums ----------------------------------------------------------------------------------

    def _start(self, filters: Sequence[Value], sums: Sequence[Value], count: int,
               position: Value | int = 0) -> list[Value]:
        """``count`` sums for each filter: the bias; from the second channel block on, the partial sums that
        are kept for it in the rows ``sums``, those from ``position`` on. Sums in f16 start from zero there:
        they lose fewer digits."""
        b, count_all = self.b, len(filters) * count

        def bias() -> list[Value]:
            return [v for f in filters for v in [b.broadcast(b.scalar(self.bias, f))] * count]

        def rest() -> list[Value]:
            return [b.splat(0.0)] * count_all if self.anew else self._kept(sums, count, position)

        if self.kernel.blocks == 1:
            return bias()
        return b.choose(b.compare("eq", self.block, b.index(0)), bias, rest, [b.vector] * count_all)

    def _kept(self, sums: Sequence[Value], count: int, position: Value | int) -> list[Value]:
        """The partial sums of the blocks before."""
        b = self.b
        return [b.load(self.partial, row, self._position(position, t), b.index(0)) for row in sums
                for t in range(count)]

    def _whole(self, sums: Sequence[Value], totals: Sequence[Value],
               position: Value | int = 0) -> Sequence[Value]:
        """The last block's ``totals`` with those of the blocks before."""
        if not self.anew:
            return totals
        return [arith.AddFOp(total, kept).result for total, kept in
                zip(totals, self._kept(sums, len(totals) // len(sums), position), strict=True)]

    def _keep(self, sums: Sequence[Value], totals: Sequence[Value], position: Value | int = 0) -> None:
        """Keeps sums for the next channel block."""
        b, count = self.b, len(totals) // len(sums)
        if self.anew:
            totals = b.choose(b.compare("eq", self.block, b.index(0)), lambda: totals,
                              lambda: self._whole(sums, totals, position), [b.vector] * len(totals))
        for at, value in enumerate(totals):
            b.store(value, self.partial, sums[at // count], self._position(position, at % count), b.index(0))

    def _position(self, first: Value | int, at: int) -> Value:
        return self.b.index(first + at) if isinstance(first, int) else self.b.add(first, at)

    # -- storing -------------------------------------------------------------------------------

    def _claim(self, channels: Sequence[Value], lines: Sequence[Three], first_line: Value) -> None:
        """Asks for the lines of output and residual before the multiplies: storing then waits for neither.

        ``lines``: output lines, relative to the one that is stored to ``first_line``.
        """
        b, kernel = self.b, self.kernel
        spots = b.one_a_cache_line(self.output, dict.fromkeys(map(self._pooled_line, lines)))
        for channel in channels:
            for spot in spots:
                where = self._stored_line(channel, spot, first_line)
                if self.residual is not None:
                    b.prefetch(self.residual, *where)
                if not kernel.streams(self.line_bytes):
                    b.prefetch(self.output, *where, write=True)

    def _finish(self, channels: Sequence[Value], lines: Sequence[Three], totals: Sequence[Value],
                first_line: Value) -> None:
        """Stores the sums of every channel: pooled, residual added, activated."""
        streams = self.kernel.streams(self.line_bytes)
        for at, channel in enumerate(channels):
            sums = totals[at * len(lines) : (at + 1) * len(lines)]
            values: dict[int, RunningMaximum] = {}
            for line, total in zip(lines, sums, strict=True):
                largest = values.setdefault(self._pooled_line(line), RunningMaximum(self.b))
                largest.add(self._before_pool(total))
            spots = [(self._stored_line(channel, spot, first_line), largest.result())
                     for spot, largest in values.items()]
            for first in range(0, len(spots), 2):  # both are computed before they are stored, in pairs on Arm
                pair = [(where, self._result(total, where)) for where, total in spots[first : first + 2]]
                for where, result in pair:
                    self.b.store(result, self.output, *where, streaming=streams)

    def _before_pool(self, total: Value) -> Value:
        """A sum as a pool takes it: activated, unless that can wait until a maximum is taken."""
        early = self._last_activation != self.kernel.activation
        return activated(self.b, total, self.kernel.activation) if early else total

    @property
    def _last_activation(self) -> str:
        """What is left to do behind a pool."""
        waits = self.kernel.pooled is None or activation_named(self.kernel.activation).monotone
        return self.kernel.activation if waits else "none"

    def _result(self, total: Value, where: tuple[Value, ...]) -> Value:
        """What is stored of a sum: residual added, activated."""
        if self.residual is not None:
            total = arith.AddFOp(total, self.b.load(self.residual, *where)).result
        return activated(self.b, total, self._last_activation)

    def _pooled_line(self, line: Three) -> int:
        """Which stored line, counted from the tile's first one, an output line is pooled to."""
        depth, row, column = (a // p for a, p in zip(line, self.kernel.pool, strict=True))
        return self.kernel.stored.line(depth, row, column)

    def _stored_line(self, channel: Value, spot: int, first_line: Value) -> tuple[Value, ...]:
        """The indices of a line of the output, and of the residual."""
        return self.stored_image, channel, self.b.add(first_line, spot), self.b.index(0)
