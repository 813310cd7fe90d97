"""Reads layers as the GPU's kernels take them: the one module that knows packed ops.

A layer that no kernel covers is a ``PassError`` that names the op, its location and what would run.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dialect.schemes import scheme_of
from ...dialect.storages import packed_weight
from ...errors import op_error
from ...geometry.convolution import Convolution
from ...ir.constants import weight_of
from ...ir.mlir import ir
from ...ir.values import element_of, integers, shape_of
from ...schemes import Dense
from ...schemes.kernels import Kernels, KernelScheme
from .kernels.convolution import PatternConvolution
from .kernels.pixels import Pool, Product
from .layout import Flat, Layout, Rows

_LIMIT = 1 << 31  # index arithmetic is of 32 bits, signed


def layout_of_value(value: ir.Value, margin: int) -> Layout:
    """How a tensor of f32 lies: images as rows, matrices flat. Raises ``PassError`` for any other."""
    type_ = ir.RankedTensorType(value.type)
    owner = value.owner if not isinstance(value.owner, ir.Block) else value.owner.owner
    if str(element_of(type_)) != "f32" or not type_.has_static_shape or type_.rank not in (2, 3, 4):
        raise op_error(
            owner,
            "f32 tensors of two to four dimensions of fixed sizes",
            str(type_),
            "there is no GPU kernel for it; compile for a CPU",
        )
    shape = shape_of(value)
    if type_.rank == 2:
        return Flat(shape[0] * shape[1])
    height, width = ([1, *shape[2:]])[-2:]
    rows = Rows(shape[0] * shape[1], height, width, margin)
    if 16 * rows.vectors >= _LIMIT:
        raise op_error(owner, "tensors below 2 GiB", str(type_), "make the input smaller")
    return rows


def margin_of(layers: list[Any]) -> int:
    """The largest padding of any layer."""
    return max(
        (
            size
            for layer in layers
            if "padding_low" in layer.operation.attributes
            for size in (*integers(layer.padding_low), *integers(layer.padding_high))
        ),
        default=0,
    )


def _scheme_with_kernel(op: Any) -> Dense | KernelScheme:
    """The scheme of a convolution; ``PassError`` where no GPU kernel computes it."""
    scheme = scheme_of(op)
    rank = len(packed_weight(op).shape)
    if not isinstance(scheme, Dense | KernelScheme):
        raise op_error(
            op,
            "a dense, pattern or connectivity scheme",
            scheme.name,
            "there is no GPU kernel for it yet; compile for a CPU, or prune otherwise",
        )
    if rank not in (3, 4):
        raise op_error(
            op,
            "a convolution of one or two dimensions",
            f"one of {rank - 2}",
            "there is no GPU kernel for it yet; compile for a CPU",
        )
    if any(size != 1 for size in integers(op.pool)):
        raise op_error(
            op,
            "a convolution without a fused pool",
            f"a pool of {integers(op.pool)}",
            "leave the pool to sparse.pool",
        )
    return scheme


def convolution_of(op: Any, margin: int) -> tuple[PatternConvolution, dict[str, np.ndarray]]:
    """A packed convolution and the arrays of its kernel: ``rows``, ``index``, ``weight``, ``bias``."""
    scheme = _scheme_with_kernel(op)
    packed = packed_weight(op)
    shape = packed.shape
    conv, weight = Convolution.of(op), packed.unpack()
    source, target = layout_of_value(op.input, margin), layout_of_value(op.output, margin)
    residual = None if op.residual is None else layout_of_value(op.residual, margin)
    assert isinstance(source, Rows)
    assert isinstance(target, Rows)
    assert not isinstance(residual, Flat)
    flat_patterns = (tuple(range(int(np.prod(shape[2:])))),)
    library = flat_patterns if isinstance(scheme, Dense) else scheme.patterns(shape[2:])
    kept = _all_kernels(weight) if isinstance(scheme, Dense) else scheme.kernels(weight)
    padding, dilation, stride = (
        [*fill, *integers(attribute)][-2:]
        for fill, attribute in (((0,), op.padding_low), ((1,), op.dilations), ((1,), op.strides))
    )
    width = shape[-1]
    patterns = tuple(
        tuple(
            (tap // width * dilation[0] - padding[0], tap % width * dilation[1] - padding[1])
            for tap in pattern
        )
        for pattern in library
    )
    arrays = _pack(weight, kept, library, source.plane, conv.filters // conv.groups)
    order = arrays["rows"][:, 0]
    bias = (
        np.zeros(conv.filters, np.float32) if op.bias is None else weight_of(op, op.bias).astype(np.float32)
    )
    layer = PatternConvolution(
        source,
        target,
        conv.filters,
        len(kept.filters),
        patterns,
        (stride[0], stride[1]),
        conv.activation,
        residual,
    )
    return layer, arrays | {"bias": bias[order]}


def linear_of(op: Any) -> tuple[Product, dict[str, np.ndarray]]:
    """A packed dense linear layer and its arrays: ``weight`` [K, M] and ``bias``."""
    if not isinstance(scheme_of(op), Dense):
        raise op_error(
            op,
            "a dense linear layer",
            scheme_of(op).name,
            "there is no GPU kernel for it yet; compile for a CPU, or leave it unpruned",
        )
    weight = packed_weight(op).unpack()
    bias = np.zeros(len(weight), np.float32) if op.bias is None else weight_of(op, op.bias).astype(np.float32)
    layer = Product(
        shape_of(op.input)[0], weight.shape[1], weight.shape[0], ir.StringAttr(op.activation).value
    )
    return layer, {"weight": np.ascontiguousarray(weight.T), "bias": bias}


def pool_of(op: Any, margin: int) -> Pool:
    """A pool of one or two dimensions."""
    source, target = layout_of_value(op.input, margin), layout_of_value(op.output, margin)
    assert isinstance(source, Rows)
    assert isinstance(target, Rows)
    kernel, stride, padding = (
        [*fill, *integers(attribute)][-2:]
        for fill, attribute in (((1,), op.kernel), ((1,), op.strides), ((0,), op.padding_low))
    )
    return Pool(
        source,
        target,
        ir.StringAttr(op.kind).value,
        (kernel[0], kernel[1]),
        (stride[0], stride[1]),
        (padding[0], padding[1]),
    )


def _all_kernels(weight: np.ndarray) -> Kernels:
    filters, channels = (axis.ravel() for axis in np.indices(weight.shape[:2]))
    return Kernels(filters, channels, np.zeros(len(filters), np.int64))


def _pack(
    weight: np.ndarray, kept: Kernels, library: tuple[tuple[int, ...], ...], plane: int, filters_a_group: int
) -> dict[str, np.ndarray]:
    """FKW as the kernel reads it: filters by length (FKR), kernels of a filter by pattern, then channel."""
    filters = weight.shape[0]
    order = np.argsort(-np.bincount(kept.filters, minlength=filters), kind="stable")
    place = np.empty(filters, np.int64)
    place[order] = np.arange(filters)
    sorted_ = np.lexsort((kept.channels, kept.patterns, place[kept.filters]))
    owner, channels, patterns = kept.filters[sorted_], kept.channels[sorted_], kept.patterns[sorted_]
    runs = np.zeros((filters, len(library)), np.int64)
    np.add.at(runs, (place[owner], patterns), 1)
    ends = np.cumsum(runs).reshape(runs.shape)
    rows = np.column_stack([order, ends[:, 0] - runs[:, 0], ends])
    values = np.zeros((max(len(owner), 1), max(map(len, library))), np.float32)
    dense = weight.reshape(*weight.shape[:2], -1)
    for number, pattern in enumerate(library):
        here = np.flatnonzero(patterns == number)
        values[here[:, None], np.arange(len(pattern))] = dense[
            owner[here, None], channels[here, None], list(pattern)
        ]
    index = (owner // filters_a_group * weight.shape[1] + channels) * plane
    return {
        "rows": rows.astype(np.int32),
        "index": np.resize(index, max(len(owner), 1)).astype(np.int32),
        "weight": values,
    }
