"""``sparse-compress-weights``: the dense constant gives way to its storage's arrays.

    %w = arith.constant dense_resource<w> : tensor<256x256x3x3xf32>
    %y = "sparse.conv"(%x, %w, %b) {scheme = #sparse.pattern<...>, kernel = "sparse"}
    -> %y = "sparse.packed_conv"(%x, %offset, %reorder, %stride, %index, %weight, %b)
          {packing = {storage = "fkw", channel_block = 32, ...}, weight_shape = [...],
           storage_names = ["offset", "reorder", "stride", "index", "weight"], ...}

The storages are in ``sparse_dialect/storage``; ``storage/choice.py`` says which one the layer's kernel reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..devices.cores import REFERENCE, core_named
from ..dialect.layouts import PlainAttr
from ..dialect.ops import ConvOp, LinearOp
from ..dialect.packed import PackedConvOp, PackedLinearOp, storage_operands
from ..dialect.recurrent import GRU_GATES, LSTM_GATES, WEIGHTED, GruOp, LstmOp, PackedGruOp, PackedLstmOp
from ..dialect.schemes import scheme_of
from ..dialect.storages import storage_attribute
from ..errors import EspalierError, PassError, location_text
from ..ir.constants import constant, weight_of
from ..ir.mlir import ir
from ..ir.values import i64, integer_array, string_array, text_of
from ..ir.walk import operations
from ..passes import Pass, PassContext, option
from ..schemes import Dense, SharedColumns
from ..storage import Packed, Storage
from ..storage.choice import convolution_storage, matrix_storage
from ..storage.column_groups import ungrouped
from ..storage.sell import few_inputs

Order = np.ndarray | None


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
                    packed = self._pack(layer, weight)
                    replacement = _packed_op(layer, packed)
                _carry_over(layer, replacement)
                _record_cost(replacement, packed, weight, context)
                for old, new in zip(layer.operation.results, replacement.operation.results, strict=True):
                    old.replace_all_uses_with(new)
                layer.operation.erase()
                if not list(source.results[0].uses):
                    source.erase()

    def _pack(self, layer: Any, weight: np.ndarray) -> Packed:
        """The weight of a layer in the storage that its kernel reads."""
        scheme = scheme_of(layer)
        if isinstance(layer, ConvOp):
            storage, order = _storage_of_convolution(layer, weight)
        else:
            gates = {LinearOp: 1, GruOp: GRU_GATES, LstmOp: LSTM_GATES}[type(layer)]
            many = isinstance(layer, LinearOp) and _many(layer, self.lanes)
            storage = matrix_storage(scheme, weight, self.lanes, core_named(self.core), gates, many)
            order = None
        try:
            return storage.pack(weight, scheme, order)
        except EspalierError as error:
            raise PassError(f"'{layer.operation.name}' {error}",
                            location_text(layer.operation.location)) from None


def _storage_of_convolution(layer: ConvOp, weight: np.ndarray) -> tuple[Storage, Order]:
    """What ``layer`` is stored in, and the order of its filters where the storage does not find its own."""
    scheme, attributes = scheme_of(layer), layer.operation.attributes
    groups = ir.IntegerAttr(layer.groups).value
    order = _filter_order(layer)
    if order is None and isinstance(scheme, SharedColumns):
        found = scheme.filter_groups(ungrouped(weight, groups))
        shared, order = found.shape[1], found.ravel()
    else:
        shared = _integer(attributes, "filters_per_group", 1)
    block = _integer(attributes, "channel_block", weight.shape[1] * groups)
    storage = convolution_storage(scheme, weight.shape, groups, shared, block)
    return storage, None if isinstance(scheme, Dense) else order


def _filter_order(layer: ConvOp) -> Order:
    attributes = layer.operation.attributes
    if "filter_order" not in attributes:
        return None
    return np.array(list(ir.DenseI32ArrayAttr(attributes["filter_order"])))


def _many(layer: LinearOp, lanes: int) -> bool:
    """Whether so many inputs share the weights that vectors run along them; time steps of a number that only
    the run knows are taken for many."""
    inputs = ir.RankedTensorType(layer.input.type)
    return bool(inputs.is_dynamic_dim(0) or inputs.shape[0] >= few_inputs(lanes))


def _packed_op(layer: Any, packed: Packed) -> Any:
    """The packed op of ``layer``, at the current insertion point."""
    name = text_of(layer.operation.attributes, "layer") or "layer"
    arrays = [constant(array, f"{name}.{key}") for key, array in packed.arrays.items()]
    common: dict[str, Any] = {
        **storage_operands(arrays), "storage_names": string_array(list(packed.arrays)),
        "packing": storage_attribute(packed.storage), "weight_shape": integer_array(packed.shape),
        "scheme": layer.scheme, "kernel": _kernel(layer), "bias": layer.bias, "output": layer.output.type}
    match layer:
        case ConvOp():
            return _packed_conv(layer, packed, common)
        case LinearOp():
            return PackedLinearOp(input=layer.input, activation=layer.activation, **common)
        case GruOp():
            return PackedGruOp(gates=layer.gates, initial=layer.initial, direction=layer.direction, **common)
    return PackedLstmOp(gates=layer.gates, initial=layer.initial, direction=layer.direction, cell=layer.cell,
                        final_cell=layer.final_cell.type, **common)


def _packed_conv(layer: ConvOp, packed: Packed, common: dict[str, Any]) -> PackedConvOp:
    shared: int = getattr(packed.storage, "filters_per_group", 1)
    return PackedConvOp(
        input=layer.input, strides=layer.strides, padding_low=layer.padding_low,
        padding_high=layer.padding_high, dilations=layer.dilations, groups=layer.groups,
        activation=layer.activation, filters_per_group=i64(shared),
        pool=integer_array((1,) * len(packed.shape[2:])), input_layout=PlainAttr.get(),
        output_layout=PlainAttr.get(), residual=layer.residual, **common)


def _integer(attributes: Any, name: str, default: int) -> int:
    return ir.IntegerAttr(attributes[name]).value if name in attributes else default


def _kernel(layer: Any) -> ir.StringAttr:
    """Which kernel was chosen; without ``sparse-select-kernels`` the scheme says it."""
    attributes = layer.operation.attributes
    return attributes["kernel"] if "kernel" in attributes else ir.StringAttr.get(
        "dense" if isinstance(scheme_of(layer), Dense) else "sparse")


def _carry_over(layer: Any, packed: Any) -> None:
    """Names, reasons and the schedule move on to the packed op."""
    for key in ("layer", "reason", "detected", "channel_block", "tile"):
        if key in layer.operation.attributes:
            packed.operation.attributes[key] = layer.operation.attributes[key]


def _record_cost(op: Any, packed: Packed, weight: np.ndarray, context: PassContext) -> None:
    """Sizes before and after, for the report."""
    cost = {"dense_bytes": weight.size * 4, "packed_bytes": packed.bytes, "index_bytes": packed.index_bytes,
            "nonzeros": int(np.count_nonzero(weight)), "stored": packed.stored}
    op.operation.attributes["cost"] = ir.DictAttr.get({name: i64(value) for name, value in cost.items()})
    context.statistics["dense bytes"] += cost["dense_bytes"]
    context.statistics["packed bytes"] += cost["packed_bytes"]
