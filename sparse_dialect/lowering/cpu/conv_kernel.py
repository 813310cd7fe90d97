"""Emits the kernel of one packed convolution, for a range of work items (architecture page, section 5).

    for item in begin .. end:                       # a tile, and a range of filter groups
      for block in channel blocks:                  # so that what a visit reads stays in L1 (one block when few)
        pack the tile's input region of the block into scratch      # copies; gathers at borders
        for group in item's groups:
          acc[f][t] = bias[f], or the partial sums of the block before
          for class in classes:                     # unrolled: the code is specialised per kernel class
            for k in run of class in (block, group):        # FKW: kernels of one class are neighbours
              c = index[k]
              for each line of the region, each term (f, tap) and accumulator t that read it:
                acc[f][t] += weight[k][term] * scratch[c][line]
          keep acc as partial sums; after the last block store activation(acc + residual), pooled if asked

A *kernel class* is what one stored kernel multiplies: terms (filter of the group, kernel place). A pattern is a class
with one filter; the full kernel of a dense layer is one class with all filters of the group; a 1x1 kernel shared by some
filters of a group is a class a subset (filter-level LRE). Every multiply loads its own vector here: which loads are
redundant is for ``sparse-eliminate-redundant-loads`` to find.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...layouts import LaneGrid, Layout
from ...mlir import ir
from .builder import Builder, Value, arith, func, memref, private_function, static_memref, vector
from .conv_plan import ITEM_FIELDS, ConvPlan


WEIGHTS_IN_REGISTERS = 8  # with more terms than this a class loads each tap's weights where they are used


@dataclass(frozen=True)
class KernelClass:
    """The multiplies of one stored kernel: (filter of the group, kernel place), in the order of its weights."""

    terms: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ConvKernel:
    """Everything static about a convolution's code; equal values share one function."""

    source: Layout
    target: LaneGrid
    pooled: LaneGrid | None
    batch: int
    channels: int
    channel_block: int
    filters: int
    group: int
    classes: tuple[KernelClass, ...]
    dense: bool
    activation: str
    residual: bool

    @property
    def blocks(self) -> int:
        return self.channels // self.channel_block

    def scratch_lines(self, plan: ConvPlan) -> int:
        """Vectors of scratch that one thread needs: a block's packed region, and all filters' partial sums."""
        packed = 0 if plan.direct else self.channel_block * len(plan.region)
        return packed + (self.filters * plan.tile[0] * plan.tile[1] if self.blocks > 1 else 0)

    @property
    def stored(self) -> LaneGrid:
        return self.pooled or self.target


def emit_conv_kernel(module: ir.Module, name: str, kernel: ConvKernel, plan: ConvPlan,
                     operand_types: list[ir.Type]) -> None:
    """Adds ``func.func private @name`` to ``module``.

    Its arguments: input, output, [residual,] bias [F], items, borders, gathers, the storage arrays (dense: weight
    [F/G, C, terms]; else offset [B * F/G + 1], reorder [B * F], stride [B * F/G, classes + 1], index [K] (the channel inside
    its block) and weight, for B channel blocks; [start [B * F/G] where classes differ in their terms]), scratch
    (memref<?xf32>), and the items' begin and end.
    """
    op, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        _Emitter(Builder(entry, kernel.target.lanes), kernel, plan, list(entry.arguments)).emit()
        func.ReturnOp([])


