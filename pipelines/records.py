"""What the report shows of a compilation, read off the IR where it stands there: a record a layer after the
stage that packs it, its loads after LRE, statements and messages when the work is shared out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from math import prod
from typing import Any

from ..files import CALIBRATION, configuration_folder
from ..runtime.abi import FREE
from ..runtime.records import LayerRecord, StatementRecord, TensorSpec
from ..sparse_dialect.devices.calibration import calibrations
from ..sparse_dialect.devices.device import Device
from ..sparse_dialect.dialect.network import network_device
from ..sparse_dialect.dialect.packed import PackedConvOp
from ..sparse_dialect.dialect.recurrent import PACKED_LAYERS, inputs_of
from ..sparse_dialect.dialect.schedules import record_of, schedule_of
from ..sparse_dialect.dialect.schemes import scheme_of
from ..sparse_dialect.dialect.storages import storage_of
from ..sparse_dialect.errors import op_error
from ..sparse_dialect.geometry.convolution import Convolution
from ..sparse_dialect.ir.mlir import bindings, ir
from ..sparse_dialect.ir.values import integers, strings, text_of
from ..sparse_dialect.ir.walk import operations
from ..sparse_dialect.lowering.reference.coverage import RECORD
from ..sparse_dialect.schedule.cost_model import convolution_ms, matrix_ms
from ..sparse_dialect.schedule.record import Record
from ..sparse_dialect.schemes import Dense, Pattern
from .target import Target

func: Any = bindings("dialects.func")
memref: Any = bindings("dialects.memref")


@dataclass
class Records:
    """What is known of a compilation so far; stages' hooks add to it."""

    target: Target
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    layers: list[LayerRecord] = field(default_factory=list)
    statements: list[StatementRecord] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def read_layers(self, root: ir.Operation) -> None:
        """After layers are packed: a record of each."""
        self.layers = [*_reference_records(root), *_layer_records(root, self.target)]

    def read_calls(self, root: ir.Operation) -> None:
        """After LRE: the layers' kernels, and their loads."""
        self.layers = _with_calls(root, self.layers)

    def read_statements(self, root: ir.Operation) -> None:
        """After the work is shared out and memory planned: what stamps and failures stand for."""
        self.labels, self.messages = (strings(root.attributes[f"espalier.{name}"])
                                      for name in ("labels", "messages"))
        self.statements = _statements(root)
        if any(FREE in spec.shape for spec in self.inputs):
            _check_planned(root)

    def manifest(self, sizes: dict[str, int]) -> dict[str, Any]:
        """The compiled model's manifest; ``sizes``: what its code needs, in ``entry.SIZES``' units."""
        lists = {name: [asdict(entry) for entry in getattr(self, name)]
                 for name in ("inputs", "outputs", "layers", "statements")}
        return {"target": asdict(self.target), "inputs": lists["inputs"], "outputs": lists["outputs"],
                "layers": lists["layers"], "labels": self.labels, "statements": lists["statements"],
                "messages": self.messages, "sizes": sizes}


def _statements(root: ir.Operation) -> list[StatementRecord]:
    """What the labels of stamps stand for (``sparse-distribute-work``)."""
    found = []
    for entry in ir.ArrayAttr(root.attributes["espalier.statements"]):
        known = ir.DictAttr(entry)
        texts = {name: ir.StringAttr(known[name]).value for name in ("label", "name", "op", "kind", "reason")}
        found.append(StatementRecord(**texts, shared=ir.BoolAttr(known["shared"]).value))
    return found


def _check_planned(root: ir.Operation) -> None:
    """Raises ``EspalierError`` for a buffer that grows otherwise than with the number of time steps."""
    for allocation in operations(root, memref.AllocOp):
        type_ = ir.MemRefType(allocation.memref.type)
        if not type_.has_static_shape:
            raise op_error(allocation, "sizes that are fixed or multiples of the number of time steps",
                           str(type_), "fix the number of time steps")


def _reference_records(root: ir.Operation) -> list[LayerRecord]:
    """A record of every layer that no micro-kernel covers."""
    records = []
    for number, known in enumerate(root.attributes[RECORD] if RECORD in root.attributes else []):
        entry = ir.DictAttr(known)
        weight, output = (integers(entry[name]) for name in ("weight", "output"))
        places = prod(output[:-1]) if len(weight) == 2 else output[0] * prod(output[2:])
        macs, size = prod(weight) * places, 4 * prod(weight)
        records.append(LayerRecord(
            name=text_of(entry, "layer") or f"reference{number}", op=text_of(entry, "op"),
            shape=f"{weight[1]} -> {weight[0]}", scheme="dense", sparsity=0.0, kernel="reference",
            reason=text_of(entry, "reason"), macs_dense=macs, macs_packed=macs, bytes_dense=size,
            bytes_packed=size, index_bytes=0, loads_before=0, loads_after=0, predicted_ms=None))
    return records


