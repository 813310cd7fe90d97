"""What works on each channel by itself: ``depthwise``, ``fused_depthwise`` and ``pools``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

from ....devices.cores import Core
from ....dialect.layouts import PlainAttr, layout_of
from ....dialect.ops import PoolOp
from ....dialect.packed import PackedConvOp
from ....dialect.schedules import schedule_of
from ....dialect.storages import storage_of
from ....errors import op_error
from ....geometry.convolution import Convolution
from ....geometry.layouts import LaneGrid, Three, three
from ....geometry.window import Window
from ....ir.constants import constant
from ....ir.mlir import ir
from ....ir.values import integers, shape_of
from ....schedule.candidates import Space, Values
from ....schedule.schedule import Schedule
from ....schemes import Dense, Scheme
from ....storage import DenseKernels
from ..kernel_calls import KernelCalls, Value, image_of, lanes_of, name_layer
from ..kernels.channelwise import (
    ChannelwiseKernel,
    emit_channelwise_kernel,
    emit_global_average,
    plane_tables,
)
from ..kernels.fused_depthwise import FusedKernel, Stage, chunk_type, emit_fused_kernel
from ..kernels.layouts import flatten
from ..plan.packed_conv import PlannedConv, plan_packed_conv
from ..plan.plane_plan import PlanePlan, plan_plane
from .convolutions import bias_and_residual, conv_operands, count_visits, with_threes
from .family import KernelFamily

DEPTHWISE_TILE, POOL_TILE = (1, 4, 4), (1, 2, 4)  # output lines that are computed together
DEPTHWISE_SIDE, DEPTHWISE_LINES = 8, 24  # the most that a tuner tries: of a tile's side, and in all


@dataclass(frozen=True)
class Planes:
    """Everything static about the code of planes, and their tiles and tables."""

    kernel: ChannelwiseKernel
    window: Window
    plane: PlanePlan

    @staticmethod
    def of(kernel: ChannelwiseKernel, window: Window, tile: Three) -> Planes:
        """The plan of ``kernel`` whose threads compute ``tile`` output lines together."""
        return Planes(kernel, window, plan_plane(kernel.source, kernel.target, window, tile))

    def emit(self, layer: Any, calls: KernelCalls, residual: list[Value],
             parameters: list[Value]) -> list[Value]:
        """The call for all planes of ``layer``, and its result."""
        kernel = self.kernel
        calls.reserve(self.plane.scratch_lines * kernel.target.lanes, layer.output)
        output = calls.allocate(layer.output)
        tables = [constant(table, "plane") for table in plane_tables(self.plane)]
        operands = [image_of(layer.input, kernel.source), output, *residual, *tables, *parameters]
        calls.call(kernel.kind, (kernel, self.window), operands, shape_of(layer.input)[0] * kernel.channels,
                   layer, partial(emit_channelwise_kernel, kernel=kernel, plan=self.plane))
        return [calls.tensor(output, layer.output.type)]


class Depthwise(KernelFamily):
    """A kernel a channel."""

    name = "depthwise"

    def covers(self, layer: Any) -> str:
        return _why_not_depthwise(layer)

    def stores(self, convolution: Convolution | None, scheme: Scheme, steps: bool) -> str | None:
        depthwise = convolution is not None and convolution.kind == "depthwise"
        return DenseKernels.name if depthwise and isinstance(scheme, Dense) else None

    def space(self, layer: PackedConvOp, schedule: Schedule, core: Core) -> Space:
        return _depthwise_space(layer, schedule)

    def candidates(self, layer: PackedConvOp, schedule: Schedule, core: Core) -> list[Schedule]:
        return [schedule.filled(tile=DEPTHWISE_TILE)]

    def plan(self, layer: PackedConvOp, core: Core) -> Planes:
        return Planes.of(depthwise_kernel(layer), Convolution.of(layer).window, settled_tile(layer))

    def emit(self, layer: PackedConvOp, plan: Planes, calls: KernelCalls) -> list[Value]:
        bias, residual = bias_and_residual(layer)
        return plan.emit(layer, calls, residual, [bias, *layer.storage])


@dataclass(frozen=True)
class Fused:
    """A convolution, its reader's planes, and what of scratch they use before the chunk."""

    conv: PlannedConv
    reader: Planes
    chunk: int
    offset: int


