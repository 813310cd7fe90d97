"""NaN goes through clamp, maximum and minimum as in PyTorch: torch-mlir writes them as comparisons.

    %c = arith.cmpf ogt, %x, %zero;  %y = arith.select %c, %x, %zero    ->    %y = arith.maximumf %x, %zero

Only inside one body, which is what one PyTorch operation became: ``torch.where(x > 0, x, 0)``, where NaN
gives 0, is two operations and stays.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...sparse_dialect.ir.mlir import bindings, ir
from ...sparse_dialect.ir.walk import blocks

# arith.cmpf's numbers: ogt, oge, ugt, uge and olt, ole, ult, ule
GREATER, LESS = (2, 3, 9, 10), (4, 5, 11, 12)


def keep_nan(module: ir.Module) -> None:
    """Replaces comparisons that choose one of what they compare, in place."""
    arith = bindings("dialects.arith")
    for select in list(_selects(module.operation)):
        condition, yes, no = select.operands
        comparison = condition.owner.operation if not isinstance(condition.owner, ir.Block) else None
        if comparison is None or comparison.name != "arith.cmpf" or comparison.parent is None:
            continue
        left, right = comparison.operands
        predicate = ir.IntegerAttr(comparison.attributes["predicate"]).value
        if comparison.block != select.block or predicate not in (*GREATER, *LESS):
            continue
        if (yes, no) not in ((left, right), (right, left)):
            continue
        larger = (predicate in GREATER) == (yes == left)
        with ir.InsertionPoint(select), select.location:
            new = (arith.MaximumFOp if larger else arith.MinimumFOp)(yes, no)
        select.results[0].replace_all_uses_with(new.result)
        select.erase()
        if not list(comparison.results[0].uses):
            comparison.erase()


def _selects(root: ir.Operation) -> Iterator[ir.Operation]:
    for block in blocks(root):
        for op in block.operations:
            if op.operation.name == "arith.select":
                yield op.operation