def _layer_records(root: ir.Operation, target: Target) -> list[LayerRecord]:
    """A record of every packed layer, in program order; of one time step where their number is free."""
    records, device = [], network_device(root)
    clock = clock_share(target, device)
    for number, layer in enumerate(operations(root, *PACKED_LAYERS)):
        known = record_of(layer)
        weight = integers(layer.weight_shape)
        scheme = scheme_of(layer)
        linear = not isinstance(layer, PackedConvOp)
        places = _output_places(layer)
        size, together = prod(weight), schedule_of(layer).filters_per_group or 1
        predicted = (matrix_ms(storage_of(layer), tuple(weight), known.stored, inputs_of(layer), device)
                     if linear else
                     convolution_ms(scheme, known.stored * places, device, together) / clock)
        records.append(LayerRecord(
            name=known.layer or f"layer{number}",
            op=layer.operation.name.removeprefix("sparse.packed_"),
            shape=_shape_text(layer, weight), scheme=known.detected or scheme.name,
            sparsity=1 - known.nonzeros / size, kernel="dense" if isinstance(scheme, Dense) else "sparse",
            reason=_reason(known), macs_dense=size * places, macs_packed=known.stored * places,
            bytes_dense=known.dense_bytes, bytes_packed=known.packed_bytes, index_bytes=known.index_bytes,
            csr_index_bytes=4 * (known.nonzeros + weight[0] + 1) if known.index_bytes else 0,
            loads_before=0, loads_after=0,
            predicted_ms=predicted,
            fused_into=known.fused_into, precision=_precision(layer, target), library=_library(scheme)))
    return records


def _library(scheme: object) -> dict[str, Any]:
    """The patterns that kernels keep, for pictures of them."""
    if not isinstance(scheme, Pattern):
        return {}
    return {"kernel": list(scheme.kernel), "patterns": [list(places) for places in scheme.library]}


def calibrated(target: Target) -> bool:
    """Whether predictions for ``target`` are by figures that espalier calibrate measured."""
    return target.machine in calibrations(configuration_folder() / CALIBRATION)


def clock_share(target: Target, device: Device) -> float:
    """How many times the documented peak of multiply-adds the measured one is; 1 where none was measured."""
    if not calibrated(target):
        return 1.0
    known = calibrations(configuration_folder() / CALIBRATION)[target.machine]
    core = device.costs
    return known.gflops / (2e-9 * device.lanes * core.hertz / core.multiply)


def _precision(layer: Any, target: Target) -> str:
    """What a layer's weights are kept in, and what it computes in if that is another."""
    arithmetic = "fp32" if not isinstance(layer, PackedConvOp) else target.arithmetic
    same = arithmetic == target.precision
    return target.precision if same else f"{target.precision}, computed in {arithmetic}"


def _output_places(layer: Any) -> int:
    """Output pixels of a convolution, or rows of a matrix product, batch included; a free size counts 1."""
    type_ = ir.RankedTensorType(layer.output.type)
    if isinstance(layer, PackedConvOp):
        conv = Convolution.of(layer)
        return conv.batch * prod(conv.target)
    *rows, _ = (1 if type_.is_dynamic_dim(at) else type_.get_dim_size(at) for at in range(type_.rank))
    return prod(rows)


def _shape_text(layer: Any, weight: list[int]) -> str:
    if not isinstance(layer, PackedConvOp):
        return f"{weight[1]} -> {weight[0]}"
    conv, strides = Convolution.of(layer), integers(layer.strides)
    uneven = len(set(strides)) > 1
    extra = f" /{_times(strides) if uneven else strides[0]}" if max(strides) > 1 else ""
    extra += f" groups {conv.groups}" if conv.groups > 1 else ""
    image = conv.target[-len(conv.kernel) :]
    return f"{conv.channels} -> {conv.filters} {_times(conv.kernel)}{extra} @ {_times(image)}"


def _times(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _reason(known: Record) -> str:
    """Why the layer runs as it does."""
    return known.reason + (f"; fused into {known.fused_into}" if known.fused_into else "")


def _with_calls(root: ir.Operation, layers: list[LayerRecord]) -> list[LayerRecord]:
    """``layers`` with the kernels that they call, and these calls' vector loads before and after LRE."""
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    functions: dict[str, dict[str, None]] = {}
    for call in operations(root, func.CallOp):
        if "espalier.layer" not in call.attributes:
            continue
        name = ir.StringAttr(call.attributes["espalier.layer"]).value
        functions.setdefault(name, {})[ir.FlatSymbolRefAttr(call.attributes["callee"]).value] = None
        if "espalier.loads_before" in call.attributes:
            for counts, key in ((before, "espalier.loads_before"), (after, "espalier.loads_after")):
                counts[name] = counts.get(name, 0) + ir.IntegerAttr(call.attributes[key]).value
    return [replace(layer, loads_before=before.get(layer.name, 0), loads_after=after.get(layer.name, 0),
                    functions=list(functions.get(layer.name, {}))) for layer in layers]
