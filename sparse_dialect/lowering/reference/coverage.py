"""Which layers no micro-kernel covers: they run by the reference, and the report says why."""

from __future__ import annotations

from typing import Any

from ...dialect.ops import ConvOp
from ...dialect.schedules import record_of
from ...ir.constants import constant_of
from ...ir.mlir import ir
from ...ir.values import i64, shape_of

RECORD = "espalier.reference"  # on the module: what was lowered by the reference, and why
MOST_DIMENSIONS = 3  # of a convolution's image


def why_uncovered(layer: Any) -> str:
    """What the layer (not packed yet) has that no micro-kernel covers; empty where one does."""
    if isinstance(layer, ConvOp) and len(shape_of(layer.input)) - 2 > MOST_DIMENSIONS:
        return f"a convolution of {len(shape_of(layer.input)) - 2} dimensions"
    if constant_of(layer.weight) is None:
        return "a weight computed at run time"
    if not isinstance(layer, ConvOp) and layer.bias is not None and constant_of(layer.bias) is None:
        return "a bias computed at run time"
    return ""


def record(module: ir.Operation, layer: Any, why: str) -> None:
    """Notes on the module that ``layer`` runs by the reference: its name, op, weight and output sizes."""
    attributes = module.attributes
    known = list(ir.ArrayAttr(attributes[RECORD])) if RECORD in attributes else []
    sizes = {"weight": shape_of(layer.weight), "output": [max(1, size) for size in shape_of(layer.output)]}
    entry = {"layer": ir.StringAttr.get(record_of(layer).layer),
             "op": ir.StringAttr.get(layer.operation.name.removeprefix("sparse.")),
             "reason": ir.StringAttr.get(f"reference: no kernel for {why}"),
             **{name: ir.ArrayAttr.get([i64(size) for size in own]) for name, own in sizes.items()}}
    attributes[RECORD] = ir.ArrayAttr.get([*known, ir.DictAttr.get(entry)])
