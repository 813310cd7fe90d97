"""Convolutions whose tiles' input is packed: ``kernel_classes``, and ``column_groups`` where filters share
columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any, ClassVar

import numpy as np

from ....devices.cores import Core
from ....dialect.packed import PackedConvOp
from ....dialect.storages import storage_of
from ....errors import op_error
from ....geometry.convolution import Convolution
from ....geometry.layouts import three
from ....ir.constants import constant
from ....ir.mlir import ir
from ....ir.values import shape_of
from ....schedule.schedule import Schedule
from ....storage import ColumnGroups, DenseKernels, Fkw, Storage
from ....storage.chunks import thread_chunks
from ..kernel_calls import KernelCalls, Value, image_of
from ..kernels.column_groups import ColumnsKernel
from ..kernels.kernel_classes import ConvKernel
from ..plan.conv_plan import ConvPlan
from ..plan.packed_conv import PlannedConv, fetches, kernel_of, plan_packed_conv
from ..plan.tiles import (
    columns_candidates,
    columns_cost,
    most_lines,
    most_sub_lines,
    tile_candidates,
    tile_cost,
)
from .family import KernelFamily


class Convolutions(KernelFamily):
    """What both have in common: their storages, and a kernel and its call for each shape of tiles."""

    storages: ClassVar[tuple[type[Storage], ...]]

    def covers(self, layer: Any) -> str:
        if not isinstance(layer, PackedConvOp):
            return "no convolution"
        storage = storage_of(layer)
        return "" if isinstance(storage, self.storages) else f"weights kept as {storage.name}"

    def plan(self, layer: PackedConvOp, core: Core) -> PlannedConv:
        return plan_packed_conv(layer, core)

    def emit(self, layer: PackedConvOp, plan: PlannedConv, calls: KernelCalls) -> list[Value]:
        kernel, output = plan.kernel, calls.allocate(layer.output)
        for part in plan.plans:
            calls.reserve(kernel.scratch_lines(part) * kernel.target.lanes, layer.output)
            call = calls.call("conv", (kernel, part.code), conv_operands(layer, plan, part, output),
                              len(part.items) * kernel.chunks, layer, plan.emitter(part))
            count_visits(call, layer, plan, part)
        return [calls.tensor(output, layer.output.type)]


class KernelClasses(Convolutions):
    """Kernels of classes: patterns, full kernels, and 1x1 kernels that some filters share."""

    name = "kernel_classes"
    storages = (Fkw, DenseKernels)

    def covers(self, layer: Any) -> str:
        why = super().covers(layer)
        if why or isinstance(storage_of(layer), Fkw):
            return why
        kind = Convolution.of(layer).kind
        return "" if kind == "plain" else f"full kernels of a {kind} convolution"

    def candidates(self, layer: PackedConvOp, schedule: Schedule, core: Core) -> list[Schedule]:
        kernel, schedule = self._begun(layer, schedule, core)
        schedule = schedule.filled(prefetch=fetches(layer, kernel, core))
        if schedule.tile is None:
            window = Convolution.of(layer).window
            return [replace(schedule, tile=tile) for tile in tile_candidates(kernel, window, core)]
        limit = most_lines(kernel, core)
        if prod(schedule.tile) > limit:
            raise op_error(layer, f"a schedule with a tile of at most {limit} lines, what registers hold",
                           f"{list(schedule.tile)}", "correct or leave out tile")
        return [schedule]

    def cost(self, layer: PackedConvOp, schedule: Schedule, core: Core) -> Callable[[Schedule], float]:
        kernel, window = self._begun(layer, schedule, core)[0], Convolution.of(layer).window
        stored = kernel.channels * kernel.groups if kernel.dense else shape_of(list(layer.storage)[3])[0]
        return lambda choice: core.seconds(
            tile_cost(kernel, window, stored, three(choice.tile or ()), core))

    @staticmethod
    def _begun(layer: PackedConvOp, schedule: Schedule, core: Core) -> tuple[ConvKernel, Schedule]:
        kernel, schedule = begun(layer, schedule, core)
        assert isinstance(kernel, ConvKernel)  # covers() saw the storage
        return kernel, schedule


class SharedColumnGroups(Convolutions):
    """Filters that share columns group by group."""

    name = "column_groups"
    storages = (ColumnGroups,)

    def candidates(self, layer: PackedConvOp, schedule: Schedule, core: Core) -> list[Schedule]:
        kernel, schedule = self._begun(layer, schedule, core)
        schedule = schedule.filled(prefetch=False)
        passes = schedule.passes or 1
        if kernel.size % passes:
            raise op_error(layer, f"a schedule with passes that divide {kernel.size} filters a group",
                           str(passes), "correct or leave out passes")
        limit = most_sub_lines(kernel, passes, core)
        if schedule.sub_tile is not None and prod(schedule.sub_tile) > limit:
            raise op_error(layer, f"a schedule with a sub_tile of at most {limit} lines, what registers hold",
                           f"{list(schedule.sub_tile)}", "correct or leave out sub_tile")
        window = Convolution.of(layer).window
        tile = None if schedule.tile is None else three(schedule.tile)
        return [schedule.filled(sub_tile=part, passes=passes, tile=whole)
                for part, passes, whole in columns_candidates(kernel, window, core, tile)]

    def cost(self, layer: PackedConvOp, schedule: Schedule, core: Core) -> Callable[[Schedule], float]:
        kernel, window = self._begun(layer, schedule, core)[0], Convolution.of(layer).window
        units = shape_of(list(layer.storage)[3])[0]

        def seconds(choice: Schedule) -> float:
            sizes = three(choice.sub_tile or ()), choice.passes or 1, three(choice.tile or ())
            return core.seconds(columns_cost(kernel, window, units, sizes, core))

        return seconds

    @staticmethod
    def _begun(layer: PackedConvOp, schedule: Schedule, core: Core) -> tuple[ColumnsKernel, Schedule]:
        kernel, schedule = begun(layer, schedule, core)
        assert isinstance(kernel, ColumnsKernel)  # covers() saw the storage
        return kernel, schedule


def begun(conv: PackedConvOp, schedule: Schedule, core: Core) -> tuple[ConvKernel | ColumnsKernel, Schedule]:
    """The kernel as far as it is settled, and the schedule with what needs no choice among candidates."""
    schedule = schedule.filled(filters_per_group=1, channel_block=Convolution.of(conv).channels,
                               by_chunk=False)
    kernel = kernel_of(conv, core, schedule)
    return kernel, schedule.filled(chunks=thread_chunks(kernel.groups))


def conv_operands(conv: PackedConvOp, planned: PlannedConv, plan: ConvPlan,
                  output: Value | None) -> list[Any]:
    """The operands of the kernel of ``plan``; ``output`` is None where it is a chunk in scratch."""
    bias, residual = bias_and_residual(conv)
    tables = [constant(table, "plan") for table in planned.tables(plan)]
    return [image_of(conv.input, planned.kernel.source), output, *residual, bias, *tables, *conv.storage]


def bias_and_residual(conv: PackedConvOp) -> tuple[Value, list[Value]]:
    """The bias, zeros where there is none; and the residual, if any."""
    bias = conv.bias
    if bias is None:
        bias = constant(np.zeros(Convolution.of(conv).filters, np.float32), "bias")
    return bias, [] if conv.residual is None else [conv.residual]


def count_visits(call: ir.Operation, conv: PackedConvOp, planned: PlannedConv, plan: ConvPlan) -> None:
    """Notes how often each class's loop body of ``call`` runs, for the count of loads."""
    call.attributes["espalier.visits"] = ir.DenseI64ArrayAttr.get(planned.visits(conv, plan))