class FusedDepthwise(KernelFamily):
    """A depthwise convolution and the one that writes its input, a chunk of channels at a time
    (``sparse-fuse-depthwise``)."""

    name = "fused_depthwise"

    def covers(self, layer: Any) -> str:
        why = _why_not_depthwise(layer)
        if not why and producer_by_chunk(layer) is None:
            return "an input that no convolution writes by chunk"
        return why

    def space(self, layer: PackedConvOp, schedule: Schedule, core: Core) -> Space:
        return _depthwise_space(layer, schedule)

    def candidates(self, layer: PackedConvOp, schedule: Schedule, core: Core) -> list[Schedule]:
        return [schedule.filled(tile=DEPTHWISE_TILE)]

    def plan(self, layer: PackedConvOp, core: Core) -> Fused:
        planned = plan_packed_conv(layer.input.owner, core)
        kernel = planned.kernel
        chunk = kernel.filters // kernel.chunks
        reader = Planes.of(depthwise_kernel(layer, chunk), Convolution.of(layer).window, settled_tile(layer))
        scratch = [reader.plane.scratch_lines, *(kernel.scratch_lines(plan) for plan in planned.plans)]
        return Fused(planned, reader, chunk, kernel.target.lanes * max(scratch))

    def emit(self, layer: PackedConvOp, plan: Fused, calls: KernelCalls) -> list[Value]:
        conv, planned, reader = layer.input.owner, plan.conv, plan.reader
        kernel, chunk = planned.kernel, plan.chunk
        calls.reserve(plan.offset + chunk * kernel.target.plane, layer.output)
        stages = _Stages(calls, chunk_type(kernel.target, chunk, calls.computes(layer.output)),
                         calls.allocate(layer.output))
        for part in planned.plans:
            stages.add("conv", (kernel, part.code, part.items_per_image),
                       conv_operands(conv, planned, part, None), part.items_per_image,
                       planned.emitter(part))
        storage = list(conv.storage)  # dense weights keep the filters in their order
        own = np.arange(kernel.filters, dtype=np.int32)
        order = storage[1] if len(storage) > 1 else constant(own, "order")
        bias, _ = bias_and_residual(layer)
        tables = [constant(table, "plane") for table in plane_tables(reader.plane)]
        stages.add("depthwise", (reader.kernel, reader.window),
                   [None, stages.output, *tables, order, bias, *layer.storage], chunk,
                   partial(emit_channelwise_kernel, kernel=reader.kernel, plan=reader.plane))
        inner: list[ir.Operation] = []
        fused = FusedKernel(tuple(stages.stages), kernel.target, chunk, plan.offset)

        def emit(module: ir.Operation, name: str, operand_types: list[ir.Type], core: Core) -> None:
            inner.extend(emit_fused_kernel(module, name, fused, operand_types, core))

        units = shape_of(conv.input)[0] * kernel.chunks
        calls.call("fused", fused, stages.operands, units, layer, emit)
        for call, part in zip(inner, planned.plans, strict=False):  # the last, depthwise, counts no loads
            name_layer(call, conv)
            count_visits(call, conv, planned, part)
        return [calls.tensor(stages.output, layer.output.type)]


class _Stages:
    """The kernels that a fused one calls, and the operands that they share."""

    def __init__(self, calls: KernelCalls, chunk: ir.Type, output: Value) -> None:
        self._calls, self._chunk = calls, chunk
        self.output = output
        self.operands: list[Value] = [output]
        self.stages: list[Stage] = []

    def add(self, stem: str, key: Any, own: list[Any], units: int, emit: Callable[..., None]) -> None:
        """A kernel on ``own`` operands; None is the chunk."""
        own = [value if value is None else self._calls.buffer(value) for value in own]
        types = [self._chunk if value is None else value.type for value in own]
        self.operands.extend(value for value in own if value is not None and value not in self.operands)
        places = tuple(None if value is None else self.operands.index(value) for value in own)
        self.stages.append(Stage(self._calls.kernel(stem, key, types, emit), places, units))


