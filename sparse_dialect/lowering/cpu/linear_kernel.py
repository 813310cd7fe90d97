"""Emits matrix-vector kernels: y = act(W x + b), vectors along rows, for a range of row chunks.

    for chunk in begin .. end:                          for rows in begin .. end:        # 4 vectors of rows
      sums[rows of chunk] = bias                          acc[4] = bias
      for column block, slice of chunk:                   for k in 0 .. K:
        acc = sums[rows[slice]]; column = block start       acc[i] += x[k] * weight[rows][k][i]
        for e in entries of slice:                        y = act(acc)
          column += gap[e]; acc += weight[e] * x[column]
        sums[rows[slice]] = acc
      y = act(sums)

``sums`` [N, padded rows] is a buffer of the caller's; rows beyond M are padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...mlir import ir
from ...schemes.slices import CHUNK_SLICES, COLUMN_BLOCK, DENSE_VECTORS, column_blocks, slice_count
from .builder import Builder, Value, arith, func, private_function, vector

PREFETCH_ENTRIES = 32


@dataclass(frozen=True)
class LinearKernel:
    """Everything static about a linear layer's code."""

    batch: int
    rows: int
    columns: int
    lanes: int
    dense: bool
    activation: str

    @property
    def padded_rows(self) -> int:
        width = self.lanes * (DENSE_VECTORS if self.dense else 1)
        return -(-self.rows // width) * width

    @property
    def units(self) -> int:
        """What threads share out: chunks of slices, or groups of DENSE_VECTORS vectors."""
        if self.dense:
            return self.padded_rows // (self.lanes * DENSE_VECTORS)
        return -(-slice_count(self.rows, self.lanes) // CHUNK_SLICES)


def emit_linear_kernel(module: ir.Operation, name: str, kernel: LinearKernel,
                       operand_types: list[ir.Type]) -> None:
    """Adds ``func.func private @name``: input [N, K], output [N, M], sums [N, padded rows], bias [padded
    rows], the storage arrays, begin and end of the units."""
    _, entry = private_function(module, name, operand_types, writes=(1, 2))
    with ir.InsertionPoint(entry):
        emitter = _Emitter(Builder(entry, kernel.lanes), kernel, list(entry.arguments))
        emitter.emit()
        func.ReturnOp([])


class _Emitter:
    def __init__(self, b: Builder, kernel: LinearKernel, arguments: list[Value]) -> None:
        self.b, self.kernel = b, kernel
        self.input, self.output, self.sums, self.bias, *self.storage, self.begin, self.end = arguments
        self.indices = ir.VectorType.get([kernel.lanes], b.i32)
        self.all_lanes = b.constant(ir.VectorType.get([kernel.lanes], ir.IntegerType.get_signless(1)), True)

    def emit(self) -> None:
        body = self._dense_rows if self.kernel.dense else self._sparse_chunk
        self.b.loop(0, self.kernel.batch, lambda n: self._units(n, body))

    def _units(self, n: Value, body: Callable[[Value, Value], None]) -> None:
        self.b.loop(self.begin, self.end, lambda unit: body(n, unit))

    def _dense_rows(self, n: Value, unit: Value) -> None:
        b, kernel, (weight,) = self.b, self.kernel, self.storage
        width = kernel.lanes * DENSE_VECTORS
        first = b.multiply(unit, width)
        starts = [b.add(first, i * kernel.lanes) for i in range(DENSE_VECTORS)]

        def body(k: Value, *acc: Value) -> list[Value]:
            x = b.broadcast(b.scalar(self.input, n, k))
            return [b.fma(x, b.load(weight, unit, k, b.index(i), b.index(0)), a) for i, a in enumerate(acc)]

        totals = b.loop(0, kernel.columns, body, [b.load(self.bias, start) for start in starts])
        for start, total in zip(starts, totals, strict=True):
            b.store(b.activation(total, kernel.activation), self.sums, n, start)
        self._copy_out(n, first, b.minimum(b.add(first, width), b.index(kernel.rows)))

    def _sparse_chunk(self, n: Value, unit: Value) -> None:
        b, kernel = self.b, self.kernel
        slices = slice_count(kernel.rows, kernel.lanes)
        first = b.multiply(unit, CHUNK_SLICES)
        last = b.minimum(b.add(first, CHUNK_SLICES), b.index(slices))

        def start(at: Value) -> None:
            row = b.multiply(at, kernel.lanes)
            b.store(b.load(self.bias, row), self.sums, n, row)

        def block(c: Value) -> None:
            b.loop(first, last, lambda at: self._slice(n, c, b.add(b.multiply(c, slices), at)))

        def finish(at: Value) -> None:
            row = b.multiply(at, kernel.lanes)
            b.store(b.activation(b.load(self.sums, n, row), kernel.activation), self.sums, n, row)

        b.loop(first, last, start)
        b.loop(0, column_blocks(kernel.columns), block)
        b.loop(first, last, finish)
        self._copy_out(n, b.multiply(first, kernel.lanes),
                       b.minimum(b.multiply(last, kernel.lanes), b.index(kernel.rows)))

    def _slice(self, n: Value, block: Value, at: Value) -> None:
        b, (start, rows, gap, weight) = self.b, self.storage
        zero = b.index(0)
        where = vector.LoadOp(self.indices, rows, [at, zero]).result
        column = b.multiply(block, COLUMN_BLOCK)
        acc = vector.GatherOp(b.vector, self.sums, [n, zero], where, self.all_lanes, b.splat(0.0)).result

        def entry(e: Value, acc: Value, place: Value) -> list[Value]:
            bytes_ = ir.VectorType.get([b.lanes], ir.IntegerType.get_signless(8))
            step = arith.ExtUIOp(self.indices, vector.LoadOp(bytes_, gap, [e, zero]).result).result
            place = arith.AddIOp(place, step).result
            x = vector.GatherOp(b.vector, self.input, [n, column], place, self.all_lanes, b.splat(0.0)).result
            for array in (weight, gap):
                b.prefetch(array, b.add(e, PREFETCH_ENTRIES), zero)
            return [b.fma(x, b.load(weight, e, zero), acc), place]

        zeros = b.constant(self.indices, 0)
        acc, _ = b.loop(b.integer(start, at), b.integer(start, b.add(at, 1)), entry, [acc, zeros])
        vector.ScatterOp(None, self.sums, [n, zero], where, self.all_lanes, acc)

    def _copy_out(self, n: Value, first: Value, last: Value) -> None:
        """Rows [first, last) of ``sums`` to the output, one by one: its rows need not fill vectors."""
        b = self.b
        b.loop(first, last, lambda row: b.put(b.scalar(self.sums, n, row), self.output, n, row))
