"""Emits the kernel of a packed convolution whose stored kernels have classes (docs/architecture.md, 3).

    for item, chunk of filter groups in begin .. end:  # an item is a tile of one image
      for block in channel blocks:                # so that what a visit reads stays in L1
        pack the tile's input region of the block into scratch      # copies; gathers at borders
        for group in chunk:
          ask for a channel of what is packed next  # if the input is large; it is packed only at borders
          acc[f][t] = bias[f], or the partial sums of the block before   # few: several sums, added at the end
          for class in classes:                     # unrolled: the code is specialised per kernel class
            for k in run of class in (block, group):        # FKW: kernels of one class are neighbours
              c = index[k]
              for each line of the region, each term (f, tap) and accumulator t that read it:
                acc[f][t] += weight[k][term] * scratch[c][line]
          keep acc as partial sums; after the last block store activation(acc + residual), pooled if asked

A *kernel class* is what one stored kernel multiplies: terms (filter of the group, kernel place). A pattern
is a class with one filter; the full kernel of a dense layer is one class with all filters of the group; a
1x1 kernel shared by some filters of a group is a class a subset (filter-level LRE). Where taps share no lines
(stride 2, single weights) the kernels of all classes come in one run (``mixed``): a table names each tap's
line, and no run ends unforeseen. Every multiply loads
its own vector here: which loads are redundant is for ``sparse-eliminate-redundant-loads`` to find.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ....devices.cores import Core
from ....ir.mlir import ir
from ....storage.storage import as_u16, from_u16
from ..emit.builder import Builder, Value, arith, flat
from ..plan.conv_plan import ConvPlan
from .tile import TileEmitter, TileKernel, add_function

WEIGHTS_IN_REGISTERS = 8  # with more terms than this a class loads each tap's weights where they are used
LANE_WEIGHTS = 9  # likewise, in registers, where one holds several weights
UNDER_WAY = 8  # multiplies that wait for no other, to keep the units busy


@dataclass(frozen=True)
class KernelClass:
    """The multiplies of one stored kernel: (filter of the group, kernel place), in the order of its
    weights."""

    terms: tuple[tuple[int, int], ...]

    def parts(self, lines: int) -> int:
        """In how many sums each of ``lines`` output lines of a filter is gathered, so that ``UNDER_WAY``
        multiplies of one stored kernel wait for no other, if it has as many."""
        filters = Counter(f for f, _ in self.terms)
        return min(-(-UNDER_WAY // (lines * len(filters))), max(filters.values())) if filters else 1


@dataclass(frozen=True, kw_only=True)
class ConvKernel(TileKernel):
    """Everything static about a convolution's code; equal values share one function."""

    group: int
    classes: tuple[KernelClass, ...]
    dense: bool
    fetches: bool = False  # asks for a tile's input while the one before is computed
    mixed: bool = False  # one run of all classes, each term's line from a table

    @property
    def groups(self) -> int:
        return -(-self.filters // self.group)

    @property
    def reads(self) -> bool:
        return bool(self.classes)

    def in_place(self, plan: ConvPlan) -> bool:
        return self.fetches and plan.interior_tiles and not plan.direct

    def pitch(self, plan: ConvPlan) -> int:
        """In place, packed lines are as far apart as stored ones; odd, so that channels share cache sets
        little."""
        return plan.source_offsets[-1] + 1 | 1 if self.in_place(plan) else super().pitch(plan)


def mixed_lines(kernel: ConvKernel, plan: ConvPlan, stride: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The packed line of every term of every stored kernel, relative to that of the output line's first
    tap: [kernels * terms], i16 (uint16 bits) where they fit, else i32. ``stride`` and ``index`` are FKW's."""
    taps = plan.window.taps
    places = np.array([[plan.line_of[taps[place]] for _, place in kind.terms] for kind in kernel.classes])
    runs = np.diff(from_u16(stride), axis=1)
    kinds = np.repeat(np.tile(np.arange(len(kernel.classes)), len(runs)), runs.ravel())
    lines = from_u16(index)[: len(kinds), None] * kernel.pitch(plan) + places[kinds]
    lines = lines if lines.size else np.zeros((1, 1), np.int64)
    return as_u16(lines.ravel()) if lines.max() < 1 << 16 else lines.ravel().astype(np.int32)


def emit_conv_kernel(module: ir.Operation, name: str, kernel: ConvKernel, plan: ConvPlan,
                     operand_types: list[ir.Type], core: Core) -> None:
    """Adds ``func.func private @name`` to ``module``.

    Its arguments: input, output, [residual,] bias [F], items, borders, gathers, permuted, [mixed_lines,]
    the storage arrays (dense: weight [F/G, C, terms]; else offset [B * F/G + 1], reorder [B * F], stride
    [B * F/G, classes + 1], index [K] (the channel inside its block) and weight, for B channel blocks; [start
    [B * F/G] where classes differ in their terms]), scratch (memref<?xi8>), begin and end of the units (item,
    chunk of groups).
    """
    add_function(module, name, _Emitter, kernel, plan, operand_types, core)


class _Emitter(TileEmitter):
    kernel: ConvKernel

    def __init__(self, b: Builder, kernel: ConvKernel, plan: ConvPlan, arguments: list[Value]) -> None:
        self.kernel = kernel
        super().__init__(b, plan, arguments)
        self.accumulators = plan.accumulators
        self.lines = self.storage.pop(0) if kernel.mixed else None
        self.parts = max((kind.parts(len(plan.accumulators)) for kind in kernel.classes), default=1)

    def _group(self, group: Value) -> None:
        b, kernel = self.b, self.kernel
        row = group if kernel.dense or kernel.blocks == 1 else b.add(
            b.multiply(self.block, kernel.groups), group)
        places = [b.add(b.multiply(row, kernel.group), f) for f in range(kernel.group)]
        filters = self._filters(places)
        channels = self._stored_channels(places, filters)
        lines, first_line = self.accumulators, self.item["output_line"]
        if kernel.fetches and kernel.reads and not self.plan.direct:
            self._fetch(group)
        self._either_last(lambda: self._claim(channels, lines, first_line))
        totals = self._in_parts(self._start(filters, filters, len(lines)),
                                lambda sums: self._dense_run(group, sums) if kernel.dense
                                else self._mixed_run(row, sums) if kernel.mixed
                                else self._sparse_runs(row, sums))
        self._either_last(lambda: self._finish(channels, lines, self._whole(filters, totals), first_line),
                          lambda: self._keep(filters, totals))

    def _in_parts(self, totals: list[Value], runs: Callable[[list[Value]], list[Value]]) -> list[Value]:
        """``runs`` of ``totals`` and, where lines are gathered in several parts, of as many zeros for each
        further part; the sums of all parts."""
        count = len(totals)
        sums = runs(totals + [self.b.splat(0.0)] * (count * (self.parts - 1)))
        while len(sums) > count:
            *sums, last = sums
            sums[len(sums) % count] = arith.AddFOp(sums[len(sums) % count], last).result
        return sums

    def _filters(self, places: list[Value]) -> list[Value]:
        """The filters at ``places`` of the storage order: sparse storage has one of its own in every block.
        A short group repeats its last filter."""
        b, kernel = self.b, self.kernel
        if not kernel.dense:
            return [b.integer(self.storage[1], place) for place in places]
        if kernel.filters % kernel.group == 0:
            return places
        return [b.minimum(place, b.index(kernel.filters - 1)) for place in places]

    def _fetch(self, group: Value) -> None:
        """Asks for one channel of what is packed next: of the next block, or the next item's first."""
        b, kernel = self.b, self.kernel
        number = arith.SubIOp(group, self.group_range[0]).result
        with b.when(b.compare("slt", number, b.index(kernel.channel_block))):
            after = b.add(b.add(b.multiply(self.item_number, kernel.blocks), self.block), 1)
            last = ir.MemRefType(self.items.type).shape[0] * kernel.blocks - 1
            item, block = b.divide(b.minimum(after, b.index(last)), kernel.blocks)
            channel = b.add(b.multiply(block, kernel.channel_block), number)
            self.packer.fetch(self._fields(item), channel)

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

            *totals, position = self._run(at, lower, bound, body, [*totals, position])
        return totals

    def _mixed_run(self, row: Value, totals: list[Value]) -> list[Value]:
        """One loop over all kernels of a row. No class's run ends where nobody expects it, but its taps share
        no lines: each term's line comes from the table."""
        b, plan, count = self.b, self.plan, len(self.accumulators)
        offset, _, _, _, weight = self.storage
        terms, region = len(self.kernel.classes[0].terms), flat(self.packer.scratch)
        reads = [plan.line_read(accumulator, (0, 0, 0)) * b.lanes for accumulator in self.accumulators]

        def body(k: Value, *carried: Value) -> list[Value]:
            acc, first = list(carried), b.multiply(k, terms)
            weights = b.weights(weight, [], first, terms)
            for term in range(terms):
                line = b.integer(self.lines, b.add(first, term))
                at, splat = b.multiply(line, b.lanes), weights(term)
                for t, read in enumerate(reads):
                    turn = t + term % self.parts * count
                    acc[turn] = b.fma(b.load(region, b.add(at, read)), splat, acc[turn])
            return acc

        return self._run(0, b.integer(offset, row), b.integer(offset, b.add(row, 1)), body, totals)

    def _run(self, kind: int, lower: Value, bound: Value, body: Callable[..., list[Value]],
             carried: list[Value]) -> list[Value]:
        """``body`` for the stored kernels ``lower`` to ``bound``, all of class ``kind``."""
        b, attributes = self.b, {"espalier.class": kind}
        if not b.core.counts_to_zero:
            return b.loop(lower, bound, body, carried, attributes=attributes)
        count = arith.SubIOp(lower, bound).result
        return b.loop(count, 0, lambda left, *values: body(b.add(bound, left), *values), carried,
                      attributes=attributes)

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
        turns: Counter[int] = Counter()  # of each line's sums, to whose parts multiplies go in turn
        for line, term, t in order:
            splat = weight(term)
            loaded = self._input_line(c, line)
            if self.kernel.group > 1:
                loaded.owner.attributes["espalier.filter"] = b.integer_attribute(kind.terms[term][0])
            at = t + turns[t] % self.parts * count * self.kernel.group
            turns[t] += 1
            acc[at] = b.fma(loaded, splat, acc[at])
        return acc

    def _input_line(self, c: Value, line: int) -> Value:
        if not self.plan.direct:
            return self.packer.packed(c, line)
        at = self.b.add(self.item["source_line"], self.plan.source_offsets[line])
        return self.packer.source(self.item, self._channel(c), at)

