"""Matchers of ``sparse-raise-linalg``: which linalg op is a convolution or a matrix product.

A matcher reads one op and returns a ``Layer`` with its geometry, or None when the op has another form and
must stay in linalg. Nothing is rewritten here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...ir.mlir import ir
from ...ir.values import shape_of
from .epilogue import Epilogue
from .values import (
    RESHAPES,
    Weight,
    evaluate,
    filled_with,
    generic_maps,
    is_f32_tensor,
    linear_maps,
    multiplies_and_adds,
    owner,
    scalar_of,
    segments,
    weight_of,
)

CONVS = ("linalg.conv_1d_ncw_fcw", "linalg.conv_2d_nchw_fchw", "linalg.conv_3d_ncdhw_fcdhw")
GROUPED_CONVS = {"linalg.conv_2d_ngchw_gfchw": (0, 1, 2, 3, 4), "linalg.conv_2d_ngchw_fgchw": (1, 0, 2, 3, 4)}
DEPTHWISE_CONVS = ("linalg.depthwise_conv_1d_ncw_cw", "linalg.depthwise_conv_2d_nchw_chw",
                   "linalg.depthwise_conv_3d_ncdhw_cdhw")
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

    @property
    def is_of_a_pixel(self) -> bool:
        """Whether it is a 1x1 convolution of images of one pixel, as in squeeze-and-excitation: lanes along
        the image would stay empty."""
        image = shape_of(self.input.source)[2:]
        padded = any((*self.input.low, *self.input.high))
        return self.groups == 1 and not padded and {*image, *self.weight.array.shape[2:]} == {1}

    def as_matrix_product(self) -> Layer:
        """A convolution ``is_of_a_pixel`` with its weight as [M, K]; input and result keep their shapes."""
        array = self.weight.array
        return replace(self, weight=self.weight.viewed(array.reshape(array.shape[:2])), groups=0)


def match_layer(op: ir.Operation) -> Layer | None:
    """The convolution or matrix product that ``op`` computes with a constant weight; else None."""
    product = op.name == "linalg.matmul"
    if len(op.results) != 1 or not all(is_f32_tensor(v, product) for v in (*op.operands, op.results[0])):
        return None
    if op.name in CONVS or op.name in DEPTHWISE_CONVS:
        return _match_conv(op)
    if op.name in GROUPED_CONVS or op.name == "linalg.generic":
        return _match_grouped_conv(op)
    return _match_linear(op) if product else None


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

    Reads fills, splat constants (what becomes of a broadcast bias of zeros) and ``linalg.broadcast`` without
    expanding them.
    """
    op = owner(value)
    if op is None:
        return None
    if op.name in RESHAPES:
        return channel_bias(op.operands[0], channels)
    number = filled_with(value)
    if number is not None:
        return np.full(channels, number)
    if op.name == "linalg.broadcast":
        rank = len(shape_of(value))
        dims = tuple(ir.DenseI64ArrayAttr(op.attributes["dimensions"]))
        bias = evaluate(op.operands[0]) if dims == tuple(d for d in range(rank) if d != 1) else None
        return bias if bias is not None and bias.shape == (channels,) else None
    return None


def integers_of(op: ir.Operation, name: str, count: int) -> tuple[int, ...]:
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
    spatial = weight.array.ndim - 2
    strides, dilations = (integers_of(op, name, spatial) for name in ("strides", "dilations"))
    return _conv(op, op, padding_of(image, 0.0), weight, initial, groups, strides, dilations)


def _match_grouped_conv(op: ir.Operation) -> Layer | None:
    """Input [N, G, C, *image] expanded from [N, GC, *image]; output [N, G, F, *image] collapsed by its
    reader. A signal may have been made an image of width 1 in between."""
    geometry = _grouped_geometry(op)
    if geometry is None:
        return None
    order, strides, dilations = geometry
    (image, weight_value), (initial,) = segments(op)
    weight, expand, uses = weight_of(weight_value), owner(image), list(op.results[0].uses)
    if weight is None or expand is None or expand.name != "tensor.expand_shape" or len(uses) != 1:
        return None
    collapse, source = uses[0].owner.operation, padding_of(expand.operands[0], 0.0)
    if collapse.name != "tensor.collapse_shape":
        return None
    array = weight.array.transpose(order)
    groups, filters = array.shape[:2]
    batch, _, _, *output_size = shape_of(op.results[0])
    merged = array.reshape(groups * filters, *array.shape[2:])
    result = shape_of(collapse.results[0])
    if len(result) == merged.ndim - 1:
        signal = _without_width(source)
        if signal is None or merged.shape[-1] != 1 or output_size.pop() != 1:
            return None
        source, merged, strides, dilations = signal, merged[..., 0], strides[:-1], dilations[:-1]
    if len(shape_of(source.source)) != merged.ndim or result != [batch, groups * filters, *output_size]:
        return None
    if shape_of(source.source)[:2] != [batch, groups * merged.shape[1]]:
        return None
    return _conv(op, collapse, source, weight.viewed(merged), initial, groups, strides, dilations)


def _without_width(padded: Padded) -> Padded | None:
    """The signal [N, C, L] behind an unpadded last dimension of 1."""
    shape, expand = shape_of(padded.source), owner(padded.source)
    if len(shape) == 3:
        return padded
    known = expand is not None and expand.name == "tensor.expand_shape" and shape[-1] == 1
    if expand is None or not known or shape_of(expand.operands[0]) != shape[:-1]:
        return None
    if padded.low[-1] or padded.high[-1]:
        return None
    return Padded(expand.operands[0], padded.low[:-1], padded.high[:-1])


Geometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _grouped_geometry(op: ir.Operation) -> Geometry | None:
    """The axes of the weight that are [G, F, C, *kernel], strides and dilations of a grouped convolution."""
    if op.name in GROUPED_CONVS:
        return GROUPED_CONVS[op.name], integers_of(op, "strides", 2), integers_of(op, "dilations", 2)
    spatial = len(shape_of(op.results[0])) - 3
    if len(op.operands) != 3 or not 1 <= spatial <= 3 or not multiplies_and_adds(op):
        return None
    places, channel, taps = range(3, 3 + spatial), 3 + spatial, range(4 + spatial, 4 + 2 * spatial)
    whole = [[{loop: 1} for loop in loops]
             for loops in ((1, 2, channel, *taps), (0, 1, 2, *places))]
    image, *others = linear_maps(op)
    if image is None or others != whole or image[:3] != [{0: 1}, {1: 1}, {channel: 1}]:
        return None
    windows = [set(factors) for factors in image[3:]]
    if windows != [set(loops) for loops in zip(places, taps, strict=True)]:
        return None
    strides = tuple(factors[place] for factors, place in zip(image[3:], places, strict=True))
    dilations = tuple(factors[tap] for factors, tap in zip(image[3:], taps, strict=True))
    return tuple(range(3 + spatial)), strides, dilations


def _conv(op: ir.Operation, last: ir.Operation, image: Padded, weight: Weight, initial: ir.Value,
          groups: int, strides: tuple[int, ...], dilations: tuple[int, ...]) -> Layer | None:
    filters = weight.array.shape[0]
    bias = channel_bias(initial, filters)
    if bias is None:
        return None
    return Layer(op, last, last.results[0], image, weight, Epilogue.identity(filters, bias), strides,
                 dilations, groups)


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


__all__ = ["Layer", "Padded", "integers_of", "match_layer", "padding_of"]