class Pools(KernelFamily):
    """Pools from any layout to lanes, and means over whole images to rows."""

    name = "pools"

    def covers(self, layer: Any) -> str:
        return "" if isinstance(layer, PoolOp) else "no pool"

    def candidates(self, layer: PoolOp, schedule: Schedule, core: Core) -> list[Schedule]:
        return [schedule.filled(tile=POOL_TILE)]

    def plan(self, layer: PoolOp, core: Core) -> Planes | LaneGrid:
        source = layout_of(layer.input_layout, layer.input)
        kind: Any = ir.StringAttr(layer.kind).value
        if isinstance(layer.output_layout, PlainAttr) and isinstance(source, LaneGrid):
            return source
        window = Window.of(*(integers(a) for a in (layer.kernel, layer.strides, layer.padding_low)))
        target = lanes_of(layer.output_layout, layer)
        kernel = ChannelwiseKernel(kind, source, target, shape_of(layer.input)[1])
        return Planes.of(kernel, window, settled_tile(layer))

    def emit(self, layer: PoolOp, plan: Planes | LaneGrid, calls: KernelCalls) -> list[Value]:
        if isinstance(plan, Planes):
            return plan.emit(layer, calls, [], [])
        batch, channels = shape_of(layer.output)[:2]
        share = np.zeros(plan.plane, np.float32)
        share[plan.places(*np.indices(plan.image))] = 1 / prod(plan.image)
        share = share.reshape(-1, plan.lanes)[: plan.used_lines]
        output = calls.allocate(layer.output)
        calls.call("mean", plan, [layer.input, flatten(output), constant(share, "share")], batch * channels,
                   layer, partial(emit_global_average, grid=plan, channels=channels))
        return [calls.tensor(output, layer.output.type)]


def _why_not_depthwise(layer: Any) -> str:
    """Why ``layer`` is no depthwise convolution of full kernels; empty where it is."""
    if not isinstance(layer, PackedConvOp):
        return "no convolution"
    kind, storage = Convolution.of(layer).kind, storage_of(layer)
    if kind != "depthwise":
        return f"a {kind} convolution"
    return "" if isinstance(storage, DenseKernels) else f"weights kept as {storage.name}"


def _depthwise_space(layer: PackedConvOp, schedule: Schedule) -> Space:
    """Tiles of a depthwise convolution."""
    sides = [range(1, min(DEPTHWISE_SIDE, size) + 1) for size in Convolution.of(layer).target[1:]]
    values: Values = {"tile.0": [1], "tile.1": list(sides[0]), "tile.2": list(sides[1])}

    def why_not(found: Schedule) -> str:
        lines = prod(found.tile or ())
        return f"{lines} lines do not fit in registers" if lines > DEPTHWISE_LINES else ""

    return Space.around(with_threes(schedule), values, why_not)


def depthwise_kernel(conv: PackedConvOp, chunk: int = 0) -> ChannelwiseKernel:
    """The code of a depthwise convolution; ``chunk``: channels of its input that are there at a time."""
    known = Convolution.of(conv)
    return ChannelwiseKernel("depthwise", layout_of(conv.input_layout, conv.input),
                             lanes_of(conv.output_layout, conv), known.filters, known.activation,
                             known.residual, chunk)


def settled_tile(layer: PackedConvOp | PoolOp) -> Three:
    """The tile that is settled for a layer."""
    tile = schedule_of(layer).tile
    if tile is None:
        raise op_error(layer, "a complete schedule", "none for tile", "run sparse-schedule-tiles first")
    return three(tile)


def producer_by_chunk(layer: Any) -> PackedConvOp | None:
    """The convolution that writes the input of ``layer`` chunk by chunk, if that is so."""
    producer = layer.operation.operands[0].owner
    return producer if is_by_chunk(producer) else None


def is_by_chunk(layer: Any) -> bool:
    """Whether ``layer`` is a convolution that writes its output chunk by chunk, for its reader."""
    return isinstance(layer, PackedConvOp) and bool(schedule_of(layer).by_chunk)
