"""``sparse-split-crops``: padding by less than nothing is a slice, and padding of what is left.

    %y = tensor.pad %x low[0, -1] high[2, -3]   ->   %s = tensor.extract_slice %x[0, 1] [4, 1]
                                                     %y = tensor.pad %s low[0, 0] high[2, 0]

Upstream lowers negative amounts to copies beyond their memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import op_error
from ..ir.mlir import bindings, ir
from ..ir.values import element_of, shape_of
from ..ir.walk import blocks
from ..passes import Pass, PassContext

tensor: Any = bindings("dialects.tensor")


@dataclass(frozen=True)
class SplitCropsPass(Pass):
    """Takes what a tensor.pad crops away before it pads; fails where more is cropped than there is."""

    name = "sparse-split-crops"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            for block in list(blocks(op)):
                for own in [view.operation for view in block.operations]:
                    if own.name == "tensor.pad" and min((*_amounts(own, "static_low"),
                                                         *_amounts(own, "static_high")), default=0) < 0:
                        _split(own)
                        context.statistics["split crops"] += 1


def _amounts(op: Any, name: str) -> list[int]:
    """The known amounts; those that operands give count as nothing."""
    unknown = ir.ShapedType.get_dynamic_size()
    return [0 if value == unknown else value for value in op.attributes[name]]


def _split(op: Any) -> None:
    source, shape = op.operands[0], shape_of(op.operands[0])
    amounts = [_amounts(op, name) for name in ("static_low", "static_high")]
    low, high = ([max(-amount, 0) for amount in part] for part in amounts)
    kept = [size - before - after for size, before, after in zip(shape, low, high, strict=True)]
    if min(kept) < 0 or any(size < 0 and before + after for size, before, after in zip(
            shape, low, high, strict=True)):
        raise op_error(op, "to crop no more than the tensor has", f"{'x'.join(map(str, shape))} less {low} "
                       f"and {high}", "correct these amounts")
    element = element_of(source.type)
    with ir.InsertionPoint(op), op.location:
        if 0 in kept:  # a slice must not begin where its tensor ends
            op.operands[0] = tensor.EmptyOp(kept, element).result
        else:
            type_ = ir.RankedTensorType.get(kept, element)
            op.operands[0] = tensor.ExtractSliceOp(type_, source, [], [], [], low, kept,
                                                   [1] * len(kept)).result
    for name, part_amounts in zip(("static_low", "static_high"), amounts, strict=True):
        values = list(op.attributes[name])
        op.attributes[name] = ir.DenseI64ArrayAttr.get(
            [0 if known < 0 else value for known, value in zip(part_amounts, values, strict=True)])
