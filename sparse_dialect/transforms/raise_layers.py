"""Matchers of ``sparse-raise-linalg``: which linalg op is a convolution, a matrix product or a pool.

A matcher reads one op and returns a ``Layer`` or a ``Pool`` with its geometry, or None when the op has
another form and must stay in linalg. Nothing is rewritten here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..mlir import ir
from .raise_epilogue import Epilogue
from .raise_values import (
    RESHAPES,
    Weight,
    evaluate,
    generic_maps,
    is_f32_tensor,
    owner,
    scalar_of,
    segments,
    shape_of,
    weight_of,
)

CONVS = ("linalg.conv_1d_ncw_fcw", "linalg.conv_2d_nchw_fchw", "linalg.conv_3d_ncdhw_fcdhw")
GROUPED_CONVS = {"linalg.conv_2d_ngchw_gfchw": (0, 1, 2, 3, 4), "linalg.conv_2d_ngchw_fgchw": (1, 0, 2, 3, 4)}
DEPTHWISE_CONVS = ("linalg.depthwise_conv_1d_ncw_cw", "linalg.depthwise_conv_2d_nchw_chw",
                   "linalg.depthwise_conv_3d_ncdhw_cdhw")
POOLS = {"linalg.pooling_nchw_max": "max", "linalg.pooling_nchw_sum": "average"}
MAX_WINDOW = 64  # a pool's code is unrolled over its window: larger ones stay loops, but for means of images
ROW_BY_COLUMN = [(0, 2), (2, 1), (0, 1)]  # indexing maps of x[N, K] @ w[K, M]
ROW_BY_ROW = [(0, 2), (1, 2), (0, 1)]  # x[N, K] @ w[M, K].T


@dataclass(frozen=True)
class Padded:
    """A tensor and the padding in front of its reader, one number a spatial dimension."""

    source: ir.Value
    low: tuple[int, ...]
    high: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A convolution (``groups`` >= 1) or a matrix product (``groups`` = 0), before its epilogue is read.

    ``weight.array`` is [F, C/groups, *kernel] or [M, K]; ``result`` is [N, F, ...], and ``last`` computes it.
    """

    root: ir.Operation
    last: ir.Operation
    result: ir.Value
    input: Padded
    weight: Weight
    epilogue: Epilogue
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    groups: int = 0


@dataclass(frozen=True)
class Pool:
    """A pool before its division: ``result`` holds maxima, or sums of windows of ``kernel``."""

    root: ir.Operation
    result: ir.Value
    input: Padded
    kind: str
    kernel: tuple[int, ...]
    strides: tuple[int, ...]


def match_layer(op: ir.Operation) -> Layer | None:
    """The convolution or matrix product that ``op`` computes with a constant weight; else None."""
    if len(op.results) != 1 or not all(is_f32_tensor(v) for v in (*op.operands, op.results[0])):
        return None
    if op.name in CONVS or op.name in DEPTHWISE_CONVS:
        return _match_conv(op)
    if op.name in GROUPED_CONVS:
        return _match_grouped_conv(op)
    return _match_linear(op) if op.name == "linalg.matmul" else None


def match_pool(op: ir.Operation) -> Pool | None:
    """The 2-D pool that ``op`` begins (a named pool, or a sum over all of H and W); else None."""
    if op.name not in POOLS and op.name != "linalg.generic":
        return None
    if len(op.results) != 1 or not all(is_f32_tensor(v) for v in (*op.operands, op.results[0])):
        return None
    return _match_global_sum(op) if op.name == "linalg.generic" else _match_window(op)


def padding_of(value: ir.Value, fill: float) -> Padded:
    """Looks through the ``tensor.pad`` ops that put ``fill`` around the spatial dimensions of ``value``."""
    spatial = len(shape_of(value)) - 2
    low, high = (0,) * spatial, (0,) * spatial
    while (op := owner(value)) is not None and op.name == "tensor.pad" and len(op.operands) == 1:
        before, after = (tuple(ir.DenseI64ArrayAttr(op.attributes[f"static_{side}"]))
                         for side in ("low", "high"))
        body = list(op.regions[0].blocks[0].operations)
        number = scalar_of(body[0].operation.operands[0]) if len(body) == 1 else None
        if number != fill or any(before[:2] + after[:2]) or min(before + after) < 0:
            break
        low = tuple(a + b for a, b in zip(low, before[2:], strict=True))
        high = tuple(a + b for a, b in zip(high, after[2:], strict=True))
        value = op.operands[0]
    return Padded(value, low, high)


def channel_bias(value: ir.Value, channels: int) -> np.ndarray | None:
    """The start of an accumulation as f64 [channels], when it is constant along every other axis; else None.

    Reads ``linalg.fill`` and ``linalg.broadcast`` without expanding them.
    """
    op = owner(value)
    if op is None:
        return None
    if op.name in RESHAPES:
        return channel_bias(op.operands[0], channels)
    if op.name == "linalg.fill":
        number = scalar_of(op.operands[0])
        return None if number is None else np.full(channels, number)
    if op.name == "linalg.broadcast":
        rank = len(shape_of(value))
        dims = tuple(ir.DenseI64ArrayAttr(op.attributes["dimensions"]))
        bias = evaluate(op.operands[0]) if dims == tuple(d for d in range(rank) if d != 1) else None
        return bias if bias is not None and bias.shape == (channels,) else None
    return None


