"""``sparse-compress-weights``: the dense constant gives way to its storage's arrays.

    %w = arith.constant dense_resource<w> : tensor<256x256x3x3xf32>
    %y = "sparse.conv"(%x, %w, %b) {scheme = #sparse.pattern<...>, ...}
    -> %y = "sparse.packed_conv"(%x, %offset, %reorder, %stride, %index, %weight, %b)
          {packing = {storage = "fkw", channel_block = 32, ...}, weight_shape = [...],
           storage_names = ["offset", "reorder", "stride", "index", "weight"], ...}

The storages are in ``sparse_dialect/storage``; ``storage/choice.py`` says which one the layer's kernel reads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..devices.device import Device
from ..dialect.layouts import PlainAttr
from ..dialect.ops import ConvOp, LinearOp
from ..dialect.packed import PackedConvOp, PackedLinearOp, storage_operands
from ..dialect.recurrent import WEIGHTED, GruOp, PackedGruOp, PackedLstmOp, gates_of, inputs_of
from ..dialect.schedules import device_of, record_of, schedule_attribute, schedule_of, set_record
from ..dialect.schemes import scheme_of
from ..dialect.storages import storage_attribute
from ..errors import EspalierError, PassError, location_text
from ..ir.constants import constant, weight_of
from ..ir.mlir import ir
from ..ir.values import integer_array, string_array
from ..ir.walk import operations
from ..passes import Pass, PassContext
from ..schedule.record import Record
from ..schemes import Dense, SharedColumns
from ..storage import Packed, Storage
from ..storage.choice import convolution_storage, matrix_storage
from ..storage.column_groups import ungrouped

Order = np.ndarray | None


@dataclass(frozen=True)
class CompressWeightsPass(Pass):
    """
    Packs the weights of every convolution, linear and recurrent layer as their scheme and kernel ask; the
    dense constants go.

    Records the bytes before and after, index data apart.
    """

    name = "sparse-compress-weights"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            device = device_of(op)
            known: dict[Any, Packed] = {}
            for layer in operations(op, *WEIGHTED):
                weight = weight_of(layer, layer.weight)
                source = layer.weight.owner
                key = (source.attributes["value"], layer.scheme, layer.schedule, layer.operation.name,
                       None if isinstance(layer, ConvOp) else inputs_of(layer),
                       getattr(layer, "groups", None))
                with layer.operation.location, ir.InsertionPoint(layer.operation):
                    packed = known.get(key) or _pack(layer, weight, device)
                    known[key] = packed
                    replacement = _packed_op(layer, packed)
                _record_cost(replacement, packed, record_of(layer), weight, context)
                for old, new in zip(layer.operation.results, replacement.operation.results, strict=True):
                    old.replace_all_uses_with(new)
                layer.operation.erase()
                if not list(source.results[0].uses):
                    source.erase()


def _pack(layer: Any, weight: np.ndarray, device: Device) -> Packed:
    """The weight of a layer in the storage that its kernel reads."""
    scheme = scheme_of(layer)
    if isinstance(layer, ConvOp):
        storage, order = _storage_of_convolution(layer, weight)
    else:
        schedule = schedule_of(layer)
        storage = matrix_storage(scheme, weight, device.lanes, device.costs, gates_of(layer),
                                 inputs_of(layer), (schedule.filters_per_group, schedule.window))
        order = None
    try:
        return storage.pack(weight, scheme, order)
    except EspalierError as error:
        raise PassError(f"'{layer.operation.name}' {error}",
                        location_text(layer.operation.location)) from None


def _storage_of_convolution(layer: ConvOp, weight: np.ndarray) -> tuple[Storage, Order]:
    """What ``layer`` is stored in, and the order of its filters where the storage does not find its own."""
    scheme, schedule = scheme_of(layer), schedule_of(layer)
    groups = ir.IntegerAttr(layer.groups).value
    order = None if schedule.filter_order is None else np.array(schedule.filter_order)
    if order is None and isinstance(scheme, SharedColumns):
        found = scheme.filter_groups(ungrouped(weight, groups))
        shared, order = found.shape[1], found.ravel()
    else:
        shared = schedule.filters_per_group or 1
    block = schedule.channel_block or weight.shape[1] * groups
    storage = convolution_storage(scheme, weight.shape, groups, shared, block, bool(schedule.mixed))
    return storage, None if isinstance(scheme, Dense) else order


def _packed_op(layer: Any, packed: Packed) -> Any:
    """The packed op of ``layer``, at the current insertion point."""
    name = record_of(layer).layer or "layer"
    arrays = [constant(array, f"{name}.{key}") for key, array in packed.arrays.items()]
    common: dict[str, Any] = {
        **storage_operands(arrays), "storage_names": string_array(list(packed.arrays)),
        "packing": storage_attribute(packed.storage), "weight_shape": integer_array(packed.shape),
        "scheme": layer.scheme, "schedule": layer.schedule, "bias": layer.bias,
        "output": layer.output.type}
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
    """A packed convolution; its filters are in their order, so its schedule has none."""
    shared: int = getattr(packed.storage, "filters_per_group", 1)
    schedule = replace(schedule_of(layer), filters_per_group=shared, filter_order=None)
    return PackedConvOp(
        input=layer.input, strides=layer.strides, padding_low=layer.padding_low,
        padding_high=layer.padding_high, dilations=layer.dilations, groups=layer.groups,
        activation=layer.activation,
        pool=integer_array((1,) * len(packed.shape[2:])), input_layout=PlainAttr.get(),
        output_layout=PlainAttr.get(), residual=layer.residual,
        **common | {"schedule": schedule_attribute(schedule)})


def _record_cost(op: Any, packed: Packed, record: Record, weight: np.ndarray, context: PassContext) -> None:
    """Sizes before and after, for the report, beside what is known already."""
    dense = weight.size * 4
    set_record(op, replace(record, dense_bytes=dense, packed_bytes=packed.bytes,
                           index_bytes=packed.index_bytes, nonzeros=int(np.count_nonzero(weight)),
                           stored=packed.stored))
    context.statistics["dense bytes"] += dense
    context.statistics["packed bytes"] += packed.bytes
