"""Emits the sums of slices of sparse rows (``schemes/slices.py``): the core of matrix-vector kernels.

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

from ...mlir import ir
from ...schemes.slices import GATHERED, Slices
from .builder import Builder, Value, arith, each_group, llvm, vector

PREFETCH_VECTORS = 128  # how far ahead weights are asked for: 8 KiB


class SliceEmitter:
    """Emits sums of slices; ``storage`` holds the arrays by name. Create it where code for all slices can
    go: at the top of the kernel."""

    def __init__(self, b: Builder, slices: Slices, storage: Mapping[str, Value]) -> None:
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
        b, slices = self.b, self.slices

        def store(at: Value, inputs: list[Value]) -> None:
            for n, acc in zip(inputs, self._slice(at, source, inputs), strict=True):
                first = b.multiply(n, slices.padded_rows)
                for lane, rows in enumerate(self._lanes(acc)):
                    place = b.multiply(b.integer(self.place, at, b.index(lane)), slices.group)
                    self.rows.store(rows, sums, b.add(first, place))

        self._each_slice(unit, lambda at: each_group(
            b, batch, self.together, lambda inputs: store(at, inputs)))

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
            upper = arith.CmpIOp(arith.CmpIPredicate.uge, places, b.constant(indices, 2 * b.lanes)).result
            fetched = [self._permuted(source, n, base, places, upper) for n in inputs]
        weights = [b.load(self.weight, e, b.index(row), zero) for row in range(group)]
        return [b.fma(x, weight, acc[at * group + row])
                for at, x in enumerate(fetched) for row, weight in enumerate(weights)]

    def _permuted(self, source: Value, n: Value, base: Value, places: Value, upper: Value) -> Value:
        """The inputs at ``places`` of the window, which is loaded whole: those in its ``upper`` half, and the
        others."""
        window = [self._line(source, n, base, line) for line in range(4)]
        low, high = (_permute(window[at], places, window[at + 1]) for at in (0, 2))
        return arith.SelectOp(upper, high, low).result

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
        return sums

    def _lanes(self, acc: Sequence[Value]) -> list[Value]:
        """The rows of each lane as a vector, from a slice's sums."""
        if self.slices.by_lane:
            return list(acc)
        joined, group = _interleaved(acc), self.slices.group
        return [vector.ExtractStridedSliceOp(self.rows.vector, joined, [lane * group], [group], [1]).result
                for lane in range(self.slices.lanes)]

    # -- many inputs ---------------------------------------------------------------------------

    def samples(self, unit: Value, vectors: int, load: Callable[[Value, int], Value],
                store: Callable[[Value, list[list[Value]]], None]) -> None:
        """The unit's sums for ``vectors`` vectors of inputs, lane by lane: ``load(column, vector)``, and
        ``store(first row inside the unit, [row][vector])``."""
        b, group = self.b, self.slices.group

        def slice_(at: Value) -> None:
            def lane(lane: Value) -> None:
                def entry(e: Value, base: Value, *acc: Value) -> list[Value]:
                    sums, column = list(acc), b.add(base, b.integer(self.index, e, lane))
                    inputs = [load(column, at) for at in range(vectors)]
                    for row in range(group):
                        weight = b.broadcast(self._weight(e, row, lane))
                        for at, x in enumerate(inputs):
                            sums[row * vectors + at] = b.fma(x, weight, sums[row * vectors + at])
                    return sums

                acc = self._each_entry(at, entry, [b.splat(0.0)] * (group * vectors))
                store(b.multiply(b.integer(self.place, at, lane), group),
                      [acc[row * vectors : (row + 1) * vectors] for row in range(group)])

            b.loop(0, self.slices.lanes, lane)

        self._each_slice(unit, slice_)

    def _weight(self, e: Value, row: int, lane: Value) -> Value:
        places = (lane, self.b.index(row)) if self.slices.by_lane else (self.b.index(row), lane)
        return self.b.scalar(self.weight, e, *places)


def _permute(low: Value, places: Value, high: Value) -> Value:
    """The elements ``places`` (modulo 32) of two vectors of 16."""
    return llvm.CallIntrinsicOp(low.type, "llvm.x86.avx512.vpermi2var.ps.512", [low, places, high], [],
                                []).results[0]


def _interleaved(vectors: Sequence[Value]) -> Value:
    """The first elements of all ``vectors``, a power of two, then their second elements, and so on."""
    if len(vectors) == 1:
        return vectors[0]
    even, odd = _interleaved(vectors[::2]), _interleaved(vectors[1::2])
    length = ir.VectorType(even.type).shape[0]
    return vector.ShuffleOp(even, odd, [at + half * length for at in range(length) for half in (0, 1)]).result
