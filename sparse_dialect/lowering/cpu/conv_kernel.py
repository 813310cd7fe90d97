"""Emits the kernel of one packed convolution, for a range of work items (architecture page, section 5).

    for item, chunk of filter groups in begin .. end:  # an item is a tile of one image
      for block in channel blocks:                # so that what a visit reads stays in L1
        pack the tile's input region of the block into scratch      # copies; gathers at borders
        for group in chunk:
          acc[f][t] = bias[f], or the partial sums of the block before
          for class in classes:                     # unrolled: the code is specialised per kernel class
            for k in run of class in (block, group):        # FKW: kernels of one class are neighbours
              c = index[k]
              for each line of the region, each term (f, tap) and accumulator t that read it:
                acc[f][t] += weight[k][term] * scratch[c][line]
          keep acc as partial sums; after the last block store activation(acc + residual), pooled if asked

A *kernel class* is what one stored kernel multiplies: terms (filter of the group, kernel place). A pattern
is a class with one filter; the full kernel of a dense layer is one class with all filters of the group; a
1x1 kernel shared by some filters of a group is a class a subset (filter-level LRE). Every multiply loads
its own vector here: which loads are redundant is for ``sparse-eliminate-redundant-loads`` to find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from ...cores import Core
from ...layouts import LaneGrid, Layout, Three
from ...mlir import ir
from .builder import Builder, Value, arith, func, private_function
from .conv_plan import ITEM_FIELDS, ConvPlan, pool_window
from .packing import Packer, view

STREAMING_BYTES = 8 << 20
WEIGHTS_IN_REGISTERS = 8  # with more terms than this a class loads each tap's weights where they are used
LANE_WEIGHTS = 9  # likewise, in registers, where one holds several weights
CACHE_LINE = 64  # bytes


@dataclass(frozen=True)
class KernelClass:
    """The multiplies of one stored kernel: (filter of the group, kernel place), in the order of its
    weights."""

    terms: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ConvKernel:
    """Everything static about a convolution's code; equal values share one function."""

    source: Layout
    target: LaneGrid
    pooled: LaneGrid | None
    channels: int
    channel_block: int
    filters: int
    group: int
    classes: tuple[KernelClass, ...]
    dense: bool
    activation: str
    residual: bool
    chunks: int = 1
    by_chunk: bool = False  # the output holds one chunk, in stored order (fused_kernel.py); one block only

    @property
    def streams(self) -> bool:
        """Whether the output is larger than caches hold, so that storing past them saves reading it first."""
        return not self.by_chunk and self.filters * self.stored.plane * 4 > STREAMING_BYTES

    @property
    def groups(self) -> int:
        """Groups of filters that share loaded inputs."""
        return self.filters // self.group

    @property
    def blocks(self) -> int:
        return self.channels // self.channel_block

    def scratch_lines(self, plan: ConvPlan) -> int:
        """Vectors of scratch that one thread needs: a block's packed region, and all filters' partial
        sums."""
        sums = self.filters * prod(plan.tile) if self.blocks > 1 else 0
        return self.packed_lines(plan) + sums

    def packed_lines(self, plan: ConvPlan) -> int:
        """Of these, the packed region; partial sums follow it."""
        return 0 if plan.direct else self.channel_block * len(plan.region)

    @property
    def stored(self) -> LaneGrid:
        return self.pooled or self.target

    @property
    def pool(self) -> Three:
        """The window of the fused pool, ones where there is none."""
        return pool_window(self.target, self.pooled)


def emit_conv_kernel(module: ir.Operation, name: str, kernel: ConvKernel, plan: ConvPlan,
                     operand_types: list[ir.Type], core: Core) -> None:
    """Adds ``func.func private @name`` to ``module``.

    Its arguments: input, output, [residual,] bias [F], items, borders, gathers, permuted, the storage
    arrays (dense: weight [F/G, C, terms]; else offset [B * F/G + 1], reorder [B * F], stride [B * F/G,
    classes + 1], index [K] (the channel inside its block) and weight, for B channel blocks; [start [B *
    F/G] where classes differ in their terms]), scratch (memref<?xf32>), begin and end of the units (item,
    chunk of groups).
    """
    _, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        _Emitter(Builder(entry, kernel.target.lanes, core), kernel, plan, list(entry.arguments)).emit()
        func.ReturnOp([])


