"""Emits the sums of slices of sparse rows (``storage/sell.py``): the core of matrix-vector kernels.

    for s in the slices of the unit:
      for e in the entries of s:                       # vectors run along the lanes, groups of rows
        base += advance[e]
        x = permute(input[base : base + 64], index[e])           # or gather(input + base, index[e])
        for row of the group:  acc[row] += x * weight[e, row]
      sums[place[s]] = the rows of acc, lane by lane

Where loads only bring scalars, vectors run along the rows of a group (``by_lane``), and an entry's inputs
are broadcast one by one. Where many inputs are multiplied at once, vectors run along them instead, and
nothing is picked from vectors (``samples``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from math import prod

from ....ir.mlir import ir
from ....ir.values import element_of
from ....storage.sell import GATHERED, PERMUTED, Sell
from ..emit.builder import CACHE_LINE, Builder, Value, arith, each_group, llvm, vector

NEAR_BYTES, FAR_BYTES = 48 * CACHE_LINE, 128 * CACHE_LINE  # how far ahead weights are asked for
ENTRIES_AHEAD = 12  # likewise, where a slice is read lane by lane
LARGE_BYTES = 8 << 20  # a matrix of more stays in no core's own cache


class SliceEmitter:
    """Emits sums of slices; ``storage`` holds the arrays by name. Create it where code for all slices can
    go: at the top of the kernel."""

    def __init__(self, b: Builder, slices: Sell, storage: Mapping[str, Value]) -> None:
        self.b, self.slices = b, slices
        self.rows = Builder(b.entry, slices.group, b.core, b.element)
        self.start, self.place, self.advance, self.index, self.weight = (
            storage[name] for name in ("start", "place", "advance", "index", "weight"))

    @property
    def together(self) -> int:
        """Inputs that share loaded weights: as many as leave registers for a window."""
        return 4 if self.b.core.registers >= 32 else 2

    def _each_slice(self, unit: Value, body: Callable[[Value], None]) -> None:
        first = self.b.multiply(unit, self.slices.per_unit)
        self.b.loop(first, self.b.add(first, self.slices.per_unit), body)

    def _each_entry(self, at: Value, body: Callable[..., list[Value]], acc: Sequence[Value]) -> list[Value]:
        """``body(entry, base, *acc)`` for every entry of slice ``at``."""
        b = self.b

        def entry(e: Value, base: Value, *acc: Value) -> list[Value]:
            base = b.add(base, b.integer(self.advance, e))
            return [base, *body(e, base, *acc)]

        return b.loop(b.integer(self.start, at), b.integer(self.start, b.add(at, 1)), entry,
                      [b.index(0), *acc])[1:]

    # -- few inputs ----------------------------------------------------------------------------

    def sums(self, unit: Value, source: Value, batch: Value | int, sums: Value) -> None:
        """Stores the products of the unit's rows with every row of ``source`` [batch, K] to
        ``sums`` [batch * padded_rows]."""
        def few(at: Value, inputs: list[Value]) -> None:
            for n, acc in zip(inputs, self._slice(at, source, inputs), strict=True):
                lanes = acc if self.slices.by_lane else self._pieces(acc)
                for lane, rows in enumerate(lanes):
                    self._store(rows, sums, n, at, self.b.index(lane))

        self._each_slice(unit, lambda at: each_group(
            self.b, batch, self.together, lambda inputs: few(at, inputs)))

    def _store(self, rows: Value, sums: Value, n: Value, at: Value, lane: Value) -> None:
        """Stores what the rows of one lane of slice ``at`` give for input ``n``."""
        b, slices = self.b, self.slices
        place = b.multiply(b.integer(self.place, at, lane), slices.group)
        self.rows.store(rows, sums, b.add(b.multiply(n, slices.padded_rows), place))

    def _pieces(self, vectors: Sequence[Value]) -> list[Value]:
        """Of a vector for each row of a group: the first elements, the second ones, and so on, as vectors."""
        joined = self.b.interleaved(vectors)
        return [self.rows.part(joined, at) for at in range(self.b.lanes)]

    def _slice(self, at: Value, source: Value, inputs: list[Value]) -> list[list[Value]]:
        """The sums of one slice for a few rows of ``source``: a vector for each row of a group, or for each
        lane."""
        b, slices = self.b, self.slices
        count, vectors = (slices.lanes, self.rows) if slices.by_lane else (slices.group, b)
        entry = self._by_lane if slices.by_lane else self._picked

        def body(e: Value, base: Value, *acc: Value) -> list[Value]:
            return entry(e, base, source, inputs, acc)

        acc = self._each_entry(at, body, [vectors.splat(0.0)] * (count * len(inputs)))
        return [acc[at * count : (at + 1) * count] for at in range(len(inputs))]

    def _picked(self, e: Value, base: Value, source: Value, inputs: list[Value],
                acc: Sequence[Value]) -> list[Value]:
        b, group, zero = self.b, self.slices.group, self.b.index(0)
        bytes_ = ir.VectorType.get([b.lanes], ir.IntegerType.get_signless(8))
        indices = ir.VectorType.get([b.lanes], b.i32)
        places = arith.ExtUIOp(indices, vector.LoadOp(bytes_, self.index, [e, zero]).result).result
        if self.slices.window == GATHERED:
            fetched = [b.gather(source, [n, base], places) for n in inputs]
        else:
            halves = self._halves(places)
            fetched = [self._permuted(source, n, base, places, halves) for n in inputs]
        weights = [b.load(self.weight, e, b.index(row), zero) for row in range(group)]
        self._prefetch(e)
        return [b.fma(x, weight, acc[at * group + row])
                for at, x in enumerate(fetched) for row, weight in enumerate(weights)]

    def _halves(self, places: Value) -> list[Value]:
        """For each bit of ``places`` beyond those that two vectors of the window take: where it is set."""
        b, masks, bit = self.b, [], 2 * self.b.lanes
        while bit < self.slices.window:
            found = arith.AndIOp(places, b.constant(places.type, bit)).result
            masks.append(arith.CmpIOp(arith.CmpIPredicate.ne, found, b.constant(places.type, 0)).result)
            bit *= 2
        return masks

    def _permuted(self, source: Value, n: Value, base: Value, places: Value, halves: list[Value]) -> Value:
        """The inputs at ``places`` of the window, which is loaded whole: of every two vectors one candidate a
        lane, and of these, half by half, the one that is meant."""
        window = [self._line(source, n, base, line) for line in range(self.slices.window // self.b.lanes)]
        found = [_permute(window[at], places, window[at + 1]) for at in range(0, len(window), 2)]
        for upper in halves:
            pairs = zip(found[1::2], found[::2], strict=False)
            found = [*(arith.SelectOp(upper, *pair).result for pair in pairs), *found[len(found) & ~1 :]]
        return found[0]

    def _line(self, source: Value, n: Value, base: Value, line: int) -> Value:
        """One vector of the window. Where the matrix is narrower than a window the window is all of it."""
        b = self.b
        inside = ir.MemRefType(source.type).shape[-1] - line * b.lanes
        if inside <= 0:
            return b.splat(0.0)
        place = b.add(base, line * b.lanes)
        if inside >= b.lanes:
            return b.load(source, n, place, aligned=False)
        mask = vector.ConstantMaskOp(ir.VectorType.get([b.lanes], ir.IntegerType.get_signless(1)),
                                     [inside]).result
        return vector.MaskedLoadOp(b.vector, source, [n, place], mask, b.splat(0.0)).result

    def _by_lane(self, e: Value, base: Value, source: Value, inputs: list[Value],
                 acc: Sequence[Value]) -> list[Value]:
        rows, lanes, sums = self.rows, self.slices.lanes, list(acc)
        for lane in range(lanes):
            column = rows.add(base, rows.integer(self.index, e, rows.index(lane)))
            weight = rows.load(self.weight, e, rows.index(lane), rows.index(0))
            for at, n in enumerate(inputs):
                x = rows.broadcast(rows.scalar(source, n, column))
                sums[at * lanes + lane] = rows.fma(x, weight, sums[at * lanes + lane])
        self._prefetch(e)
        return sums

    def _prefetch(self, e: Value) -> None:
        """Asks for what lies some way ahead.

        Blocks that are permuted pass about as fast as memory streams: of small matrices hardware asks in
        time, of large ones their weights are wanted soon. All others take longer than the way to L2.
        """
        b, slices, (entries, *sizes) = self.b, self.slices, ir.MemRefType(self.weight.type).shape
        each = element_of(self.weight.type).width // 8
        size, fast = prod(sizes) * each, slices.window == PERMUTED and slices.group > 1
        if fast and entries * size < LARGE_BYTES:
            return
        far, level = b.add(e, (NEAR_BYTES if fast else FAR_BYTES) // size), 1 if fast else 2
        for first in range(0, prod(sizes), CACHE_LINE // each):
            b.prefetch(self.weight, far, *(b.index(at) for at in divmod(first, sizes[1])), level=level)
        if not fast:
            b.prefetch(self.index, far, b.index(0), level=level)

    # -- many inputs ---------------------------------------------------------------------------

    def samples(self, unit: Value, vectors: int, load: Callable[[Value, int], Value], sums: Value) -> None:
        """Stores the unit's sums for ``vectors`` vectors of inputs, ``load(column, vector)``, to
        ``sums`` [inputs * padded_rows]."""
        b, group, lanes = self.b, self.slices.group, self._lanes_together(vectors)
        each = group * vectors  # sums of a lane

        def multiplied(first: Value, e: Value, base: Value, *acc: Value) -> list[Value]:
            totals = list(acc)
            if self.slices.by_lane:  # in strides, which no hardware asks for in time
                b.prefetch(self.weight, b.add(e, ENTRIES_AHEAD), first, b.index(0), level=1)
            for number in range(lanes):
                lane = b.add(first, number)
                column = b.add(base, b.integer(self.index, e, lane))
                inputs = [load(column, at) for at in range(vectors)]
                for row in range(group):
                    weight = b.broadcast(self._weight(e, row, lane))
                    for at, x in enumerate(inputs):
                        place = number * each + at * group + row
                        totals[place] = b.fma(x, weight, totals[place])
            return totals

        def some_lanes(at: Value, first: Value) -> None:
            acc = self._each_entry(at, partial(multiplied, first), [b.splat(0.0)] * (each * lanes))
            for number, vector_ in product(range(lanes), range(vectors)):
                place = number * each + vector_ * group
                pieces = self._pieces(acc[place : place + group])
                for n, rows in enumerate(pieces, vector_ * b.lanes):
                    self._store(rows, sums, b.index(n), at, b.add(first, number))

        def one_slice(at: Value) -> None:
            b.loop(0, self.slices.lanes, partial(some_lanes, at), step=lanes)

        self._each_slice(unit, one_slice)

    def _lanes_together(self, vectors: int) -> int:
        """Lanes of a slice that are added up side by side: one waits for its own sums in vain."""
        lanes, most = 1, self.b.core.registers // 2
        while 2 * lanes * self.slices.group * vectors <= most and 2 * lanes <= self.slices.lanes:
            lanes *= 2
        return lanes

    def _weight(self, e: Value, row: int, lane: Value) -> Value:
        places = (lane, self.b.index(row)) if self.slices.by_lane else (self.b.index(row), lane)
        return self.b.scalar(self.weight, e, *places)


def _permute(low: Value, places: Value, high: Value) -> Value:
    """The elements ``places`` (modulo 32) of two vectors of 16."""
    return llvm.CallIntrinsicOp(low.type, "llvm.x86.avx512.vpermi2var.ps.512", [low, places, high], [],
                                []).results[0]
