"""Emits one step of a recurrent layer, for a range of groups of hidden units.

    for group in begin .. end:                  # ``lanes`` hidden units, the rows of all their gates
      for row x of previous:
        sums[gate] = bias[gate] + W[group, gate] x           # slices (kernels/sell.py) or dense rows
        r, z = sigmoid(gates_r + sums[r]), ...;  n = tanh(...)
        next = n + z * (previous - n)

``gates`` are the products of this step's input with ``weight_ih``. Every value of ``next`` is computed from
``previous`` alone, so groups may run on different threads; the caller puts a barrier between steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....devices.cores import Core
from ....dialect.recurrent import GRU_GATES, LSTM_GATES
from ....ir.mlir import ir
from ....storage.gates import unit_groups
from ....storage.sell import Sell
from ..emit.builder import Builder, Value, arith, each_group, func, private_function, vector
from ..emit.transcendental import sigmoid, tanh
from .sell import SliceEmitter

GATES = {"gru": GRU_GATES, "lstm": LSTM_GATES}
NEXT, CELL = 2, 3  # places of the operands that a step writes


@dataclass(frozen=True)
class RecurrentKernel:
    """Everything static about a step's code: ``kind`` is gru or lstm, ``slices`` None for dense rows."""

    kind: str
    batch: int
    hidden: int
    lanes: int
    registers: int
    slices: Sell | None = None

    @property
    def gates(self) -> int:
        return GATES[self.kind]

    @property
    def scratch_floats(self) -> int:
        """Floats of scratch a thread: the sums of one unit of sparse rows."""
        return self.batch * self.slices.padded_rows if self.slices else 0

    @property
    def together(self) -> int:
        """Rows of ``previous`` that share a loaded dense weight."""
        return min(self.batch, (self.registers - self.gates - 1) // self.gates)


def emit_recurrent_kernel(module: ir.Operation, name: str, kernel: RecurrentKernel,
                          operand_types: list[ir.Type], core: Core,
                          storage_names: Sequence[str] = ()) -> None:
    """Adds ``func.func private @name``: gates [N, GH], previous [N, H], next [N, H], for an LSTM the cell
    [N, H], bias [groups, G, lanes] and the storage arrays; scratch, begin and end of the units: shares of
    slices, or groups of dense rows."""
    writes = (NEXT,) if kernel.kind == "gru" else (NEXT, CELL)
    _, entry = private_function(module, name, operand_types, writes)
    with ir.InsertionPoint(entry):
        _Emitter(Builder(entry, kernel.lanes, core), kernel, list(entry.arguments), storage_names).emit()
        func.ReturnOp([])


class _Emitter:
    def __init__(self, b: Builder, kernel: RecurrentKernel, arguments: list[Value],
                 storage_names: Sequence[str]) -> None:
        self.b, self.kernel = b, kernel
        self.gates, self.previous, self.next, *rest = arguments
        self.cell = rest.pop(0) if kernel.kind == "lstm" else None
        self.bias, *rest = rest
        *_, self.scratch, self.begin, self.end = rest
        self.storage = dict(zip(storage_names, rest, strict=False))
        self.lane_mask = ir.VectorType.get([b.lanes], ir.IntegerType.get_signless(1))

    def emit(self) -> None:
        slices = self.kernel.slices
        if slices is None:
            self.b.loop(self.begin, self.end, self._dense_group)
            return
        emitter = SliceEmitter(self.b, slices, self.storage)
        self.scratch = self.b.view(self.scratch, 0, [self.kernel.scratch_floats])
        first, last = (self.b.integer(self.storage["edges"], edge) for edge in (self.begin, self.end))
        self.b.loop(first, last, lambda unit: self._sparse_unit(emitter, slices, unit))

    # -- sums ----------------------------------------------------------------------------------

    def _sparse_unit(self, emitter: SliceEmitter, slices: Sell, unit: Value) -> None:
        """The groups of one unit."""
        b, kernel, width = self.b, self.kernel, self.kernel.gates * self.kernel.lanes
        first = b.multiply(unit, slices.rows // width)
        left = arith.SubIOp(b.index(unit_groups(kernel.hidden, kernel.lanes)), first).result

        def group(at: Value) -> None:
            def row(n: Value) -> None:
                place = b.add(b.multiply(n, slices.padded_rows), b.multiply(at, width))
                self._finish(b.add(first, at), n, [b.load(self.scratch, b.add(place, gate * kernel.lanes))
                                                   for gate in range(kernel.gates)])

            b.loop(0, kernel.batch, row)

        emitter.sums(unit, self.previous, kernel.batch, self.scratch)
        b.loop(0, b.minimum(b.index(slices.rows // width), left), group)

    def _dense_group(self, group: Value) -> None:
        each_group(self.b, self.kernel.batch, self.kernel.together,
                   lambda rows: self._dense_rows(group, rows))

    def _dense_rows(self, group: Value, rows: list[Value]) -> None:
        """One group for a few rows of ``previous``."""
        b, count, weight = self.b, self.kernel.gates, self.storage["weight"]

        def body(k: Value, *acc: Value) -> list[Value]:
            weights = [b.load(weight, group, k, b.index(gate), b.index(0)) for gate in range(count)]
            sums = []
            for at, n in enumerate(rows):
                x = b.broadcast(b.scalar(self.previous, n, k))
                sums += [b.fma(x, value, acc[at * count + gate]) for gate, value in enumerate(weights)]
            return sums

        sums = b.loop(0, self.kernel.hidden, body, [b.splat(0.0)] * (count * len(rows)))
        for at, n in enumerate(rows):
            self._finish(group, n, sums[at * count : (at + 1) * count])

    # -- gates ---------------------------------------------------------------------------------

    def _finish(self, group: Value, n: Value, products: Sequence[Value]) -> None:
        """The new state of one group, from the products with ``weight_hh``."""
        b, kernel = self.b, self.kernel
        unit = b.multiply(group, kernel.lanes)
        sums = [arith.AddFOp(product, b.load(self.bias, group, b.index(gate), b.index(0))).result
                for gate, product in enumerate(products)]
        gates = [self._load(unit, self.gates, n, b.add(unit, gate * kernel.hidden))
                 for gate in range(kernel.gates)]
        if kernel.kind == "gru":
            value = self._gru(gates, sums, self._load(unit, self.previous, n, unit))
        else:
            value = self._lstm(gates, sums, unit, n)
        self._store(unit, value, self.next, n, unit)

    def _gru(self, gates: list[Value], sums: list[Value], previous: Value) -> Value:
        b = self.b
        reset, update = (sigmoid(b, arith.AddFOp(gates[at], sums[at]).result) for at in (0, 1))
        new = tanh(b, b.fma(reset, sums[2], gates[2]))
        return b.fma(update, arith.SubFOp(previous, new).result, new)

    def _lstm(self, gates: list[Value], sums: list[Value], unit: Value, n: Value) -> Value:
        b = self.b
        totals = [arith.AddFOp(gate, total).result for gate, total in zip(gates, sums, strict=True)]
        take, forget, out = (sigmoid(b, totals[at]) for at in (0, 1, 3))
        kept = arith.MulFOp(forget, self._load(unit, self.cell, n, unit)).result
        cell = b.fma(take, tanh(b, totals[2]), kept)
        self._store(unit, cell, self.cell, n, unit)
        return arith.MulFOp(out, tanh(b, cell)).result

    # -- hidden units need not fill vectors ----------------------------------------------------

    def _mask(self, unit: Value) -> Value | None:
        """The lanes that hold hidden units, from ``unit`` on; None where all do."""
        if self.kernel.hidden % self.kernel.lanes == 0:
            return None
        left = arith.SubIOp(self.b.index(self.kernel.hidden), unit).result
        return vector.CreateMaskOp(self.lane_mask, [left]).result

    def _load(self, unit: Value, base: Value, *indices: Value) -> Value:
        b, mask = self.b, self._mask(unit)
        if mask is None:
            return b.load(base, *indices, aligned=False)
        return vector.MaskedLoadOp(b.vector, base, list(indices), mask, b.splat(0.0)).result

    def _store(self, unit: Value, value: Value, base: Value, *indices: Value) -> None:
        mask = self._mask(unit)
        if mask is None:
            self.b.store(value, base, *indices, aligned=False)
        else:
            vector.MaskedStoreOp(base, list(indices), mask, value)
