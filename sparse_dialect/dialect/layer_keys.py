"""What a tuner's database calls a layer: equal keys are layers that one schedule suits.

    conv 256x256x3x3 stride 1x1 padding 1x1 1x1 dilation 1x1 groups 1 on 1x256x56x56 relu, pattern(4, 8) 12%

Before weights are packed a key says shape, stride, what is fused, the scheme and the class of its mask; a
packed convolution's says also the lane grids around it and how its weight is cut up, which tiles depend on.
"""

from __future__ import annotations

from dataclasses import fields
from math import log, prod
from typing import Any

import numpy as np

from ..geometry.convolution import Convolution
from ..geometry.layouts import LaneGrid
from ..ir.constants import weight_of
from ..ir.mlir import ir
from ..ir.values import integers, shape_of
from ..schemes.scheme import Scheme
from .layouts import layout_of
from .ops import ConvOp
from .packed import PackedConvOp
from .recurrent import gates_of
from .schedules import record_of, schedule_of
from .schemes import scheme_of

STEP = 1.1  # densities of one class differ by less


def layer_key(op: Any) -> str:
    """The key of a convolution, linear or recurrent layer whose weight is not packed yet."""
    weight = weight_of(op, op.weight)
    mask = mask_class(scheme_of(op), int(np.count_nonzero(weight)), weight.size)
    if isinstance(op, ConvOp):
        return f"{_convolution(op, list(weight.shape), shape_of(op.input))}, {mask}"
    kind = op.operation.name.removeprefix("sparse.")
    type_ = ir.RankedTensorType((op.gates if gates_of(op) > 1 else op.input).type)
    rows = ["?" if type_.is_dynamic_dim(at) else type_.get_dim_size(at) for at in range(type_.rank)]
    return f"{kind} {_times(weight.shape)} on {_times(rows)}, {mask}"


def tile_key(op: PackedConvOp) -> str:
    """The key of a packed convolution on lane grids."""
    weight, record, schedule = integers(op.weight_shape), record_of(op), schedule_of(op)
    conv = Convolution.of(op)
    image = (conv.batch, conv.channels, *conv.source[3 - len(conv.kernel):])
    mask = mask_class(scheme_of(op), record.nonzeros, prod(weight))
    grids = " -> ".join(_grid(layout_of(at, value)) for at, value in (
        (op.input_layout, op.input), (op.output_layout, op.output)))
    pool = f" pool {_times(conv.pool)}" if prod(conv.pool) > 1 else ""
    chunk = " by chunk" if schedule.by_chunk else ""
    return (f"tile of {_convolution(op, weight, image)}, {mask}, {grids}{pool}{chunk}, "
            f"{schedule.storage or 'any'} group {schedule.filters_per_group} block {schedule.channel_block}")


def mask_class(scheme: Scheme, nonzeros: int, size: int) -> str:
    """The scheme's name and sizes, and the density in steps of STEP: masks that run alike."""
    facts = [getattr(scheme, field.name) for field in fields(scheme)]
    sizes = [str(len(fact) if isinstance(fact, tuple) else fact) for fact in facts]
    step = round(log(max(nonzeros, 1) / size) / log(STEP))
    return f"{scheme.name}({', '.join(sizes)}) {STEP ** step:.0%}"


def _convolution(op: Any, weight: list[int], image: Any) -> str:
    numbers = [("stride", op.strides), ("padding", op.padding_low), ("", op.padding_high),
               ("dilation", op.dilations)]
    sizes = " ".join(f"{name} {_times(integers(value))}".strip() for name, value in numbers)
    activation = ir.StringAttr(op.activation).value
    residual = " residual" if op.residual is not None else ""
    return (f"conv {_times(weight)} {sizes} groups {ir.IntegerAttr(op.groups).value} on {_times(image)} "
            f"{activation}{residual}")


def _grid(layout: Any) -> str:
    return f"{layout.lanes_high}x{layout.lanes_wide}" if isinstance(layout, LaneGrid) else "rows"


def _times(sizes: Any) -> str:
    return "x".join(map(str, sizes))
