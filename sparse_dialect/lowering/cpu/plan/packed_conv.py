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
from ....dialect.schemes import scheme_of
from ....dialect.storages import storage_of
from ....errors import op_error
from ....geometry.convolution import Convolution
from ....geometry.layouts import LaneGrid, three
from ....geometry.window import ONES, Window
from ....ir.constants import weight_of
from ....ir.mlir import ir
from ....ir.values import integers, shape_of
from ....storage import ColumnGroups, DenseKernels, Fkw
from ....storage.chunks import thread_chunks
from ..kernels.column_groups import ColumnsKernel, columns_tables, emit_columns_kernel, unit_visits
from ..kernels.kernel_classes import ConvKernel, KernelClass, emit_conv_kernel
from .conv_plan import ConvPlan, cut, plan_conv, plane_shape, tables
from .tiles import choose_columns_tile, choose_tile


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

    def tables(self, plan: ConvPlan) -> list[np.ndarray]:
        """The i32 tables that come before the storage arrays among the kernel's operands."""
        own = columns_tables(self.kernel, plan) if isinstance(self.kernel, ColumnsKernel) else []
        return [*tables(plan), *own]

    def visits(self, conv: PackedConvOp, plan: ConvPlan) -> list[int]:
        """How often each class's loop body runs."""
        kernel, storage = self.kernel, list(conv.storage)
        if isinstance(kernel, ColumnsKernel):
            return unit_visits(kernel, plan, weight_of(conv, storage[0]))
        if kernel.dense:
            each = [kernel.channels * kernel.groups]
        else:  # stored kernels of each class, from the ``stride`` array [rows, classes + 1]
            stride = weight_of(conv, storage[2]).view(np.uint16).astype(np.int64)
            each = [int(runs) for runs in np.diff(stride, axis=1).sum(axis=0)]
        return [visits * len(plan.items) for visits in each]


def plan_packed_conv(conv: PackedConvOp, core: Core, by_chunk: bool = False) -> PlannedConv:
    """The kernel of ``conv``, not depthwise, on ``core``; ``by_chunk``: see ``fused_depthwise.py``."""
    target = layout_of(conv.output_layout, conv.output)
    if not isinstance(target, LaneGrid):
        raise op_error(conv, "a lane grid", "a row-major layout", "run sparse-assign-layouts first")
    source, attributes = layout_of(conv.input_layout, conv.input), conv.operation.attributes
    known, pooled = Convolution.of(conv), None
    window, pool = known.window, known.pool
    if pool != ONES:
        pooled = target.over([size // part for size, part in zip(target.image, pool, strict=True)])
    common = {"source": source, "target": target, "pooled": pooled, "channels": known.channels,
              "filters": known.filters, "activation": known.activation, "residual": known.residual,
              "by_chunk": by_chunk}
    tile = three(integers(attributes["tile"])) if "tile" in attributes else None
    kernel: ConvKernel | ColumnsKernel
    storage = storage_of(conv)
    if isinstance(storage, ColumnGroups):
        kernel, tile = _columns_kernel(conv, storage, common, window, core, tile)
    elif isinstance(storage, Fkw | DenseKernels):
        kernel, tile = _conv_kernel(conv, storage, known, common, core, tile)
    else:
        raise op_error(conv, "a storage that a micro-kernel reads", storage.name,
                       "pack it with sparse-compress-weights")
    plans = [plan_conv(source, target, window, part, origins, known.batch, pooled)
             for part, origins in cut(plane_shape(source, target, window, pooled), tile, pool).items()]
    return PlannedConv(kernel, tuple(plans))


def _columns_kernel(conv: PackedConvOp, storage: ColumnGroups, common: dict[str, Any], window: Window,
                    core: Core, tile: Any) -> tuple[ColumnsKernel, Any]:
    _, reorder, _, weight, *_ = list(conv.storage)
    units, unit, size = shape_of(weight)
    groups = shape_of(reorder)[0] // size
    kernel = ColumnsKernel(**common, channel_block=storage.channel_block or common["channels"],
                           chunks=_chunks(conv, groups, common["by_chunk"]), group_count=groups, size=size,
                           unit=unit, sub_tile=ONES)
    return choose_columns_tile(kernel, window, units, core, tile)


def _conv_kernel(conv: PackedConvOp, storage: Fkw | DenseKernels, known: Convolution, common: dict[str, Any],
                 core: Core, tile: Any) -> tuple[ConvKernel, Any]:
    channels, size = known.channels, storage.filters_per_group
    dense = isinstance(storage, DenseKernels)
    classes = tuple(KernelClass(terms) for terms in storage.classes(scheme_of(conv), known.kernel))
    block = storage.channel_block or channels if isinstance(storage, Fkw) else _channel_block(conv, channels)
    kernel = ConvKernel(**common, channel_block=block,
                        chunks=_chunks(conv, known.filters // size, common["by_chunk"]), group=size,
                        classes=classes, dense=dense, fetches=_fetches(conv, common, core))
    stored = channels * kernel.groups if dense else shape_of(list(conv.storage)[3])[0]
    return kernel, tile or choose_tile(kernel, known.window, stored, core)


def _fetches(conv: PackedConvOp, common: dict[str, Any], core: Core) -> bool:
    """Whether tiles mostly copy stored lines, of an input that lies beyond L2."""
    size = prod(shape_of(conv.input)[1:]) * ir.ShapedType(conv.input.type).element_type.width // 8
    return common["source"] == common["target"] and 0 < core.fetch_above < size


def _channel_block(conv: PackedConvOp, channels: int) -> int:
    attributes = conv.operation.attributes
    return ir.IntegerAttr(attributes["channel_block"]).value if "channel_block" in attributes else channels


def _chunks(conv: PackedConvOp, groups: int, by_chunk: bool) -> int:
    return ir.IntegerAttr(conv.operation.attributes["chunks"]).value if by_chunk else thread_chunks(groups)
