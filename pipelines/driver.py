"""The compiler driver: linalg on tensors to a compiled model's code, weights and manifest.

The named pipelines run in stages; between them the driver reads off what the report shows (a record a
layer, loads before and after LRE) and takes the weights out of the IR.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from ..errors import EspalierError
from ..runtime.abi import FREE
from ..runtime.memory import zeroed
from ..runtime.model_file import ModelFile, fingerprint_of
from ..runtime.records import LayerRecord, StatementRecord, TensorSpec
from ..sparse_dialect.dialect.packed import PackedConvOp, PackedLinearOp
from ..sparse_dialect.dialect.recurrent import GruOp, LstmOp, PackedGruOp, PackedLstmOp
from ..sparse_dialect.dialect.schedules import record_of, schedule_of, set_schedule
from ..sparse_dialect.dialect.schemes import scheme_of
from ..sparse_dialect.errors import op_error
from ..sparse_dialect.geometry.convolution import Convolution
from ..sparse_dialect.ir.constants import dtype_of
from ..sparse_dialect.ir.mlir import bindings, ir
from ..sparse_dialect.ir.values import integers, text_of
from ..sparse_dialect.ir.walk import mentions, operations
from ..sparse_dialect.lowering.buffers.arguments import public_functions
from ..sparse_dialect.lowering.buffers.externalize_constants import assemble, externalize, total_bytes
from ..sparse_dialect.lowering.reference.coverage import RECORD
from ..sparse_dialect.lowering.reference.lower_to_reference import lower as lower_to_reference
from ..sparse_dialect.schedule.cost_model import convolution_ms, linear_ms
from ..sparse_dialect.schedule.record import Record
from ..sparse_dialect.schemes import Dense
from .named import ARENA, BUFFERS, LLVM, PREPARE, VECTOR
from .parser import parse_pipeline
from .runner import Runner
from .target import Target

func: Any = bindings("dialects.func")
memref: Any = bindings("dialects.memref")

Progress = Callable[[str, int, int], None]
ENTRY = "main"
MATRICES = (PackedLinearOp, PackedGruOp, PackedLstmOp)


@dataclass(frozen=True)
class CompileOptions:
    """``sparse=False`` runs every layer dense; ``eliminate_redundant_loads=False`` keeps a load for every
    multiply; ``check=False`` hands code out that was not compared with PyTorch's recorded output; with
    ``kernels`` only the first so many layers run by micro-kernels, the others by the reference."""

    sparse: bool = True
    eliminate_redundant_loads: bool = True
    check: bool = True
    kernels: int | None = None


@dataclass(frozen=True)
class _Stage:
    """Passes that run together, with the options that the target and the user set."""

    elements: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return f"builtin.module({','.join(e + self.options.get(e, '') for e in self.elements)})"


def compile_linalg(module: ir.Module, options: CompileOptions, target: Target,
                   progress: Progress | None = None) -> ModelFile:
    """
    Compiles ``module`` (linalg on tensors with static shapes, one public function) in place. Of a module
    with recurrent layers one size may be free, the number of time steps: ``?`` wherever it stands.

    Returns the model without recorded samples. Raises ``EspalierError`` for what cannot be compiled.
    """
    root = module.operation
    _check_complete(root)
    function = _entry(root)
    inputs, outputs = _signature(function, free=bool(operations(root, GruOp, LstmOp)))
    _protect(function)
    lre = "filter" if options.eliminate_redundant_loads else "none"
    stages = [
        _Stage(("sparse-set-target", *PREPARE), {
            "sparse-set-target": f"{{core={target.core} lanes={target.lanes} precision={target.precision} "
                                 f"arithmetic={target.arithmetic}}}",
            "sparse-schedule-layers": f"{{kernel={'auto' if options.sparse else 'dense'}}}"}),
        _Stage(VECTOR, {"sparse-eliminate-redundant-loads": f"{{level={lre}}}"}),
        _Stage(_buffers(root), {"sparse-vectorize-loops": f"{{lanes={target.lanes}}}",
                                "sparse-expand-math": f"{{core={target.core}}}"}),
        _Stage(ARENA), _Stage(LLVM)]
    pipelines = [parse_pipeline(stage.text) for stage in stages]
    steps = sum(len(pipeline.items) for pipeline in pipelines)
    done = 0
    layers: list[LayerRecord] = []
    weights = np.zeros(0, np.uint8)
    labels: list[str] = []
    messages: list[str] = []
    statements: list[StatementRecord] = []
    for number, pipeline in enumerate(pipelines):
        step = None if progress is None else _shifted(progress, done, steps)
        Runner(pipeline, verify=False, progress=step).run(root)
        done += len(pipeline.items)
        if number == 0:
            root.verify()
            layers = [*_reference_records(root), *_layer_records(root, target)]
            if options.kernels is not None:
                _lower_rest_to_reference(root, options.kernels)
        elif number == 1:
            layers = _with_calls(root, layers)
        elif number == 2:
            pieces = externalize(root)
            weights = assemble(pieces, zeroed(total_bytes(pieces)))
            del pieces
        elif number == 3:
            labels, messages = (_texts(root, name) for name in ("espalier.labels", "espalier.messages"))
            statements = _statements(root)
            if any(FREE in spec.shape for spec in inputs):
                _check_planned(root)
    sizes = {name: ir.IntegerAttr(root.attributes[f"espalier.{name}"]).value
             for name in ("arena", "arena_per_step", "scratch", "stamps", "weights", "sequential")
             if f"espalier.{name}" in root.attributes}
    manifest: dict[str, Any] = {
        "target": asdict(target), "inputs": [asdict(spec) for spec in inputs],
        "outputs": [asdict(s) for s in outputs],
        "layers": [asdict(layer) for layer in layers], "labels": labels,
        "statements": [asdict(statement) for statement in statements],
        "messages": messages, "sizes": sizes}
    return ModelFile(manifest, _bytecode(root), weights, fingerprint_of(f"{target} {root}".encode(), weights))


def _lower_rest_to_reference(root: ir.Operation, kernels: int) -> None:
    """Lowers all layers but the first so many by the reference, with a location for their loops."""
    with root.context:
        for layer in operations(root, PackedConvOp, *MATRICES)[kernels:]:
            producer = layer.operation.operands[0].owner
            if isinstance(producer, PackedConvOp):  # its reader does not take it by chunk
                set_schedule(producer, replace(schedule_of(producer), by_chunk=False))
            lower_to_reference(layer)


def _buffers(root: ir.Operation) -> tuple[str, ...]:
    """The pipeline to buffers, and through torch-mlir's own for its scans, sorts and scatters."""
    if not mentions(root, "tm_tensor."):
        return BUFFERS
    return ("func.func(tm-tensor-bufferize)", "sparse-adopt-buffers", *BUFFERS[:-2],
            "func.func(tm-tensor-to-loops)", *BUFFERS[-2:])