def _integers(op: ir.Operation, name: str, count: int) -> tuple[int, ...]:
    """A ``strides`` or ``dilations`` attribute; absent means 1."""
    if name not in op.attributes:
        return (1,) * count
    return tuple(int(v) for v in op.attributes[name])


def _match_conv(op: ir.Operation) -> Layer | None:
    (image, weight_value), (initial,) = segments(op)
    weight = weight_of(weight_value)
    if weight is None:
        return None
    groups = 1
    if op.name in DEPTHWISE_CONVS:  # [C, *kernel] -> [C, 1, *kernel]
        groups, weight = weight.array.shape[0], weight.viewed(weight.array[:, None])
    return _conv(op, op, image, weight, initial, groups)


def _match_grouped_conv(op: ir.Operation) -> Layer | None:
    """Input [N, G, C, H, W] expanded from [N, GC, H, W]; output [N, G, F, H, W] collapsed by its reader."""
    (image, weight_value), (initial,) = segments(op)
    weight, expand, uses = weight_of(weight_value), owner(image), list(op.results[0].uses)
    if weight is None or expand is None or expand.name != "tensor.expand_shape" or len(uses) != 1:
        return None
    collapse = uses[0].owner.operation
    batch, groups, channels, *input_size = shape_of(image)
    _, _, filters, *output_size = shape_of(op.results[0])
    if collapse.name != "tensor.collapse_shape":
        return None
    if shape_of(expand.operands[0]) != (batch, groups * channels, *input_size):
        return None
    if shape_of(collapse.results[0]) != (batch, groups * filters, *output_size):
        return None
    array = weight.array.transpose(GROUPED_CONVS[op.name])
    merged = weight.viewed(array.reshape(groups * filters, *array.shape[2:]))
    return _conv(op, collapse, expand.operands[0], merged, initial, groups)


def _conv(op: ir.Operation, last: ir.Operation, image: ir.Value, weight: Weight, initial: ir.Value,
          groups: int) -> Layer | None:
    filters, spatial = weight.array.shape[0], weight.array.ndim - 2
    bias = channel_bias(initial, filters)
    if bias is None:
        return None
    return Layer(op, last, last.results[0], padding_of(image, 0.0), weight, Epilogue.identity(filters, bias),
                 _integers(op, "strides", spatial), _integers(op, "dilations", spatial), groups)


def _match_linear(op: ir.Operation) -> Layer | None:
    """x[N, K] @ w[K, M] or, by its indexing maps, x[N, K] @ w[M, K].T, both with a constant w."""
    (rows, weight_value), (initial,) = segments(op)
    maps = generic_maps(op) if "indexing_maps" in op.attributes else ROW_BY_COLUMN
    weight = weight_of(weight_value)
    if weight is None or maps not in (ROW_BY_COLUMN, ROW_BY_ROW):
        return None
    if maps == ROW_BY_COLUMN:
        weight = weight.viewed(weight.array.T)
    columns = weight.array.shape[0]
    bias = channel_bias(initial, columns)
    if bias is None:
        return None
    return Layer(op, op, op.results[0], Padded(rows, (), ()), weight, Epilogue.identity(columns, bias))


def _match_window(op: ir.Operation) -> Pool | None:
    (image, window), (initial,) = segments(op)
    kind = POOLS[op.name]
    fill = -math.inf if kind == "max" else 0.0
    start = owner(initial)
    if start is None or start.name != "linalg.fill" or scalar_of(start.operands[0]) != fill:
        return None
    if any(d != 1 for d in _integers(op, "dilations", 2)):
        return None
    pool = Pool(op, op.results[0], padding_of(image, fill), kind, shape_of(window),
                _integers(op, "strides", 2))
    whole = kind == "average" and pool.kernel == shape_of(pool.input.source)[2:]
    return pool if whole or math.prod(pool.kernel) <= MAX_WINDOW else None


def _match_global_sum(op: ir.Operation) -> Pool | None:
    """The sum of [N, C, H, W] over H and W into [N, C] or [N, C, 1, 1]."""
    inputs, outputs = segments(op)
    maps = generic_maps(op)
    if len(inputs) != 1 or maps not in ([(0, 1, 2, 3), (0, 1)], [(0, 1, 2, 3), (0, 1, None, None)]):
        return None
    start = owner(outputs[0])
    if start is None or start.name != "linalg.fill" or scalar_of(start.operands[0]) != 0.0:
        return None
    block = op.regions[0].blocks[0]
    body = [view.operation for view in block.operations]
    if [o.name for o in body] != ["arith.addf", "linalg.yield"]:
        return None
    if set(body[0].operands) != set(block.arguments) or body[1].operands[0] != body[0].results[0]:
        return None
    kernel = shape_of(inputs[0])[2:]
    return Pool(op, op.results[0], Padded(inputs[0], (0, 0), (0, 0)), "average", kernel, (1, 1))


__all__ = ["Layer", "Pool", "match_layer", "match_pool"]
