"""Emits matrix-vector products of unstructured matrices in slices (``schemes/slices.py``): y = act(W x + b)
for every row x of the input, over a range of chunks.

    for chunk in begin .. end:  for x of the inputs:
      sums[rows of chunk] = bias
      for column block, slice of chunk:
        acc = sums[rows[slice]]; column = block start
        for e in entries of slice:
          column += gap[e]; acc += weight[e] * x[column]
        sums[rows[slice]] = acc
      y[rows of chunk] = act(sums)

Vectors run along rows; ``sums`` is scratch.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...cores import Core
from ...mlir import ir
from ...schemes.slices import CHUNK_SLICES, COLUMN_BLOCK, column_blocks, slice_count
from .builder import Builder, Value, arith, func, private_function, vector

PREFETCH_ENTRIES = 32


@dataclass(frozen=True)
class SliceKernel:
    """Everything static about the code."""

    batch: int
    rows: int
    columns: int
    lanes: int
    activation: str

    @property
    def slices(self) -> int:
        return slice_count(self.rows, self.lanes)

    @property
    def padded_rows(self) -> int:
        """Rows with those that fill the last slice, for which there is a bias too."""
        return self.slices * self.lanes

    @property
    def units(self) -> int:
        """What threads share out: chunks of slices."""
        return -(-self.slices // CHUNK_SLICES)

    @property
    def scratch_floats(self) -> int:
        """Floats of scratch a thread: a chunk's sums."""
        return CHUNK_SLICES * self.lanes


def emit_slice_kernel(module: ir.Operation, name: str, kernel: SliceKernel, operand_types: list[ir.Type],
                      core: Core) -> None:
    """Adds ``func.func private @name``: input [N, K], output [N, M], bias [padded rows], start, rows, gap and
    weight, scratch, begin and end of the chunks."""
    _, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        _Emitter(Builder(entry, kernel.lanes, core), kernel, list(entry.arguments)).emit()
        func.ReturnOp([])


class _Emitter:
    def __init__(self, b: Builder, kernel: SliceKernel, arguments: list[Value]) -> None:
        self.b, self.kernel = b, kernel
        self.input, self.output, self.bias, *self.storage, scratch, self.begin, self.end = arguments
        self.sums = b.view(scratch, 0, [kernel.scratch_floats])
        self.indices = ir.VectorType.get([kernel.lanes], b.i32)

    def emit(self) -> None:
        b = self.b

        def chunk(at: Value) -> None:
            b.loop(0, self.kernel.batch, lambda n: self._chunk(at, n))

        b.loop(self.begin, self.end, chunk)

    def _chunk(self, chunk: Value, n: Value) -> None:
        b, kernel = self.b, self.kernel
        first = b.multiply(chunk, CHUNK_SLICES)
        last = b.minimum(b.add(first, CHUNK_SLICES), b.index(kernel.slices))
        count = arith.SubIOp(last, first).result
        row = b.multiply(first, kernel.lanes)

        def start(at: Value) -> None:
            place = b.multiply(at, kernel.lanes)
            b.store(b.load(self.bias, b.add(row, place)), self.sums, place)

        def block(c: Value) -> None:
            base = b.add(b.multiply(c, kernel.slices), first)
            b.loop(0, count, lambda at: self._slice(n, c, b.add(base, at), row))

        b.loop(0, count, start)
        b.loop(0, column_blocks(kernel.columns), block)
        self._finish(n, row, count)

    def _slice(self, n: Value, block: Value, at: Value, row: Value) -> None:
        """Adds one slice of a column block to the sums of the chunk, whose first row is ``row``."""
        b, (start, rows, gap, weight) = self.b, self.storage
        zero = b.index(0)
        base = vector.BroadcastOp(self.indices, arith.IndexCastOp(b.i32, row).result).result
        where = arith.SubIOp(b.places(rows, at, zero), base).result
        column = b.multiply(block, COLUMN_BLOCK)

        def entry(e: Value, acc: Value, place: Value) -> list[Value]:
            bytes_ = ir.VectorType.get([b.lanes], ir.IntegerType.get_signless(8))
            step = arith.ExtUIOp(self.indices, vector.LoadOp(bytes_, gap, [e, zero]).result).result
            place = arith.AddIOp(place, step).result
            for array in (weight, gap):
                b.prefetch(array, b.add(e, PREFETCH_ENTRIES), zero)
            return [b.fma(b.gather(self.input, [n, column], place), b.load(weight, e, zero), acc), place]

        carried = [b.gather(self.sums, [], where), b.constant(self.indices, 0)]
        acc, _ = b.loop(b.integer(start, at), b.integer(start, b.add(at, 1)), entry, carried)
        every = b.constant(ir.VectorType.get([b.lanes], ir.IntegerType.get_signless(1)), True)
        vector.ScatterOp(None, self.sums, [zero], where, every, acc)

    def _finish(self, n: Value, row: Value, count: Value) -> None:
        """The chunk's rows to the output; the last slice may be one in part."""
        b, kernel = self.b, self.kernel

        def activated(at: Value) -> None:
            place = b.multiply(at, kernel.lanes)
            b.store(b.activation(b.load(self.sums, place), kernel.activation), self.sums, place)

        b.loop(0, count, activated)
        rows = b.minimum(b.multiply(count, kernel.lanes), arith.SubIOp(b.index(kernel.rows), row).result)
        b.loop(0, rows, lambda at: b.put(b.scalar(self.sums, at), self.output, n, b.add(row, at)))
