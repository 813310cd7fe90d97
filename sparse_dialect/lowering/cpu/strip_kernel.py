"""Emits the sums of strips of packed rows (``schemes/row_blocks.py``): the core of matrix-vector kernels.

    for c in the chunks of the strip:                            # the classes one after the other
      column = base[c] + ramp + offset[c];  x = gather(input, column)
      for row of the class:  acc[row] += x * weight[vector]; vector += 1
    sums = transpose and add acc                                # four vectors to one vector of four sums

``by_column`` storage runs without gathers: a chunk's columns are loaded one by one and broadcast to the
strip's rows. Where many inputs are multiplied at once, vectors run along them instead, and nothing is
gathered or transposed (``samples``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...mlir import ir
from ...schemes.row_blocks import CHUNK, STRIP, Strips
from .builder import Builder, Value, arith, vector

PREFETCH_VECTORS = 64  # how far ahead weights are asked for: 4 KiB


class StripEmitter:
    """Emits sums of strips; ``storage`` holds the arrays by name. Create it where code for all strips can
    go: at the top of the kernel."""

    def __init__(self, b: Builder, strips: Strips, storage: Mapping[str, Value]) -> None:
        self.b, self.strips = b, strips
        self.quad = Builder(b.entry, STRIP, b.core)
        self.start, self.base, self.offset, self.weight = (
            storage[name] for name in ("start", "base", "offset", "weight"))
        self.bytes = ir.VectorType.get([b.lanes], ir.IntegerType.get_signless(8))
        self.indices = ir.VectorType.get([b.lanes], b.i32)
        self.all_lanes = b.constant(ir.VectorType.get([b.lanes], ir.IntegerType.get_signless(1)), True)
        self.shifts = self._shifts()

    def _shifts(self) -> list[Value]:
        """For each class what to add to a chunk's number times its vectors, to get its first vector."""
        b, counts = self.b, [rows.bit_count() for rows in self.strips.classes]
        shifts = [b.index(0)]
        for number in range(1, len(counts)):
            first = b.integer(self.start, b.index(number * self.strips.count * self.strips.pieces))
            shifts.append(b.add(shifts[-1], b.multiply(first, counts[number - 1] - counts[number])))
        return shifts

    def _each_chunk(self, strip: Value, body: Callable[..., list[Value]],
                    acc: Sequence[Value]) -> list[Value]:
        """``body(rows, step, chunk, first vector, *acc)`` for every chunk of ``strip``, piece by piece."""
        b, pieces = self.b, self.strips.pieces
        first = b.multiply(strip, pieces)

        def piece(at: Value, *acc: Value) -> list[Value]:
            sums = list(acc)
            for number, (rows, step) in enumerate(zip(self.strips.classes, self.strips.steps, strict=True)):
                start = b.add(at, number * self.strips.count * pieces)

                def chunk(c: Value, *acc: Value, rows: int = rows, step: int = step,
                          shift: Value = self.shifts[number]) -> list[Value]:
                    return body(rows, step, c, b.add(b.multiply(c, rows.bit_count()), shift), *acc)

                end = b.integer(self.start, b.add(start, 1))
                sums = b.loop(b.integer(self.start, start), end, chunk, sums)
            return sums

        return b.loop(first, b.add(first, pieces), piece, acc)

    # -- one input -----------------------------------------------------------------------------

    def sums(self, strip: Value, source: Value, *row: Value) -> Value:
        """The products of the strip's rows with the vector ``source[*row]``: vector<4xf32>."""
        b = self.b
        if self.strips.by_column:
            acc = self._each_chunk(strip, self._by_column(source, row), [self.quad.splat(0.0)] * STRIP)
            pairs = [arith.AddFOp(acc[at], acc[at + 1]).result for at in (0, 2)]
            return arith.AddFOp(*pairs).result
        acc = self._each_chunk(strip, self._gathered(source, row), [b.splat(0.0)] * STRIP)
        return _transposed_sum(b, acc)

    def _gathered(self, source: Value, row: Sequence[Value]) -> Callable[..., list[Value]]:
        b, zero = self.b, self.b.index(0)

        def chunk(rows: int, step: int, c: Value, first: Value, *acc: Value) -> list[Value]:
            sums = list(acc)
            base = vector.BroadcastOp(self.indices, b.scalar(self.base, c)).result
            for lane in range(0, CHUNK, b.lanes):
                offset = vector.LoadOp(self.bytes, self.offset, [c, b.index(lane)]).result
                column = arith.AddIOp(arith.ExtUIOp(self.indices, offset).result, self._ramp(lane, step))
                column = arith.AddIOp(column.result, base).result
                x = vector.GatherOp(b.vector, source, [*row, zero], column, self.all_lanes,
                                    b.splat(0.0)).result
                for number, at in enumerate(_rows(rows)):
                    weight = b.load(self.weight, b.add(first, number), b.index(lane))
                    sums[at] = b.fma(x, weight, sums[at])
            for number in range(rows.bit_count()):
                b.prefetch(self.weight, b.add(first, PREFETCH_VECTORS + number), zero)
            b.prefetch(self.offset, b.add(c, PREFETCH_VECTORS), zero)
            return sums

        return chunk

    def _ramp(self, lane: int, step: int) -> Value:
        """The even spread of the columns of the lanes from ``lane`` on."""
        return self.b.constants(self.indices, [step * (lane + at) for at in range(self.b.lanes)])

    def _by_column(self, source: Value, row: Sequence[Value]) -> Callable[..., list[Value]]:
        quad = self.quad

        def chunk(rows: int, step: int, c: Value, first: Value, *acc: Value) -> list[Value]:
            sums = list(acc)
            for lane in range(CHUNK):
                x = quad.broadcast(quad.scalar(source, *row, self._column(c, quad.index(lane), step)))
                weight = quad.load(self.weight, quad.add(first, lane // STRIP),
                                   quad.index(lane % STRIP * STRIP))
                sums[lane % STRIP] = quad.fma(x, weight, sums[lane % STRIP])
            for number in range(STRIP):
                quad.prefetch(self.weight, quad.add(first, PREFETCH_VECTORS + number), quad.index(0))
            return sums

        return chunk

    def _column(self, chunk: Value, lane: Value, step: int) -> Value:
        """The column of one lane of a chunk, as an index."""
        b = self.b
        near = b.add(b.integer(self.base, chunk), b.multiply(lane, step))
        return b.add(near, b.integer(self.offset, chunk, lane))

    # -- many inputs ---------------------------------------------------------------------------

    def samples(self, strip: Value, vectors: int, load: Callable[[Value, int], Value]) -> list[list[Value]]:
        """The strip's sums for ``vectors`` vectors of inputs, [row][vector]; ``load(column, vector)``."""
        b = self.b

        def chunk(rows: int, step: int, c: Value, first: Value, *acc: Value) -> list[Value]:
            def lane(lane: Value, *acc: Value) -> list[Value]:
                sums, column = list(acc), self._column(c, lane, step)
                inputs = [load(column, at) for at in range(vectors)]
                for number, row in enumerate(_rows(rows)):
                    weight = b.broadcast(self._weight(first, number, lane))
                    for at, x in enumerate(inputs):
                        sums[row * vectors + at] = b.fma(x, weight, sums[row * vectors + at])
                return sums

            return b.loop(0, CHUNK, lane, acc)

        acc = self._each_chunk(strip, chunk, [b.splat(0.0)] * (STRIP * vectors))
        return [acc[row * vectors : (row + 1) * vectors] for row in range(STRIP)]

    def _weight(self, first: Value, number: int, lane: Value) -> Value:
        """The weight of one lane for the ``number``-th row of a class."""
        b = self.b
        if not self.strips.by_column:
            return b.scalar(self.weight, b.add(first, number), lane)
        four = b.index(STRIP)
        vector_ = b.add(first, arith.DivUIOp(lane, four).result)
        column = b.multiply(arith.RemUIOp(lane, four).result, STRIP)
        return b.scalar(self.weight, vector_, b.add(column, number))


def _rows(rows: int) -> list[int]:
    """The rows of a class, as numbers."""
    return [row for row in range(STRIP) if rows >> row & 1]


def _transposed_sum(b: Builder, acc: Sequence[Value]) -> Value:
    """The sums over all lanes of four vectors, as one vector of four."""
    lows = list(range(0, b.lanes, STRIP))

    def joined(x: Value, y: Value, first: Sequence[int], second: Sequence[int]) -> Value:
        """Adds two shuffles of x and y that do the same in every four lanes; 4 to 7 are lanes of ``y``."""
        parts = [vector.ShuffleOp(x, y, [low + at % STRIP + (b.lanes if at >= STRIP else 0)
                                         for low in lows for at in places]).result
                 for places in (first, second)]
        return arith.AddFOp(*parts).result

    low, high = (joined(acc[at], acc[at + 1], (0, 4, 1, 5), (2, 6, 3, 7)) for at in (0, 2))
    total = joined(low, high, (0, 1, 4, 5), (2, 3, 6, 7))
    width = b.lanes
    while width > STRIP:
        width //= 2
        type_ = ir.VectorType.get([width], b.element)
        halves = [vector.ExtractStridedSliceOp(type_, total, [at], [width], [1]) for at in (0, width)]
        total = arith.AddFOp(*(half.result for half in halves)).result
    return total