def _shifted(progress: Progress, before: int, total: int) -> Progress:
    """Progress of one stage as progress of the whole."""
    return lambda name, done, _: progress(name, before + done, total)


def _texts(root: ir.Operation, name: str) -> list[str]:
    """An attribute that lists strings."""
    return [ir.StringAttr(text).value for text in ir.ArrayAttr(root.attributes[name])]


def _statements(root: ir.Operation) -> list[StatementRecord]:
    """What the labels of stamps stand for (``sparse-distribute-work``)."""
    found = []
    for entry in ir.ArrayAttr(root.attributes["espalier.statements"]):
        known = ir.DictAttr(entry)
        texts = {name: ir.StringAttr(known[name]).value for name in ("label", "name", "op", "kind", "reason")}
        found.append(StatementRecord(**texts, shared=ir.BoolAttr(known["shared"]).value))
    return found


def _bytecode(root: ir.Operation) -> bytes:
    """Equal modules give equal bytes: bytecode keeps the order of each value's uses, which depends on hash
    tables inside upstream's passes, and which a clone sets anew."""
    stream = io.BytesIO()
    root.clone().operation.write_bytecode(stream)
    return stream.getvalue()


def _check_complete(root: ir.Operation) -> None:
    """Raises ``EspalierError`` for functions that are declared only."""
    for view in root.regions[0].blocks[0].operations:
        if view.operation.name == "func.func" and not list(view.operation.regions[0].blocks):
            name = ir.StringAttr(view.operation.attributes["sym_name"]).value
            raise EspalierError(f"function @{name} has no body; expected a whole program")


