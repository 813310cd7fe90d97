"""``sparse-fold-empty``: what goes over no elements at all gives what it begins with.

    %s = linalg.generic ins(%x : tensor<0x4xf32>) outs(%zeros : tensor<4xf32>) { sum }    ->    %zeros

Loops of no turns would leave their results unwritten where the first turn is the one that writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..ir.mlir import ir
from ..ir.values import shape_of
from ..ir.walk import blocks
from ..passes import Pass, PassContext


@dataclass(frozen=True)
class FoldEmptyPass(Pass):
    """Replaces operations of linalg that read or write a tensor without elements by their initial values."""

    name = "sparse-fold-empty"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        for block in list(blocks(op)):
            for own in [view.operation for view in block.operations]:
                if own.name.startswith("linalg.") and list(own.results) and _is_empty(own):
                    initial = list(own.operands)[-len(own.results):]
                    for result, value in zip(own.results, initial, strict=True):
                        result.replace_all_uses_with(value)
                    own.erase()
                    context.statistics["empty operations"] += 1


def _is_empty(op: Any) -> bool:
    return any(isinstance(value.type, ir.RankedTensorType) and 0 in shape_of(value) for value in op.operands)
