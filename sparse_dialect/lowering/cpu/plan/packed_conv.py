"""Which kernel a ``sparse.packed_conv`` runs and how it is cut up: all about its code but the code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

from ....devices.cores import Core
from ....dialect.layouts import layout_of
from ....dialect.packed import PackedConvOp
from ....dialect.schedules import schedule_of
from ....dialect.schemes import scheme_of
from ....dialect.storages import storage_of
from ....errors import op_error
from ....geometry.convolution import Convolution
from ....geometry.layouts import LaneGrid, three
from ....geometry.window import ONES
from ....ir.constants import weight_of
from ....ir.mlir import ir
from ....ir.values import shape_of
from ....schedule.schedule import Schedule
from ....storage import ColumnGroups, DenseKernels, Fkw
from ....storage.storage import from_u16
from ..kernels.column_groups import ColumnsKernel, columns_tables, emit_columns_kernel, unit_visits
from ..kernels.kernel_classes import ConvKernel, KernelClass, emit_conv_kernel, mixed_lines
from .conv_plan import ConvPlan, cut, plan_conv, plane_shape, tables


@dataclass(frozen=True)
class PlannedConv:
    """One kernel, planned for each shape of its tiles."""

    kernel: ConvKernel | ColumnsKernel
    plans: tuple[ConvPlan, ...]

    def emitter(self, plan: ConvPlan) -> Callable[..., None]:
        """What emits the code of ``plan``: takes module, name, operand types and core."""
        if isinstance(self.kernel, ColumnsKernel):
            return partial(emit_columns_kernel, kernel=self.kernel, plan=plan)
        return partial(emit_conv_kernel, kernel=self.kernel, plan=plan)

    def tables(self, conv: PackedConvOp, plan: ConvPlan) -> list[np.ndarray]:
        """The integer tables that come before the storage arrays among the kernel's operands."""
        own = []
        if isinstance(self.kernel, ColumnsKernel):
            own = columns_tables(self.kernel, plan)
        elif self.kernel.mixed:
            stride, index = (weight_of(conv, array) for array in list(conv.storage)[2:4])
            own = [mixed_lines(self.kernel, plan, stride, index)]
        return [*tables(plan), *own]

    def visits(self, conv: PackedConvOp, plan: ConvPlan) -> list[int]:
        """How often each class's loop body runs."""
        kernel, storage = self.kernel, list(conv.storage)
        if isinstance(kernel, ColumnsKernel):
            return unit_visits(kernel, plan, weight_of(conv, storage[0]))
        if kernel.dense:
            each = [kernel.channels * kernel.groups]
        else:  # stored kernels of each class, from the ``stride`` array [rows, classes + 1]
            stride = from_u16(weight_of(conv, storage[2]))
            each = [int(runs) for runs in np.diff(stride, axis=1).sum(axis=0)]
        each = [sum(each)] if kernel.mixed else each
        return [visits * len(plan.items) for visits in each]


def plan_packed_conv(conv: PackedConvOp, core: Core) -> PlannedConv:
    """The kernel of ``conv``, not depthwise, on ``core``, as its schedule says; raises ``PassError`` where
    that leaves anything open."""
    schedule, known = schedule_of(conv), Convolution.of(conv)
    kernel = kernel_of(conv, core)
    columns = ("sub_tile", "passes") if isinstance(kernel, ColumnsKernel) else ()
    missing = schedule.missing("tile", "chunks", "prefetch", *columns)
    if missing:
        raise op_error(conv, "a complete schedule", f"none for {', '.join(missing)}",
                       "run sparse-schedule-tiles first")
    shape = plane_shape(kernel.source, kernel.target, known.window, kernel.pooled)
    plans = [plan_conv(kernel.source, kernel.target, known.window, part, origins, known.batch, kernel.pooled)
             for part, origins in cut(shape, three(schedule.tile or ONES), known.pool).items()]
    return PlannedConv(kernel, tuple(plans))


def kernel_of(conv: PackedConvOp, core: Core,
              schedule: Schedule | None = None) -> ConvKernel | ColumnsKernel:
    """The code of ``conv`` on ``core`` as far as ``schedule`` (none: its own) settles it; ones for the
    rest."""
    target = layout_of(conv.output_layout, conv.output)
    if not isinstance(target, LaneGrid):
        raise op_error(conv, "a lane grid", "a row-major layout", "run sparse-assign-layouts first")
    schedule, known, pooled = schedule or schedule_of(conv), Convolution.of(conv), None
    if known.pool != ONES:
        pooled = target.over([size // part for size, part in zip(target.image, known.pool, strict=True)])
    common = {"source": layout_of(conv.input_layout, conv.input), "target": target, "pooled": pooled,
              "channels": known.channels, "filters": known.filters, "activation": known.activation,
              "residual": known.residual, "by_chunk": bool(schedule.by_chunk),
              "channel_block": schedule.channel_block or known.channels, "chunks": schedule.chunks or 1}
    storage = storage_of(conv)
    if isinstance(storage, ColumnGroups):
        return _columns_kernel(conv, common, schedule)
    if isinstance(storage, Fkw | DenseKernels):
        return _conv_kernel(conv, storage, known, common, schedule)
    raise op_error(conv, "a storage that a micro-kernel reads", storage.name,
                   "pack it with sparse-compress-weights")


def _columns_kernel(conv: PackedConvOp, common: dict[str, Any], schedule: Schedule) -> ColumnsKernel:
    _, reorder, _, weight, *_ = list(conv.storage)
    _, unit, size = shape_of(weight)
    return ColumnsKernel(**common, group_count=shape_of(reorder)[0] // size, size=size, unit=unit,
                         sub_tile=three(schedule.sub_tile or ONES), passes=schedule.passes or 1)


def _conv_kernel(conv: PackedConvOp, storage: Fkw | DenseKernels, known: Convolution, common: dict[str, Any],
                 schedule: Schedule) -> ConvKernel:
    mixed = isinstance(storage, Fkw) and storage.mixed
    classes = tuple(KernelClass(terms) for terms in storage.classes(scheme_of(conv), known.kernel))
    return ConvKernel(**common, group=storage.filters_per_group, classes=classes,
                      dense=isinstance(storage, DenseKernels), mixed=mixed,
                      fetches=bool(schedule.prefetch))


def fetches(conv: PackedConvOp, kernel: ConvKernel | ColumnsKernel, core: Core) -> bool:
    """Whether tiles mostly copy stored lines, of an input that lies beyond L2."""
    size = prod(shape_of(conv.input)[1:]) * ir.ShapedType(conv.input.type).element_type.width // 8
    mixed = isinstance(kernel, ConvKernel) and kernel.mixed  # its table knows packed lines alone
    return not mixed and kernel.source == kernel.target and 0 < core.fetch_above < size