class _Emitter:
    def __init__(self, b: Builder, kernel: ConvKernel, plan: ConvPlan, arguments: list[Value]) -> None:
        self.b, self.kernel, self.plan = b, kernel, plan
        self.input, self.output, *rest = arguments
        self.residual = rest.pop(0) if kernel.residual else None
        self.bias, self.items, borders, gathers, permuted, *rest = rest
        *self.storage, scratch, self.begin, self.end = rest
        self.accumulators = plan.accumulators
        self.packer = Packer(b, plan, kernel.source, self.input, borders, gathers, permuted, scratch,
                             kernel.channel_block)
        if kernel.blocks > 1:
            self.partial = view(b, scratch, kernel.packed_lines(plan) * b.lanes,
                                [kernel.filters, len(self.accumulators), b.lanes])

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
        self.item = {name: b.integer(self.items, item, b.index(at)) for at, name in enumerate(ITEM_FIELDS)}
        self.stored_image = b.index(0) if self.kernel.by_chunk else self.item["image"]
        self.group_range = b.multiply(first, groups), b.multiply(last, groups)
        if self.kernel.blocks == 1:
            self._block(b.index(0))
        else:
            b.loop(0, self.kernel.blocks, self._block)

    def _block(self, block: Value) -> None:
        """One channel block: pack what the tile reads of it, then all groups."""
        self.block, self.first_channel = block, self.b.multiply(block, self.kernel.channel_block)
        if not self.plan.direct:
            self.packer.pack(self.item, self.first_channel)
        self.b.loop(*self.group_range, self._group)

    def _channel(self, c: Value) -> Value:
        """The input channel of channel ``c`` of the current block."""
        return c if self.kernel.blocks == 1 else self.b.add(self.first_channel, c)

    # -- one group of filters ------------------------------------------------------------------

    def _group(self, group: Value) -> None:
        b, kernel = self.b, self.kernel
        row = group if kernel.dense or kernel.blocks == 1 else b.add(
            b.multiply(self.block, kernel.groups), group)
        places = [b.add(b.multiply(row, kernel.group), f) for f in range(kernel.group)]
        # Sparse storage visits filters in an order of its own in every block; `reorder` says which it is.
        filters = places if kernel.dense else [b.integer(self.storage[1], place) for place in places]
        channels = filters
        if kernel.by_chunk:
            channels = [b.divide(place, kernel.filters // kernel.chunks)[1] for place in places]
        last = None if kernel.blocks == 1 else b.compare("eq", self.block, b.index(kernel.blocks - 1))
        if last is None:
            self._claim(channels)
        else:
            with b.when(last):
                self._claim(channels)
        totals = self._start(filters)
        totals = self._dense_run(group, totals) if kernel.dense else self._sparse_runs(row, totals)
        if last is None:
            return self._finish(channels, totals)
        return b.either(last, lambda: self._finish(channels, totals), lambda: self._keep(filters, totals))

    def _start(self, filters: list[Value]) -> list[Value]:
        """The bias; from the second channel block on, the partial sums so far."""
        b, count = self.b, len(self.accumulators)

        def bias() -> list[Value]:
            return [v for f in filters for v in [b.broadcast(b.scalar(self.bias, f))] * count]

        def partial() -> list[Value]:
            return [b.load(self.partial, f, b.index(t), b.index(0)) for f in filters for t in range(count)]

        if self.kernel.blocks == 1:
            return bias()
        return b.choose(b.compare("eq", self.block, b.index(0)), bias, partial,
                        [b.vector] * (len(filters) * count))

    def _keep(self, filters: list[Value], totals: list[Value]) -> None:
        b, count = self.b, len(self.accumulators)
        for at, value in enumerate(totals):
            b.store(value, self.partial, filters[at // count], b.index(at % count), b.index(0))

    def _finish(self, channels: list[Value], totals: list[Value]) -> None:
        count = len(self.accumulators)
        for at, channel in enumerate(channels):
            self._epilogue(channel, totals[at * count : (at + 1) * count])

    def _dense_run(self, group: Value, totals: list[Value]) -> list[Value]:
        b, (weight,), (only,) = self.b, self.storage, self.kernel.classes

        def body(c: Value, *acc: Value) -> list[Value]:
            at = self._channel(c)
            return self._multiply(c, only, b.weights(weight, [group, at], b.index(0), len(only.terms)),
                                  list(acc))

        return b.loop(0, self.kernel.channel_block, body, totals, attributes={"espalier.class": 0})

    def _sparse_runs(self, row: Value, totals: list[Value]) -> list[Value]:
        """One loop a class, over the row's run of that class: bounds are offset[row] + stride[row][class]."""
        b = self.b
        offset, _, stride, index, weight, *starts = self.storage
        begin = b.integer(offset, row)
        bound = b.add(begin, b.integer(stride, row, b.index(0)))
        position = b.integer(starts[0], row) if starts else b.index(0)
        for at, kind in enumerate(self.kernel.classes):
            lower, bound = bound, b.add(begin, b.integer(stride, row, b.index(at + 1)))
            terms = len(kind.terms)

            def body(k: Value, *carried: Value, kind: KernelClass = kind, terms: int = terms) -> list[Value]:
                *acc, at = carried
                first = at if starts else b.multiply(k, terms)
                acc = self._multiply(b.integer(index, k), kind, b.weights(weight, [], first, terms), acc)
                return [*acc, b.add(at, terms) if starts else at]

            *totals, position = b.loop(lower, bound, body, [*totals, position],
                                       attributes={"espalier.class": at})
        return totals

    def _multiply(self, c: Value, kind: KernelClass, weight: Callable[[int], Value],
                  acc: list[Value]) -> list[Value]:
        """acc += weight * input over the terms of one kernel, each multiply with a load of its own."""
        b, plan = self.b, self.plan
        taps, count = plan.window.taps, len(self.accumulators)
        reads: list[tuple[int, int, int]] = []  # (region line, term, accumulator)
        for term, (f, place) in enumerate(kind.terms):
            for t, accumulator in enumerate(self.accumulators):
                reads.append((plan.line_read(accumulator, taps[place]), term, f * count + t))
        most = LANE_WEIGHTS * b.lanes if b.core.lane_weights else WEIGHTS_IN_REGISTERS
        few = len(kind.terms) <= most
        # Few weights: they stay in registers and each input line is used up at once. Many: one tap after
        # the other.
        order = sorted(reads, key=lambda r: (0 if few else kind.terms[r[1]][1], r[0]))
        for line, term, t in order:
            splat = weight(term)
            loaded = self._input_line(c, line)
            if self.kernel.group > 1:
                loaded.owner.attributes["espalier.filter"] = b.integer_attribute(kind.terms[term][0])
            acc[t] = b.fma(loaded, splat, acc[t])
        return acc

    def _input_line(self, c: Value, line: int) -> Value:
        if not self.plan.direct:
            return self.packer.packed(c, line)
        at = self.b.add(self.item["source_line"], self.plan.source_offsets[line])
        return self.packer.source(self.item, self._channel(c), at)

    # -- storing -------------------------------------------------------------------------------

    def _claim(self, filters: list[Value]) -> None:
        """Asks for the lines of output and residual before the multiplies: storing then waits for neither."""
        b, kernel = self.b, self.kernel
        spots: list[Three] = []
        for spot in dict.fromkeys(map(self._pooled_spot, self.accumulators)):
            ahead = kernel.stored.line(*spot) - kernel.stored.line(*spots[-1]) if spots else CACHE_LINE
            if ahead * b.line_bytes >= CACHE_LINE:
                spots.append(spot)
        for f in filters:
            for spot in spots:
                where = self._stored_line(f, spot)
                if self.residual is not None:
                    b.prefetch(self.residual, *where)
                if not kernel.streams:
                    b.prefetch(self.output, *where, write=True)

    def _epilogue(self, channel: Value, totals: list[Value]) -> None:
        b, kernel = self.b, self.kernel
        values: dict[Three, Value] = {}
        for accumulator, total in zip(self.accumulators, totals, strict=True):
            spot = self._pooled_spot(accumulator)
            values[spot] = b.maximum(values[spot], total) if spot in values else total
        for spot, result in values.items():
            where = self._stored_line(channel, spot)
            if self.residual is not None:
                result = arith.AddFOp(result, b.load(self.residual, *where)).result
            b.store(b.activation(result, kernel.activation), self.output, *where, streaming=kernel.streams)

    def _pooled_spot(self, accumulator: Three) -> Three:
        """Where, relative to the tile's first stored line, an output line is pooled to."""
        depth, row, column = (a // p for a, p in zip(accumulator, self.kernel.pool, strict=True))
        return depth, row, column

    def _stored_line(self, channel: Value, spot: Three) -> tuple[Value, ...]:
        """The indices of a line of the output, and of the residual."""
        line = self.b.add(self.item["output_line"], self.kernel.stored.line(*spot))
        return self.stored_image, channel, line, self.b.index(0)
