"""``sparse-halve-precision``: what lies on lane grids, and every weight, becomes f16.

    %l = "sparse.lift"(%x) : (tensor<1x3x8x8xf32>) -> tensor<1x3x9x8xf32>
    %y = "sparse.packed_conv"(%l, %w, %b) : (..., tensor<1x3x108xf32>, tensor<12xf32>) -> tensor<1x12x9x8xf32>
    %z = "sparse.unlift"(%y) : (tensor<1x12x9x8xf32>) -> tensor<1x12x8x8xf32>
    ->
    %l = "sparse.lift"(%x) : (tensor<1x3x8x8xf32>) -> tensor<1x3x9x8xf16>
    %y = "sparse.packed_conv"(%l, %w, %b) : (..., tensor<1x3x108xf16>, tensor<12xf32>) -> tensor<1x12x9x8xf16>
    %z = "sparse.unlift"(%y) : (tensor<1x12x9x8xf16>) -> tensor<1x12x8x8xf32>

Row-major tensors, a model's inputs and outputs among them, stay f32, and so do biases: what reads one kind
and writes the other converts. So convolutions and pools compute in f16 (unless ``sparse-lower-to-vector`` is
to widen); matrix products and recurrent layers read f16 weights and compute in f32, as do means over whole
images and what no kernel covers. Elementwise linalg ops on lane grids convert their operands to f32 and their
result back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..dialect.layouts import LanesAttr
from ..dialect.ops import LiftOp, PoolOp, UnliftOp
from ..dialect.packed import PackedConvOp, PackedLinearOp
from ..dialect.recurrent import PACKED_LAYERS, PackedGruOp, PackedLstmOp
from ..dialect.schedules import device_of, record_of, set_record
from ..errors import op_error
from ..ir.constants import constant, weight_of
from ..ir.mlir import bindings, ir
from ..ir.values import strings
from ..passes import Pass, PassContext

arith: Any = bindings("dialects.arith")

LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class HalvePrecisionPass(Pass):
    """
    Turns the tensors on lane grids and the weights of all layers into f16, where the module's target keeps
    them so; the rest of the program stays f32.

    Needs layouts (sparse-assign-layouts). Weights beyond what f16 holds (65504) are an error.
    """

    name = "sparse-halve-precision"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        if device_of(op).precision != "fp16":
            return
        with op.context:
            for view in list(_operations(op)):
                with view.operation.location, ir.InsertionPoint(view.operation):
                    if isinstance(view, PACKED_LAYERS):
                        _halve_weight(view)
                        context.statistics["halved weights"] += 1
                    if _writes_lanes(view):
                        _halve(view.operation.results[0])
                        if view.operation.name == "linalg.generic":
                            _compute_wide(view.operation)
                        context.statistics["halved tensors"] += 1


def _operations(op: ir.Operation) -> Iterator[Any]:
    """The operations inside ``op`` that stand in functions' own blocks, in program order."""
    for region in op.operation.regions:
        for block in region.blocks:
            for view in block.operations:
                yield view
                if view.operation.name != "linalg.generic":
                    yield from _operations(view)


def _writes_lanes(view: Any) -> bool:
    """Whether the result lies on a lane grid. (Readers come behind writers: theirs is f16 already.)"""
    match view:
        case LiftOp():
            return True
        case PackedConvOp() | PoolOp():
            return isinstance(view.output_layout, LanesAttr)
        case UnliftOp() | PackedLinearOp() | PackedGruOp() | PackedLstmOp():
            return False
    op = view.operation
    if not any(_is_half(operand) for operand in op.operands):
        return False
    if op.name not in ("linalg.generic", "tensor.concat"):
        raise op_error(op, "f32 operands", "a tensor on a lane grid", "run sparse-assign-layouts first")
    return True


def _is_half(value: ir.Value) -> bool:
    """Whether ``value`` is an f16 tensor [N, C, lines, lanes]."""
    type_ = value.type
    return isinstance(type_, ir.RankedTensorType) and isinstance(type_.element_type, ir.F16Type)


def _halve(value: ir.Value) -> None:
    type_ = ir.RankedTensorType(value.type)
    value.set_type(ir.RankedTensorType.get(type_.shape, ir.F16Type.get(), type_.encoding))


def _halve_weight(layer: Any) -> None:
    """Replaces the storage array ``weight``, and counts its bytes anew."""
    at = strings(layer.storage_names).index("weight")
    before = list(layer.storage)[at]
    array = weight_of(layer, before)
    largest = float(np.abs(array).max(initial=0.0))
    if largest > LARGEST:
        raise op_error(layer, f"weights up to {LARGEST:g}, all that f16 holds", f"{largest:g}",
                       "compile it in fp32")
    record = record_of(layer)
    halved = constant(array.astype(np.float16), f"{record.layer or 'layer'}.weight")
    operands = layer.operation.operands
    operands[list(operands).index(before)] = halved
    if not list(before.uses):
        before.owner.erase()
    saved = array.nbytes - 2 * array.size
    set_record(layer, replace(record, packed_bytes=max(record.packed_bytes - saved, 0)))


def _compute_wide(op: ir.Operation) -> None:
    """Makes an elementwise ``linalg.generic`` read and write f16, and compute in f32 as before."""
    *inputs, out = op.operands
    _halve(out)
    block = op.regions[0].blocks[0]
    with ir.InsertionPoint.at_block_begin(block):
        for argument, operand in zip(block.arguments, [*inputs, out], strict=True):
            if _is_half(operand):
                readers = list(argument.uses)
                argument.set_type(ir.F16Type.get())
                wide = arith.ExtFOp(ir.F32Type.get(), argument).result
                for use in readers:
                    use.owner.operation.operands[use.operand_number] = wide
    end = list(block.operations)[-1].operation
    with ir.InsertionPoint(end):
        end.operands[0] = arith.TruncFOp(ir.F16Type.get(), end.operands[0]).result
