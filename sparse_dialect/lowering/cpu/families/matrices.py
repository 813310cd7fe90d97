"""Matrix products: ``dense_rows`` and ``sell``; and ``recurrent`` layers, a product a time step."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np

from ....activations import activation_of
from ....devices.cores import Core
from ....dialect.packed import Packed, PackedLinearOp
from ....dialect.recurrent import PackedGruOp, PackedLstmOp, inputs_of
from ....dialect.storages import storage_of
from ....geometry.convolution import Convolution
from ....ir.constants import constant, weight_of
from ....ir.mlir import ir
from ....ir.values import integers, shape_of, strings
from ....schedule.candidates import Space, Values
from ....schedule.schedule import Schedule
from ....schemes import Dense, Scheme, Structured
from ....storage import Storage
from ....storage.dense import DenseRows
from ....storage.gates import interleave_gates
from ....storage.kept_rows import KeptRows
from ....storage.sell import Sell, windows
from ...buffers.time_steps import for_each_step, row_of
from ..emit.builder import memref
from ..kernel_calls import KernelCalls, Value, padded_bias
from ..kernels.dense_rows import LinearKernel, emit_linear_kernel
from ..kernels.recurrent import RecurrentKernel, emit_recurrent_kernel
from .family import KernelFamily


class Matrix(KernelFamily):
    """What linear layers have in common, whatever their rows are kept in."""

    storages: ClassVar[tuple[type[Storage], ...]]

    def covers(self, layer: Any) -> str:
        if not isinstance(layer, PackedLinearOp):
            return "no matrix product"
        storage = storage_of(layer)
        return "" if isinstance(storage, self.storages) else f"weights kept as {storage.name}"

    def plan(self, layer: PackedLinearOp, core: Core) -> LinearKernel:
        (rows, columns), (batch, _) = integers(layer.weight_shape), shape_of(layer.input)
        slices, lanes = _slices_and_lanes(layer)
        free, packing = batch == ir.ShapedType.get_dynamic_size(), storage_of(layer)
        kept = (packing.rows, packing.columns) if isinstance(packing, KeptRows) else None
        return LinearKernel(None if free else batch, rows, columns, lanes, core.registers,
                            activation_of(layer).name, slices, kept, "stray" in strings(layer.storage_names))

    def emit(self, layer: PackedLinearOp, plan: LinearKernel, calls: KernelCalls) -> list[Value]:
        storage, names = list(layer.storage), strings(layer.storage_names)
        known = padded_bias(layer, plan.rows, plan.padded_rows)
        if "row" in names:  # the rows are stored in another order
            known[: plan.rows] = known[weight_of(layer, storage[names.index("row")])]
        bias = constant(known, "bias")
        output = calls.allocate(layer.output, layer.input)
        calls.reserve(plan.scratch_floats, layer.output)
        units = _slice_units(storage, names) if plan.slices else plan.dense_units
        stem = "slices" if plan.slices else "strays" if plan.strays else "linear"
        calls.call(stem, plan, [layer.input, output, bias, *storage], units, layer,
                   partial(emit_linear_kernel, kernel=plan, storage_names=names))
        return [calls.tensor(output, layer.output.type)]


    def space(self, layer: PackedLinearOp, schedule: Schedule, core: Core) -> Space:
        return _space(layer, schedule, core)


class DenseRowsFamily(Matrix):
    """Vectors along rows of full weights, all of a matrix or those that are kept."""

    name = "dense_rows"
    storages = (DenseRows, KeptRows)

    def stores(self, convolution: Convolution | None, scheme: Scheme, steps: bool) -> str | None:
        if convolution is not None or steps:
            return None
        if isinstance(scheme, Dense):
            return DenseRows.name
        return KeptRows.name if isinstance(scheme, Structured) else None  # a smaller dense matrix


class SellFamily(Matrix):
    """Slices of sorted rows."""

    name = "sell"
    storages = (Sell,)

    def stores(self, convolution: Convolution | None, scheme: Scheme, steps: bool) -> str | None:
        sparse = not isinstance(scheme, Dense | Structured)
        return Sell.name if convolution is None and not steps and sparse else None


class Recurrent(KernelFamily):
    """GRU and LSTM: a first step from the initial state and a loop over the others, each from the output
    before it."""

    name = "recurrent"

    def covers(self, layer: Any) -> str:
        return "" if isinstance(layer, PackedGruOp | PackedLstmOp) else "no recurrent layer"

    def stores(self, convolution: Convolution | None, scheme: Scheme, steps: bool) -> str | None:
        if not steps:
            return None
        return DenseRows.name if isinstance(scheme, Dense) else Sell.name

    def space(self, layer: PackedGruOp | PackedLstmOp, schedule: Schedule, core: Core) -> Space:
        return _space(layer, schedule, core)

    def plan(self, layer: PackedGruOp | PackedLstmOp, core: Core) -> RecurrentKernel:
        slices, lanes = _slices_and_lanes(layer)
        batch, hidden = shape_of(layer.initial)
        kind = "lstm" if isinstance(layer, PackedLstmOp) else "gru"
        return RecurrentKernel(kind, batch, hidden, lanes, core.registers, slices)

    def emit(self, layer: PackedGruOp | PackedLstmOp, plan: RecurrentKernel,
             calls: KernelCalls) -> list[Value]:
        storage, names = list(layer.storage), strings(layer.storage_names)
        bias = self._bias(layer, plan)
        gates, output = calls.buffer(layer.gates), calls.allocate(layer.output, layer.gates)
        cell = []
        if isinstance(layer, PackedLstmOp):
            cell = [calls.allocate(layer.final_cell)]
            memref.CopyOp(calls.buffer(layer.cell), cell[0])
        calls.reserve(plan.scratch_floats, layer.output)
        units = _slice_units(storage, names) if plan.slices else shape_of(storage[-1])[0]

        def step(time: Value, previous: Value) -> None:
            now = row_of(output, time)
            calls.call(plan.kind, plan, [row_of(gates, time), memref.CastOp(now.type, previous).result, now,
                                         *cell, bias, *storage], units, layer,
                       partial(emit_recurrent_kernel, kernel=plan, storage_names=names))

        for_each_step(output, ir.StringAttr(layer.direction).value, calls.buffer(layer.initial), step)
        return [calls.tensor(output, layer.output.type),
                *(calls.tensor(value, layer.final_cell.type) for value in cell)]

    @staticmethod
    def _bias(layer: PackedGruOp | PackedLstmOp, plan: RecurrentKernel) -> Value:
        """The biases [rows, gates, lanes]: the gates of a row beside each other."""
        rows = interleave_gates(padded_bias(layer, plan.hidden * plan.gates), plan.gates, plan.lanes)
        return constant(np.reshape(rows, (-1, plan.gates, plan.lanes)), "bias")


def _space(layer: Packed, schedule: Schedule, core: Core) -> Space:
    """Slices of rows that share what is picked from a window of inputs, where no vector runs along these."""
    storage, values = storage_of(layer), Values()
    if isinstance(storage, Sell) and (storage.gates > 1 or inputs_of(layer) == 1):
        values = {"filters_per_group": [1, 2, 4], "window": list(windows(storage.lanes, core))}
    return Space.around(schedule, values)


def _slices_and_lanes(layer: Any) -> tuple[Sell | None, int]:
    """The slices that a matrix is kept in, None for dense rows; and the lanes of its vectors."""
    packing = storage_of(layer)
    if isinstance(packing, Sell):
        return packing, packing.lanes
    return None, shape_of(list(layer.storage)[-1])[-1]


def _slice_units(storage: list[Value], names: list[str]) -> int:
    """What threads share out of slices."""
    return shape_of(storage[names.index("edges")])[0] - 1
