"""``sparse-lower-to-vector``: every sparse op becomes a call of a kernel made of vector, scf, memref and
arith.

    %y = "sparse.packed_conv"(%x, %offset, ...) : (tensor<1x64x197x16xf32>, ...) -> tensor<1x64x197x16xf32>
    -> %in = bufferization.to_buffer %x;  %out = memref.alloc()
       call @conv_0(%in, %out, %bias, %items, ..., %scratch, %c0, %units) {espalier.units}
       %y = bufferization.to_tensor %out restrict

Equal layers share a kernel. Public functions gain one argument, scratch memory (memref<?xi8>):
``espalier.scratch`` on the module says how much a thread needs, in units of 4 bytes. The last two operands
of a kernel call are the range of its units of work: ``sparse-distribute-work`` cuts it up for threads.
``espalier.visits`` on a call counts the runs of each kernel class's loop body (tagged ``espalier.class``),
so that loads can be counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

from ...activations import activation_of
from ...devices.cores import Core
from ...dialect.layouts import LanesAttr, PlainAttr, layout_of
from ...dialect.ops import LiftOp, PoolOp, UnliftOp
from ...dialect.packed import PackedConvOp, PackedLinearOp
from ...dialect.recurrent import PACKED_LAYERS, PackedGruOp, PackedLstmOp
from ...dialect.schedules import device_of, record_of, schedule_of
from ...dialect.storages import storage_of
from ...errors import op_error
from ...geometry.convolution import Convolution
from ...geometry.layouts import LaneGrid, Plain, Three, three
from ...geometry.window import ONES, Window
from ...ir.constants import constant, constant_of, weight_of
from ...ir.mlir import bindings, ir
from ...ir.values import element_of, integer_array, integers, shape_of, strings
from ...ir.walk import operations
from ...passes import Pass, PassContext
from ...storage.gates import interleave_gates
from ...storage.kept_rows import KeptRows
from ...storage.sell import Sell
from ..buffers.arguments import append_argument, dynamic_memref, public_functions, set_size
from ..buffers.joined_outputs import JoinedOutputs, allocate
from ..buffers.time_steps import for_each_step, row_of
from .emit.builder import arith, func, memref
from .kernels.channelwise import (
    ChannelwiseKernel,
    emit_channelwise_kernel,
    emit_global_average,
    plane_tables,
)
from .kernels.dense_rows import LinearKernel, emit_linear_kernel
from .kernels.fused_depthwise import FusedKernel, Stage, chunk_type, emit_fused_kernel
from .kernels.layouts import emit_lift, emit_unlift, flatten, transposes
from .kernels.recurrent import RecurrentKernel, emit_recurrent_kernel
from .plan.conv_plan import ConvPlan
from .plan.packed_conv import PlannedConv, plan_packed_conv
from .plan.plane_plan import plan_plane

bufferization: Any = bindings("dialects.bufferization")
tensor_dialect: Any = bindings("dialects.tensor")

Value = Any
LIFT_TILE = (1, 2, 4)  # output lines that are computed together
WORD = 32  # bits, in which scratch is counted
WITH_SCRATCH = ("strays", "conv", "depthwise", "max", "average", "fused", "slices", "gru", "lstm")


@dataclass(frozen=True)
class LowerToVectorPass(Pass):
    """
    Replaces every sparse op by a call of a generated kernel.

    Loads are naive: one vector load for every multiply. Needs layouts (sparse-assign-layouts) and packed
    weights.
    """

    name = "sparse-lower-to-vector"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        kernels: dict[Any, str] = {}
        core = device_of(op).costs
        with op.context, ir.Location.unknown(op.context):
            for function in public_functions(op):
                layers = operations(function, *PACKED_LAYERS, PoolOp, LiftOp, UnliftOp)
                _FunctionLowering(op, function, kernels, core, context).run(layers)


class _FunctionLowering:
    """Lowers the layers of one function; ``kernels`` of the module are keyed by what they do, so that equal
    layers share one."""

    def __init__(self, module: ir.Operation, function: Any, kernels: dict[Any, str], core: Core,
                 context: PassContext) -> None:
        self.module, self.kernels, self.context = module, kernels, context
        self.core = core
        self.index = ir.IndexType.get()
        set_size(module, "espalier.inputs", len(function.regions[0].blocks[0].arguments))
        self.scratch = append_argument(function, dynamic_memref(ir.IntegerType.get_signless(8)))
        self.scratch_words = 0

    def run(self, layers: list[Any]) -> None:
        self.joined = JoinedOutputs([layer.output for layer in layers if _writes_lanes(layer)])
        for layer in layers:
            if _is_by_chunk(layer):
                continue  # is lowered with its reader
            producer = _producer_by_chunk(layer)
            with _location(layer), ir.InsertionPoint(layer.operation):
                match layer:
                    case PackedConvOp() if producer is not None:
                        result = self._fused(producer, layer)
                    case PackedConvOp():
                        result = self._convolution(layer)
                    case PackedLinearOp():
                        result = self._linear(layer)
                    case PackedGruOp() | PackedLstmOp():
                        result = self._recurrent(layer)
                    case PoolOp():
                        result = self._pool(layer)
                    case LiftOp():
                        result = self._lift(layer)
                    case _:
                        result = self._unlift(layer)
            for old, new in zip(layer.operation.results, result if isinstance(result, list) else [result],
                                strict=True):
                old.replace_all_uses_with(new)
            layer.operation.erase()
            if producer is not None:
                producer.operation.erase()
        self.joined.close()
        set_size(self.module, "espalier.scratch", self.scratch_words)

    # -- one method a layer --------------------------------------------------------------------

    def _convolution(self, conv: PackedConvOp) -> Value:
        if schedule_of(conv).micro_kernel == "depthwise":
            return self._depthwise(conv)
        planned = plan_packed_conv(conv, self.core)
        kernel, output = planned.kernel, self._allocate(conv.output)
        for plan in planned.plans:
            self._reserve(kernel.scratch_lines(plan) * kernel.target.lanes, conv.output)
            call = self._call("conv", (kernel, plan.code), self._conv_operands(conv, planned, plan, output),
                              len(plan.items) * kernel.chunks, conv, planned.emitter(plan))
            _count_visits(call, conv, planned, plan)
        return self._tensor(output, conv.output.type)

    def _conv_operands(self, conv: PackedConvOp, planned: PlannedConv, plan: ConvPlan,
                       output: Value | None) -> list[Any]:
        bias, residual = _bias_and_residual(conv)
        tables = [constant(table, "plan") for table in planned.tables(plan)]
        return [self._image(conv.input, planned.kernel.source), output, *residual, bias, *tables,
                *conv.storage]

    def _depthwise(self, conv: PackedConvOp) -> Value:
        bias, residual = _bias_and_residual(conv)
        return self._channelwise(conv, self._depthwise_kernel(conv), Convolution.of(conv).window, residual,
                                 [bias, *conv.storage])

    def _depthwise_kernel(self, conv: PackedConvOp, chunk: int = 0) -> ChannelwiseKernel:
        known = Convolution.of(conv)
        return ChannelwiseKernel("depthwise", layout_of(conv.input_layout, conv.input),
                                 self._lanes_of(conv.output_layout, conv), known.filters, known.activation,
                                 known.residual, chunk)

    def _fused(self, conv: PackedConvOp, depthwise: PackedConvOp) -> Value:
        """``conv`` and its reader, a chunk of channels at a time (``sparse-fuse-depthwise``)."""
        planned = plan_packed_conv(conv, self.core)
        kernel, plans = planned.kernel, planned.plans
        chunk, images = kernel.filters // kernel.chunks, shape_of(conv.input)[0]
        reader = self._depthwise_kernel(depthwise, chunk)
        window = Convolution.of(depthwise).window
        plane = plan_plane(reader.source, reader.target, window, _tile(depthwise))
        lanes = kernel.target.lanes
        offset = lanes * max([plane.scratch_lines, *(kernel.scratch_lines(plan) for plan in plans)])
        self._reserve(offset + chunk * kernel.target.plane, depthwise.output)
        type_ = chunk_type(kernel.target, chunk, self._computes(depthwise.output))
        output = self._allocate(depthwise.output)
        operands, stages = [output], []

        def stage(stem: str, key: Any, own: list[Any], units: int, emit: Callable[..., None]) -> None:
            own = [value if value is None else self._buffer(value) for value in own]
            types = [type_ if value is None else value.type for value in own]
            operands.extend(value for value in own if value is not None and value not in operands)
            places = tuple(None if value is None else operands.index(value) for value in own)
            stages.append(Stage(self._kernel(stem, key, types, emit), places, units))

        for plan in plans:
            stage("conv", (kernel, plan.code, plan.items_per_image),
                  self._conv_operands(conv, planned, plan, None), plan.items_per_image,
                  planned.emitter(plan))
        storage = list(conv.storage)  # dense weights keep the filters in their order
        own = np.arange(kernel.filters, dtype=np.int32)
        order = storage[1] if len(storage) > 1 else constant(own, "order")
        bias, _ = _bias_and_residual(depthwise)
        tables = [constant(table, "plane") for table in plane_tables(plane)]
        stage("depthwise", (reader, window),
              [None, output, *tables, order, bias, *depthwise.storage], chunk,
              partial(emit_channelwise_kernel, kernel=reader, plan=plane))
        calls: list[ir.Operation] = []
        fused = FusedKernel(tuple(stages), kernel.target, chunk, offset)

        def emit(module: ir.Operation, name: str, operand_types: list[ir.Type], core: Core) -> None:
            calls.extend(emit_fused_kernel(module, name, fused, operand_types, core))

        self._call("fused", fused, operands, images * kernel.chunks, depthwise, emit)
        for call, plan in zip(calls, plans, strict=False):  # the depthwise call, the last, counts no loads
            _name_layer(call, conv)
            _count_visits(call, conv, planned, plan)
        return self._tensor(output, depthwise.output.type)

    def _pool(self, pool: PoolOp) -> Value:
        source = layout_of(pool.input_layout, pool.input)
        kind: Any = ir.StringAttr(pool.kind).value
        if isinstance(pool.output_layout, PlainAttr) and isinstance(source, LaneGrid):
            return self._global_average(pool, source)
        window = Window.of(*(integers(a) for a in (pool.kernel, pool.strides, pool.padding_low)))
        target = self._lanes_of(pool.output_layout, pool)
        kernel = ChannelwiseKernel(kind, source, target, shape_of(pool.input)[1])
        return self._channelwise(pool, kernel, window, [], [])

    def _lift(self, lift: LiftOp) -> Value:
        """Lifting is a 1x1 max pool from row-major planes, where vectors of pixels are not transposed."""
        target, (batch, channels, *image) = self._lanes_of(lift.layout, lift), shape_of(lift.input)
        source = Plain.of(image)
        if not transposes(target):
            kernel = ChannelwiseKernel("max", source, target, channels)
            return self._channelwise(lift, kernel, Window(ONES), [], [])
        output = self._allocate(lift.output)
        self._call("lift", target, [self._image(lift.input, source), output], batch * channels, lift,
                   partial(emit_lift, grid=target, channels=channels))
        return self._tensor(output, lift.output.type)

    def _channelwise(self, layer: Any, kernel: ChannelwiseKernel, window: Window, residual: list[Value],
                     parameters: list[Value]) -> Value:
        batch = shape_of(layer.input)[0]
        tile = LIFT_TILE if isinstance(layer, LiftOp) else _tile(layer)
        plan = plan_plane(kernel.source, kernel.target, window, tile)
        self._reserve(plan.scratch_lines * kernel.target.lanes, layer.output)
        output = self._allocate(layer.output)
        tables = [constant(table, "plane") for table in plane_tables(plan)]
        operands = [self._image(layer.input, kernel.source), output, *residual, *tables, *parameters]
        self._call(kernel.kind, (kernel, window), operands, batch * kernel.channels, layer,
                   partial(emit_channelwise_kernel, kernel=kernel, plan=plan))
        return self._tensor(output, layer.output.type)

    def _global_average(self, pool: PoolOp, grid: LaneGrid) -> Value:
        batch, channels = shape_of(pool.output)[:2]
        share = np.zeros(grid.plane, np.float32)
        share[grid.places(*np.indices(grid.image))] = 1 / prod(grid.image)
        share = share.reshape(-1, grid.lanes)[: grid.used_lines]
        output = self._allocate(pool.output)
        self._call("mean", grid, [pool.input, flatten(output), constant(share, "share")], batch * channels,
                   pool, partial(emit_global_average, grid=grid, channels=channels))
        return self._tensor(output, pool.output.type)

    def _unlift(self, unlift: UnliftOp) -> Value:
        grid = self._lanes_of(unlift.layout, unlift)
        batch, channels = shape_of(unlift.output)[:2]
        output, tables = self._allocate(unlift.output), []
        if not transposes(grid):
            places = grid.places(*np.indices(grid.image)).reshape(-1).astype(np.int32)
            tables = [constant(places, "places")]
        self._call("unlift", grid, [unlift.input, flatten(output), *tables], batch * channels, unlift,
                   partial(emit_unlift, grid=grid, channels=channels))
        return self._tensor(output, unlift.output.type)

    def _linear(self, linear: PackedLinearOp) -> Value:
        (rows, columns), (batch, _) = integers(linear.weight_shape), shape_of(linear.input)
        storage, names = list(linear.storage), strings(linear.storage_names)
        packing = storage_of(linear)
        slices = packing if isinstance(packing, Sell) else None
        lanes = slices.lanes if slices else shape_of(storage[-1])[-1]
        free = batch == ir.ShapedType.get_dynamic_size()
        kept = (packing.rows, packing.columns) if isinstance(packing, KeptRows) else None
        kernel = LinearKernel(None if free else batch, rows, columns, lanes, self.core.registers,
                              activation_of(linear).name, slices, kept, "stray" in names)
        bias = _padded_bias(linear, rows, kernel.padded_rows)
        if "row" in names:
            bias[:rows] = bias[weight_of(linear, storage[names.index("row")])]
        bias = constant(bias, "bias")
        output = self._allocate(linear.output, linear.input)
        self._reserve(kernel.scratch_floats, linear.output)
        units = shape_of(storage[names.index("edges")])[0] - 1 if slices else kernel.dense_units
        stem = "slices" if slices else "strays" if kernel.strays else "linear"
        self._call(stem, kernel, [linear.input, output, bias, *storage], units,
                   linear, partial(emit_linear_kernel, kernel=kernel, storage_names=names))
        return self._tensor(output, linear.output.type)

    def _recurrent(self, layer: PackedGruOp | PackedLstmOp) -> list[Value]:
        """A first step from the initial state and a loop over the others, each from the output before it."""
        kind = "lstm" if isinstance(layer, PackedLstmOp) else "gru"
        storage, names = list(layer.storage), strings(layer.storage_names)
        packing = storage_of(layer)
        slices = packing if isinstance(packing, Sell) else None
        lanes = slices.lanes if slices else shape_of(storage[-1])[-1]
        batch, hidden = shape_of(layer.initial)
        kernel = RecurrentKernel(kind, batch, hidden, lanes, self.core.registers, slices)
        rows = interleave_gates(_padded_bias(layer, hidden * kernel.gates), kernel.gates, lanes)
        bias = constant(rows.reshape(-1, kernel.gates, lanes), "bias")
        gates, output = self._buffer(layer.gates), self._allocate(layer.output, layer.gates)
        cell = []
        if isinstance(layer, PackedLstmOp):
            cell = [self._allocate(layer.final_cell)]
            memref.CopyOp(self._buffer(layer.cell), cell[0])
        self._reserve(kernel.scratch_floats, layer.output)
        units = shape_of(storage[names.index("edges")])[0] - 1 if slices else shape_of(storage[-1])[0]

        def step(time: Value, previous: Value) -> None:
            now = row_of(output, time)
            self._call(kind, kernel, [row_of(gates, time), memref.CastOp(now.type, previous).result, now,
                                      *cell, bias, *storage], units, layer,
                       partial(emit_recurrent_kernel, kernel=kernel, storage_names=names))

        for_each_step(output, ir.StringAttr(layer.direction).value, self._buffer(layer.initial), step)
        return [self._tensor(output, layer.output.type),
                *(self._tensor(value, layer.final_cell.type) for value in cell)]

    # -- calls ---------------------------------------------------------------------------------

    def _call(self, stem: str, key: Any, operands: list[Value], units: int, layer: Any,
              emit: Callable[..., None]) -> ir.Operation:
        """The call of the kernel of ``key`` on ``operands`` (tensors become buffers) for all its units."""
        buffers = [self._buffer(value) for value in operands]
        kernel = self._kernel(stem, key, [value.type for value in buffers], emit)
        scratch = [self.scratch] if stem in WITH_SCRATCH else []
        bounds = [arith.ConstantOp(self.index, value).result for value in (0, units)]
        call = func.CallOp([], kernel, [*buffers, *scratch, *bounds])
        call.operation.attributes["espalier.units"] = ir.UnitAttr.get()
        _name_layer(call.operation, layer)
        self.context.statistics["kernel calls"] += 1
        return call.operation

    def _kernel(self, stem: str, key: Any, types: list[ir.Type], emit: Callable[..., None]) -> str:
        """The name of the kernel of ``key`` on operands of ``types``, emitted where there is none yet."""
        types = [*types, *([self.scratch.type] if stem in WITH_SCRATCH else []), self.index, self.index]
        key = (stem, key, tuple(str(type_) for type_ in types))
        if key not in self.kernels:
            self.kernels[key] = f"{stem}_{len(self.kernels)}"
            emit(self.module, self.kernels[key], operand_types=types, core=self.core)
            self.context.statistics["kernels"] += 1
        return self.kernels[key]

    def _reserve(self, count: int, like: Value) -> None:
        """Makes scratch hold at least so many elements of the type that computes ``like``."""
        self.scratch_words = max(self.scratch_words, -(-count * self._computes(like).width // WORD))

    def _computes(self, value: Value) -> ir.Type:
        """The element type of the arithmetic behind ``value``."""
        return ir.F32Type.get() if self.core.widens else element_of(value.type)

    def _buffer(self, value: Value) -> Value:
        if isinstance(value.type, ir.MemRefType):
            return value
        tensor = ir.RankedTensorType(value.type)
        type_ = ir.MemRefType.get(tensor.shape, tensor.element_type)
        return bufferization.ToBufferOp(type_, value, read_only=True).result

    def _image(self, value: Value, layout: Plain | LaneGrid) -> Value:
        """The input of a kernel: row-major channels as [N, C, pixels]."""
        if isinstance(layout, LaneGrid) or len(shape_of(value)) == 3:
            return value
        n, c, *sizes = shape_of(value)
        type_ = ir.RankedTensorType.get([n, c, prod(sizes)], ir.RankedTensorType(value.type).element_type)
        groups = ir.ArrayAttr.get([integer_array([0]), integer_array([1]),
                                   integer_array(range(2, len(sizes) + 2))])
        return ir.Operation.create("tensor.collapse_shape", results=[type_], operands=[value],
                                   attributes={"reassociation": groups}).result

    def _allocate(self, like: Value, source: Value | None = None) -> Value:
        """The buffer that a layer writes ``like`` to: its part of a concatenation, or a new one, whose first
        size is that of ``source`` where a run decides it."""
        part = self.joined.place_of(like)
        if part is not None:
            return part
        known = source is None or ir.RankedTensorType(like.type).has_static_shape
        return allocate(like, [] if known else [
            tensor_dialect.DimOp(source, arith.ConstantOp(self.index, 0).result).result])

    def _tensor(self, buffer: Value, type_: ir.Type) -> Value:
        return bufferization.ToTensorOp(type_, buffer, restrict=True, writable=True).result

    def _lanes_of(self, attribute: ir.Attribute, layer: Any) -> LaneGrid:
        layout = layout_of(attribute, layer.output)
        if not isinstance(layout, LaneGrid):
            raise op_error(layer, "a lane grid", "a row-major layout", "run sparse-assign-layouts first")
        return layout


def _producer_by_chunk(layer: Any) -> PackedConvOp | None:
    """The convolution that writes the input of ``layer`` chunk by chunk, if that is so."""
    producer = layer.operation.operands[0].owner
    return producer if _is_by_chunk(producer) else None


def _is_by_chunk(layer: Any) -> bool:
    return isinstance(layer, PackedConvOp) and bool(schedule_of(layer).by_chunk)


def _tile(layer: PackedConvOp | PoolOp) -> Three:
    """The tile that is settled for a layer."""
    tile = schedule_of(layer).tile
    if tile is None:
        raise op_error(layer, "a complete schedule", "none for tile", "run sparse-schedule-tiles first")
    return three(tile)


def _name_layer(call: ir.Operation, layer: Any) -> None:
    """Notes on a call which layer it computes."""
    name = _name_of(layer)
    if name:
        call.attributes["espalier.layer"] = ir.StringAttr.get(name)


def _name_of(layer: Any) -> str:
    """A layer's name; changes of layout have none."""
    return "" if isinstance(layer, LiftOp | UnliftOp) else record_of(layer).layer


