"""``sparse-compress-weights``: the dense constant gives way to the scheme's storage arrays.

    %w = arith.constant dense_resource<w> : tensor<256x256x3x3xf32>
    %y = "sparse.conv"(%x, %w, %b) {scheme = #sparse.pattern<...>, kernel = "sparse"}
    -> %y = "sparse.packed_conv"(%x, %offset, %reorder, %stride, %index, %weight, %b)
          {storage_names = ["offset", "reorder", "stride", "index", "weight"], weight_shape = [...], ...}

Convolutions: FKW a channel block (``storage/blocked_fkw.py``; PatDNN's FKW where there is one block),
groups of filters that share columns (``storage/column_groups.py``), or dense weights [F/G, C, terms].
Matrices of linear and recurrent layers: ``pack_matrices.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, prod
from typing import Any

import numpy as np

from ..devices.cores import REFERENCE, core_named
from ..dialect.layouts import PlainAttr
from ..dialect.ops import ConvOp
from ..dialect.packed import PackedConvOp, storage_operands
from ..dialect.recurrent import WEIGHTED
from ..dialect.schemes import scheme_of
from ..errors import op_error
from ..geometry.convolution import Convolution
from ..ir.constants import constant, weight_of
from ..ir.mlir import ir
from ..ir.values import i64, integer_array, string_array
from ..ir.walk import operations
from ..passes import Pass, PassContext, option
from ..schemes import Connectivity, Dense, SharedColumns
from ..storage.blocked_fkw import StoredKernels, pack_blocked
from ..storage.column_groups import pack_columns, ungrouped
from .pack_matrices import pack_matrix, packed_matrix


@dataclass(frozen=True)
class CompressWeightsPass(Pass):
    """
    Packs the weights of every convolution, linear and recurrent layer as their scheme and kernel ask; the
    dense constants go.

    Records the bytes before and after, index data apart, in `cost`.
    """

    name = "sparse-compress-weights"

    lanes: int = option(16, "vector lanes of the target: dense rows are stored so many at a time")
    core: str = option(REFERENCE, "the core that sparse matrices are stored for")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            for layer in operations(op, *WEIGHTED):
                weight = weight_of(layer, layer.weight)
                source = layer.weight.owner
                with layer.operation.location, ir.InsertionPoint(layer.operation):
                    packed: Any
                    if isinstance(layer, ConvOp):
                        arrays = self._pack_conv(layer, weight)
                        packed = _packed_conv(layer, arrays, weight.shape)
                    else:
                        arrays, slices = pack_matrix(layer, weight, self.lanes, core_named(self.core))
                        packed = packed_matrix(layer, arrays, slices, _layer_name(layer), _kernel(layer))
                _carry_over(layer, packed, weight, arrays, context)
                for old, new in zip(layer.operation.results, packed.operation.results, strict=True):
                    old.replace_all_uses_with(new)
                layer.operation.erase()
                if not list(source.results[0].uses):
                    source.erase()

    def _pack_conv(self, layer: ConvOp, weight: np.ndarray) -> dict[str, np.ndarray]:
        scheme, attributes = scheme_of(layer), layer.operation.attributes
        conv = Convolution.of(layer)
        places, groups = prod(conv.kernel), conv.groups
        group, block = (ir.IntegerAttr(attributes[name]).value if name in attributes else default
                        for name, default in (("filters_per_group", 1), ("channel_block", conv.channels)))
        if isinstance(scheme, Dense) and conv.kind != "grouped":
            return {"weight": pack_dense(weight, group)}
        if isinstance(scheme, SharedColumns):
            whole = ungrouped(weight, groups)
            shared = (_groups_in_order(layer, len(whole), group) if "filter_order" in attributes
                      else scheme.filter_groups(whole))
            return pack_columns(whole, shared, gcd(scheme.channels_together, block), block)
        if isinstance(scheme, Dense):  # each filter keeps its own group's channels
            scheme = Connectivity(conv.kernel)
            every = np.indices(weight.shape[:2]).reshape(2, -1)
            kernels = StoredKernels(every[0], every[1], np.zeros(every.shape[1], np.int64))
            order = np.arange(weight.shape[0])
        else:
            order = _filter_order(layer, weight.shape[0])
            kernels = scheme.stored_kernels(weight[order], group)
        return pack_blocked(weight, scheme.classes(places, group), kernels, order, group, block, groups)


def pack_dense(weight: np.ndarray, group: int) -> np.ndarray:
    """[F, C, *kernel] -> [F/group, C, places * group], the filters of a group innermost."""
    filters, channels = weight.shape[:2]
    packed = weight.reshape(filters // group, group, channels, -1).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(packed, np.float32).reshape(filters // group, channels, -1)


def _filter_order(layer: ConvOp, filters: int) -> np.ndarray:
    attributes = layer.operation.attributes
    if "filter_order" not in attributes:
        return np.arange(filters)
    return np.array(list(ir.DenseI32ArrayAttr(attributes["filter_order"])))


def _groups_in_order(layer: ConvOp, filters: int, group: int) -> np.ndarray:
    """The ``filter_order`` of a layer whose filters share columns, as [groups, group]."""
    order = _filter_order(layer, filters)
    if len(order) % group or set(order.tolist()) != set(range(filters)):
        raise op_error(layer, f"a filter_order of all {filters} filters in groups of {group}",
                       f"{order.tolist()}", "run sparse-reorder-filters")
    return order.reshape(-1, group)


def _packed_conv(layer: ConvOp, arrays: dict[str, np.ndarray], shape: tuple[int, ...]) -> PackedConvOp:
    attributes = layer.operation.attributes
    name = _layer_name(layer)
    shared = arrays["weight"].shape[-1] if isinstance(scheme_of(layer), SharedColumns) else 1
    known = "filters_per_group" in attributes
    group = attributes["filters_per_group"] if known else i64(shared)
    return PackedConvOp(
        input=layer.input, **storage_operands([constant(a, f"{name}.{key}") for key, a in arrays.items()]),
        storage_names=string_array(list(arrays)), weight_shape=integer_array(shape), strides=layer.strides,
        padding_low=layer.padding_low, padding_high=layer.padding_high, dilations=layer.dilations,
        groups=layer.groups,
        activation=layer.activation, scheme=layer.scheme, kernel=_kernel(layer), filters_per_group=group,
        pool=integer_array((1,) * len(shape[2:])),
        input_layout=PlainAttr.get(), output_layout=PlainAttr.get(), output=layer.output.type,
        bias=layer.bias,
        residual=layer.residual)


def _kernel(layer: Any) -> ir.StringAttr:
    """Which kernel was chosen; without ``sparse-select-kernels`` the scheme says it."""
    attributes = layer.operation.attributes
    return attributes["kernel"] if "kernel" in attributes else ir.StringAttr.get(
        "dense" if isinstance(scheme_of(layer), Dense) else "sparse")


def _layer_name(layer: Any) -> str:
    attributes = layer.operation.attributes
    return ir.StringAttr(attributes["layer"]).value if "layer" in attributes else "layer"


def _carry_over(layer: Any, packed: Any, weight: np.ndarray, arrays: dict[str, np.ndarray],
                context: PassContext) -> None:
    """Names, reasons and sizes move on to the packed op, for the report."""
    for key in ("layer", "reason", "detected", "channel_block", "tile"):
        if key in layer.operation.attributes:
            packed.operation.attributes[key] = layer.operation.attributes[key]
    total = sum(array.nbytes for array in arrays.values())
    cost = {"dense_bytes": weight.size * 4, "packed_bytes": total,
            "index_bytes": total - arrays["weight"].nbytes,
            "nonzeros": int(np.count_nonzero(weight)), "stored": arrays["weight"].size}
    packed.operation.attributes["cost"] = ir.DictAttr.get(
        {name: i64(value) for name, value in cost.items()})
    context.statistics["dense bytes"] += cost["dense_bytes"]
    context.statistics["packed bytes"] += cost["packed_bytes"]


