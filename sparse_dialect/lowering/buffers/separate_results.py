"""``sparse-separate-results``: every result of a function is a buffer of its own.

    return %y, %y : memref<2x3xf32>, memref<2x3xf32>
    -> %copy = memref.alloc() ; memref.copy %y, %copy ; return %y, %copy

Runs after bufferization. Results become output arguments next (upstream's buffer-results-to-out-params),
which writes an allocation straight into its argument and so cannot take one twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.mlir import ir
from ...passes import Pass, PassContext
from .arguments import functions, memref


@dataclass(frozen=True)
class SeparateResultsPass(Pass):
    """
    Copies every buffer that a function returns again.
    """

    name = "sparse-separate-results"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            for function in functions(op):
                for block in function.regions[0].blocks:
                    last = list(block.operations)[-1].operation
                    if last.name == "func.return":
                        context.statistics["results copied"] += _separate(last)


def _separate(end: ir.Operation) -> int:
    """Gives ``end`` (a func.return) operands that differ; the number of copies."""
    seen: set[ir.Value] = set()
    copies = 0
    for number, value in enumerate(list(end.operands)):
        if value in seen and isinstance(value.type, ir.MemRefType):
            with ir.InsertionPoint(end), end.location:
                copy = memref.AllocOp(ir.MemRefType(value.type), [], []).result
                memref.CopyOp(value, copy)
            end.operands[number] = copy
            copies += 1
        seen.add(value)
    return copies