def _entry(root: ir.Operation) -> Any:
    """The one public function, named ``main`` from here on."""
    functions = public_functions(root)
    if len(functions) != 1:
        names = ", ".join(f"@{ir.StringAttr(f.operation.attributes['sym_name']).value}"
                          for f in functions) or "none"
        raise EspalierError(f"expected one public function, found {names}; make the others private")
    functions[0].operation.attributes["sym_name"] = ir.StringAttr.get(ENTRY, root.context)
    return functions[0]


def _protect(function: Any) -> None:
    """Bufferization must not let ``function`` write into its inputs: they are the caller's."""
    with function.operation.context:
        read_only = ir.DictAttr.get({"bufferization.writable": ir.BoolAttr.get(False)})
        count = len(function.regions[0].blocks[0].arguments)
        function.operation.attributes["arg_attrs"] = ir.ArrayAttr.get([read_only] * count)


def _signature(function: Any, free: bool) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Inputs and outputs; every tensor must be ranked, and static unless ``free``."""
    type_ = ir.FunctionType(ir.TypeAttr(function.operation.attributes["function_type"]).value)
    unsigned = _unsigned(function)
    found: list[list[TensorSpec]] = []
    for kind, types in (("input", type_.inputs), ("output", type_.results)):
        specs = []
        for number, entry in enumerate(types):
            if not isinstance(entry, ir.RankedTensorType):
                raise EspalierError(f"{kind} {number}: expected a ranked tensor, found {entry}")
            if not entry.has_static_shape and not free:
                raise EspalierError(f"{kind} {number}: expected a static shape, found {entry}; "
                                    f"export the model with fixed sizes")
            shape = tuple(FREE if entry.is_dynamic_dim(at) else entry.get_dim_size(at)
                          for at in range(entry.rank))
            dtype = dtype_of(entry.element_type).name
            sign = "u" if number in unsigned[kind] else ""
            specs.append(TensorSpec(f"{kind}_{number}", shape, sign + dtype))
        found.append(specs)
    return found[0], found[1]


def _unsigned(function: Any) -> dict[str, list[int]]:
    """The positions of inputs and outputs whose integers the frontend says are unsigned."""
    attributes = function.operation.attributes
    if "espalier.unsigned" not in attributes:
        return {"input": [], "output": []}
    return {entry.name: list(ir.DenseI64ArrayAttr(entry.attr)) for entry in attributes["espalier.unsigned"]}


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
    records = []
    for number, layer in enumerate(operations(root, PackedConvOp, *MATRICES)):
        known = record_of(layer)
        weight = integers(layer.weight_shape)
        scheme = scheme_of(layer)
        linear = isinstance(layer, MATRICES)
        places = _output_places(layer)
        size = prod(weight)
        predict = linear_ms if linear else convolution_ms
        records.append(LayerRecord(
            name=known.layer or f"layer{number}",
            op=layer.operation.name.removeprefix("sparse.packed_"),
            shape=_shape_text(layer, weight), scheme=known.detected or scheme.name,
            sparsity=1 - known.nonzeros / size, kernel="dense" if isinstance(scheme, Dense) else "sparse",
            reason=_reason(known), macs_dense=size * places, macs_packed=known.stored * places,
            bytes_dense=known.dense_bytes, bytes_packed=known.packed_bytes, index_bytes=known.index_bytes,
            csr_index_bytes=4 * (known.nonzeros + weight[0] + 1) if known.index_bytes else 0,
            loads_before=0, loads_after=0,
            predicted_ms=predict(scheme, known.stored * (1 if linear else places)),
            fused_into=known.fused_into, precision=_precision(layer, target)))
    return records


def _precision(layer: Any, target: Target) -> str:
    """What a layer's weights are kept in, and what it computes in if that is another."""
    arithmetic = "fp32" if isinstance(layer, MATRICES) else target.arithmetic
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
    if isinstance(layer, MATRICES):
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
