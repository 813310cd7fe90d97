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
from ....dialect.schemes import scheme_of
from ....dialect.storages import storage_of
from ....errors import op_error
from ....geometry.convolution import Convolution
from ....geometry.layouts import LaneGrid, three
from ....geometry.window import Window
from ....ir.constants import constant
from ....ir.mlir import ir
from ....ir.values import shape_of
from ....schedule.candidates import Space, Values
from ....schedule.schedule import Schedule
from ....schemes import Connectivity, Dense, Scheme, SharedColumns
from ....schemes.kernels import SingleWeights
from ....storage import ColumnGroups, DenseKernels, Fkw, Storage
from ....storage.chunks import thread_chunks
from ..kernel_calls import KernelCalls, Value, image_of
from ..kernels.column_groups import ColumnsKernel
from ..kernels.kernel_classes import ConvKernel
from ..plan.conv_plan import ConvPlan, plane_shape
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

SMALLEST_BLOCK = 8  # channels; fewer cost more visits than cache saves
SPARE_REGISTERS = 2  # beside accumulators: a weight and a line

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

    def stores(self, convolution: Convolution | None, scheme: Scheme, steps: bool) -> str | None:
        dense = isinstance(scheme, Dense)
        if convolution is None or isinstance(scheme, SharedColumns):
            return None
        if dense and convolution.kind == "depthwise":
            return None
        return DenseKernels.name if dense and convolution.kind == "plain" else Fkw.name

    def candidates(self, layer: PackedConvOp, schedule: Schedule, core: Core) -> list[Schedule]:
        kernel, schedule = self._begun(layer, schedule, core)
        if schedule.prefetch and kernel.mixed:
            raise op_error(layer, "a schedule without prefetch beside mixed kernels, which read packed lines",
                           "prefetch = true", "leave out prefetch or mixed")
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

    def space(self, layer: PackedConvOp, schedule: Schedule, core: Core) -> Space:
        kernel, known = self._begun(layer, schedule, core)[0], Convolution.of(layer)
        values: Values = {"filters_per_group": [kernel.group]}
        if known.kind == "plain":
            shares = kernel.dense or isinstance(scheme_of(layer), Connectivity | SingleWeights)
            values["filters_per_group"] = [n for n in (1, 2, 4) if shares and known.filters % n == 0]
            if not kernel.dense:
                values["channel_block"] = _blocks(known.channels)
        values |= _fused(schedule, kernel)
        values |= _sides("tile", kernel, known.window)
        if isinstance(kernel.source, LaneGrid) and not kernel.mixed:  # rows of an image are read as they come
            values["prefetch"] = [False, True]

        def why_not(found: Schedule) -> str:
            group = found.filters_per_group or kernel.group
            lines, limit = prod(found.tile or ()), max(1, (core.registers - SPARE_REGISTERS) // group)
            return f"{lines} lines for {group} filters do not fit in registers" if lines > limit else ""

        return Space.around(with_threes(schedule), values, why_not)

    @staticmethod
    def _begun(layer: PackedConvOp, schedule: Schedule, core: Core) -> tuple[ConvKernel, Schedule]:
        kernel, schedule = begun(layer, schedule, core)
        assert isinstance(kernel, ConvKernel)  # covers() saw the storage
        return kernel, schedule


class SharedColumnGroups(Convolutions):
    """Filters that share columns group by group."""

    name = "column_groups"
    storages = (ColumnGroups,)

    def stores(self, convolution: Convolution | None, scheme: Scheme, steps: bool) -> str | None:
        return ColumnGroups.name if convolution is not None and isinstance(scheme, SharedColumns) else None

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

    def space(self, layer: PackedConvOp, schedule: Schedule, core: Core) -> Space:
        kernel, known, scheme = self._begun(layer, schedule, core)[0], Convolution.of(layer), scheme_of(layer)
        together = scheme.channels_together if isinstance(scheme, SharedColumns) else 1
        values: Values = {"passes": [n for n in range(1, kernel.size + 1) if kernel.size % n == 0]}
        if known.kind == "plain":
            values["channel_block"] = [block for block in _blocks(known.channels) if block % together == 0]
        values |= _fused(schedule, kernel)
        values |= _sides("sub_tile", kernel, known.window) | _sides("tile", kernel, known.window, whole=True)

        def why_not(found: Schedule) -> str:
            limit = most_sub_lines(kernel, found.passes or 1, core)
            part, tile = found.sub_tile or (), found.tile or ()
            if prod(part) > limit:
                return f"{prod(part)} lines do not fit in registers"
            inside = all(a <= b for a, b in zip(part, tile, strict=True))
            return "" if inside else "the sub_tile is larger than the tile"

        return Space.around(with_threes(schedule), values, why_not)

    @staticmethod
    def _begun(layer: PackedConvOp, schedule: Schedule, core: Core) -> tuple[ColumnsKernel, Schedule]:
        kernel, schedule = begun(layer, schedule, core)
        assert isinstance(kernel, ColumnsKernel)  # covers() saw the storage
        return kernel, schedule


def _fused(schedule: Schedule, kernel: ConvKernel | ColumnsKernel) -> Values:
    """Of a convolution whose reader is depthwise: whether both run a chunk at a time, and how many chunks."""
    if not schedule.by_chunk:
        return {}
    several = [n for n in range(1, kernel.groups + 1) if kernel.groups % n == 0]
    own = several.index(schedule.chunks or 1) if schedule.chunks in several else 0
    return {"by_chunk": [False, True], "chunks": several[max(own - 2, 0):own + 3]}


def _sides(field: str, kernel: ConvKernel | ColumnsKernel, window: Window, whole: bool = False) -> Values:
    """The lengths of a tile's sides; ``whole``: those that cut the plane into near-equal parts."""
    shape = plane_shape(kernel.source, kernel.target, window, kernel.pooled)
    found: Values = {}
    for at, (size, unit) in enumerate(zip(shape, kernel.pool, strict=True)):
        several = list(range(unit, size + 1, unit))
        if whole:
            several = sorted({-(-size // unit // parts) * unit for parts in range(1, size // unit + 1)})
        found[f"{field}.{at}"] = several or [unit]
    return found


def _blocks(channels: int) -> list[int]:
    """Channels a block: divisors, thinned to steps of about 1.4."""
    found = [channels]
    for size in range(channels - 1, SMALLEST_BLOCK - 1, -1):
        if channels % size == 0 and size * 1.3 < found[-1]:
            found.append(size)
    return found


def with_threes(schedule: Schedule) -> Schedule:
    """``schedule`` with three sizes for every tile."""
    return replace(schedule, tile=three(schedule.tile or ()),
                   sub_tile=schedule.sub_tile and three(schedule.sub_tile))


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
    tables = [constant(table, "plan") for table in planned.tables(conv, plan)]
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