def _count_visits(call: ir.Operation, conv: PackedConvOp, planned: PlannedConv, plan: ConvPlan) -> None:
    """Notes how often each class's loop body of ``call`` runs, for the count of loads."""
    call.attributes["espalier.visits"] = ir.DenseI64ArrayAttr.get(planned.visits(conv, plan))


def _writes_lanes(layer: Any) -> bool:
    name = "layout" if isinstance(layer, LiftOp) else "output_layout"
    attributes = layer.operation.attributes
    return not isinstance(layer, UnliftOp) and name in attributes and isinstance(attributes[name], LanesAttr)


def _location(layer: Any) -> ir.Location:
    """The layer's name as a location: the only thing about a call that bufferization keeps."""
    name = _name_of(layer)
    return ir.Location.name(name, layer.operation.location) if name else layer.operation.location


def _bias_and_residual(conv: PackedConvOp) -> tuple[Value, list[Value]]:
    """The bias, zeros where there is none; and the residual, if any."""
    bias = conv.bias
    if bias is None:
        bias = constant(np.zeros(Convolution.of(conv).filters, np.float32), "bias")
    return bias, [] if conv.residual is None else [conv.residual]


def _padded_bias(layer: Any, rows: int, padded: int = 0) -> np.ndarray:
    """The bias, zeros where there is none, with zeros behind it."""
    known = constant_of(layer.bias) if layer.bias is not None else np.zeros(rows, np.float32)
    if known is None:
        raise op_error(layer, "a constant bias", "a bias computed at run time",
                       "fold it into a constant first")
    return np.pad(known, (0, max(padded - rows, 0)))