class _Emitter:
    def __init__(self, b: Builder, kernel: ConvKernel, plan: ConvPlan, arguments: list[Value]) -> None:
        self.b, self.kernel, self.plan = b, kernel, plan
        self.input, self.output, *rest = arguments
        self.residual = rest.pop(0) if kernel.residual else None
        self.bias, self.items, self.borders, self.gathers, *rest = rest
        *self.storage, scratch, self.begin, self.end = rest
        self.accumulators = [(a, t) for a in range(plan.tile[0]) for t in range(plan.tile[1])]
        packed = 0 if plan.direct else kernel.channel_block * len(plan.region)
        if packed:
            self.scratch = self._view(scratch, 0, [kernel.channel_block, len(plan.region), b.lanes])
        if kernel.blocks > 1:
            shape = [kernel.filters, len(self.accumulators), b.lanes]
            self.partial = self._view(scratch, packed * b.lanes, shape)

    def _view(self, flat: Value, offset: int, shape: list[int]) -> Value:
        """A row-major array inside a flat memref."""
        strides = [1]
        for size in reversed(shape[1:]):
            strides.insert(0, strides[0] * size)
        layout = ir.StridedLayoutAttr.get(offset, strides) if offset else None
        type_ = ir.MemRefType.get(shape, self.b.f32, layout=layout)
        return memref.ReinterpretCastOp(type_, flat, [], [], [], [offset], shape, strides).result

    def emit(self) -> None:
        self.b.loop(self.begin, self.end, self._item)

    def _item(self, item: Value) -> None:
        b = self.b
        names = dict(zip(ITEM_FIELDS, range(len(ITEM_FIELDS)), strict=True))
        self.item = {name: b.integer(self.items, item, b.index(at)) for name, at in names.items()}
        fresh = arith.OrIOp(b.compare("ne", self.item["pack"], b.index(0)), b.compare("eq", item, self.begin)).result
        if self.kernel.blocks == 1:
            return self._block(b.index(0), fresh)
        b.loop(0, self.kernel.blocks, lambda block: self._block(block, None))
        return None

    def _block(self, block: Value, fresh: Value | None) -> None:
        """One channel block; a single block is packed only when the item before it was of another tile."""
        b = self.b
        self.block, self.first_channel = block, b.multiply(block, self.kernel.channel_block)
        if not self.plan.direct and fresh is not None:
            with b.when(fresh):
                self._pack()
        elif not self.plan.direct:
            self._pack()
        b.loop(self.item["group_begin"], self.item["group_end"], self._group)

    # -- packing ----------------------------------------------------------------------------------------------------

    def _pack(self) -> None:
        if not self.plan.border_tiles:
            return self._pack_interior()
        if not self.plan.interior_tiles:
            return self._pack_border()
        plain = self.b.compare("slt", self.item["border"], self.b.index(0))
        return self.b.either(plain, self._pack_interior, self._pack_border)

    def _pack_interior(self) -> None:
        def channel(c: Value) -> None:
            for line, offset in enumerate(self.plan.source_offsets):
                at = self.b.add(self.item["source_line"], offset)
                self._put(c, self.b.index(line), self._source(c, at))

        self.b.loop(0, self.kernel.channel_block, channel)

    def _pack_border(self) -> None:
        """Lines outside, channels inside: what a line needs is decided once for all channels."""
        b, block = self.b, self.kernel.channel_block

        def line(at: Value) -> None:
            code = b.integer(self.borders, self.item["border"], at)

            def copy() -> None:
                b.loop(0, block, lambda c: self._put(c, at, self._source(c, code)))

            def gather() -> None:
                row = arith.SubIOp(b.index(-1), code).result
                places = vector.LoadOp(ir.VectorType.get([b.lanes], b.i32), self.gathers, [row, b.index(0)]).result
                zeros = b.constant(ir.VectorType.get([b.lanes], b.i32), 0)
                inside = arith.CmpIOp(arith.CmpIPredicate.sge, places, zeros).result
                b.loop(0, block, lambda c: self._put(c, at, self._gathered(c, places, inside)))

            if isinstance(self.kernel.source, LaneGrid):
                b.either(b.compare("sge", code, b.index(0)), copy, gather)
            else:
                gather()

        b.loop(0, len(self.plan.region), line)

    def _gathered(self, c: Value, places: Value, inside: Value) -> Value:
        b = self.b
        trailing = [b.index(0)] * (len(ir.MemRefType(self.input.type).shape) - 2)
        return vector.GatherOp(b.vector, self.input, [self.item["image"], self._channel(c), *trailing], places, inside,
                               b.splat(0.0)).result

    def _source(self, c: Value, line: Value) -> Value:
        return self.b.load(self.input, self.item["image"], self._channel(c), line, self.b.index(0))

    def _channel(self, c: Value) -> Value:
        """The input channel of channel ``c`` of the current block."""
        return c if self.kernel.blocks == 1 else self.b.add(self.first_channel, c)

    def _put(self, c: Value, line: Value, value: Value) -> None:
        self.b.store(value, self.scratch, c, line, self.b.index(0))

    # -- one group of filters ---------------------------------------------------------------------------------------

    def _group(self, group: Value) -> None:
        b, kernel = self.b, self.kernel
        row = group if kernel.dense or kernel.blocks == 1 else b.add(
            b.multiply(self.block, kernel.filters // kernel.group), group)
        places = [b.add(b.multiply(row, kernel.group), f) for f in range(kernel.group)]
        # Sparse storage visits filters in an order of its own in every block: `reorder` says which filter this is.
        filters = places if kernel.dense else [b.integer(self.storage[1], place) for place in places]
        totals = self._start(filters)
        totals = self._dense_run(group, totals) if kernel.dense else self._sparse_runs(row, totals)
        if kernel.blocks == 1:
            return self._finish(filters, totals)
        last = b.compare("eq", self.block, b.index(kernel.blocks - 1))
        return b.either(last, lambda: self._finish(filters, totals), lambda: self._keep(filters, totals))

    def _start(self, filters: list[Value]) -> list[Value]:
        """The bias; from the second channel block on, the partial sums so far."""
        b, count = self.b, len(self.accumulators)

        def bias() -> list[Value]:
            return [v for f in filters for v in [b.broadcast(b.scalar(self.bias, f))] * count]

        def partial() -> list[Value]:
            return [b.load(self.partial, f, b.index(t), b.index(0)) for f in filters for t in range(count)]

        if self.kernel.blocks == 1:
            return bias()
        return b.choose(b.compare("eq", self.block, b.index(0)), bias, partial, [b.vector] * (len(filters) * count))

    def _keep(self, filters: list[Value], totals: list[Value]) -> None:
        b, count = self.b, len(self.accumulators)
        for at, value in enumerate(totals):
            b.store(value, self.partial, filters[at // count], b.index(at % count), b.index(0))

    def _finish(self, filters: list[Value], totals: list[Value]) -> None:
        count = len(self.accumulators)
        for at, f in enumerate(filters):
            self._epilogue(f, totals[at * count : (at + 1) * count])

    def _dense_run(self, group: Value, totals: list[Value]) -> list[Value]:
        b, (weight,), (only,) = self.b, self.storage, self.kernel.classes

        def body(c: Value, *acc: Value) -> list[Value]:
            at = self._channel(c)
            return self._multiply(c, only, lambda term: b.scalar(weight, group, at, b.index(term)), list(acc))

        return b.loop(0, self.kernel.channel_block, body, totals)

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
                done = self._multiply(b.integer(index, k), kind,
                                      lambda term: b.scalar(weight, b.add(first, term)), list(acc))
                return [*done, b.add(at, terms) if starts else at]

            *totals, position = b.loop(lower, bound, body, [*totals, position])
        return totals

    def _multiply(self, c: Value, kind: KernelClass, weight, acc: list[Value]) -> list[Value]:  # type: ignore[no-untyped-def]
        """acc += weight * input over the terms of one kernel, each multiply with a load of its own."""
        b, plan = self.b, self.plan
        taps, strides, count = plan.window.taps, plan.window.strides, len(self.accumulators)
        reads: list[tuple[int, int, int]] = []  # (region line, term, accumulator)
        for term, (f, place) in enumerate(kind.terms):
            for t, (row, column) in enumerate(self.accumulators):
                spot = (row * strides[0] + taps[place][0], column * strides[1] + taps[place][1])
                reads.append((plan.line_of[spot], term, f * count + t))
        few = len(kind.terms) <= WEIGHTS_IN_REGISTERS
        # Few weights: they stay in registers and each input line is used up at once. Many: one tap after the other.
        order = sorted(reads, key=lambda r: r[0]) if few else sorted(reads, key=lambda r: (kind.terms[r[1]][1], r[0]))
        weights: dict[int, Value] = {}
        for line, term, t in order:
            if term not in weights:
                weights[term] = b.broadcast(weight(term))
            acc[t] = b.fma(self._input_line(c, line), weights[term], acc[t])
        return acc

    def _input_line(self, c: Value, line: int) -> Value:
        if self.plan.direct:
            return self._source(c, self.b.add(self.item["source_line"], self.plan.source_offsets[line]))
        return self.b.load(self.scratch, c, self.b.index(line), self.b.index(0))

    # -- storing ----------------------------------------------------------------------------------------------------

    def _epilogue(self, channel: Value, totals: list[Value]) -> None:
        b, kernel = self.b, self.kernel
        height, width = self.plan.tile
        columns = kernel.stored.columns
        value = dict(zip(self.accumulators, totals, strict=True))
        if kernel.pooled:
            value = {(a // 2, t // 2): b.maximum(b.maximum(value[a, t], value[a, t + 1]),
                                                 b.maximum(value[a + 1, t], value[a + 1, t + 1]))
                     for a in range(0, height, 2) for t in range(0, width, 2)}
        for (row, column), result in value.items():
            line = b.add(self.item["output_line"], row * columns + column)
            where = (self.item["image"], channel, line, b.index(0))
            if self.residual is not None:
                result = arith.AddFOp(result, b.load(self.residual, *where)).result
            b.store(b.activation(result, kernel.activation), self.output, *where)
