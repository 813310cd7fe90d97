"""``sparse-expand-copies``: a copy of a buffer becomes a parallel loop over its elements.

    memref.copy %a, %b : memref<2x3xf32> to memref<2x3xf32, strided<[9, 3]>>
    -> scf.parallel (%i, %j) = (%c0, %c0) to (%c2, %c3) { memref.store (memref.load %a[%i, %j]), %b[%i, %j] }

Threads can share a loop, and copies into strided places need no library: upstream lowers them to a call of
``memrefCopy``, which only MLIR's own runner has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...ir.mlir import bindings, ir
from ...passes import Pass, PassContext
from .arguments import memref

arith: Any = bindings("dialects.arith")
scf: Any = bindings("dialects.scf")


@dataclass(frozen=True)
class ExpandCopiesPass(Pass):
    """
    Writes every memref.copy as scf.parallel over its dimensions.
    """

    name = "sparse-expand-copies"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            for copy in _copies(op):
                with ir.InsertionPoint(copy), copy.location:
                    _expand(*copy.operands)
                copy.erase()
                context.statistics["copies expanded"] += 1


def _copies(op: ir.Operation) -> list[ir.Operation]:
    """Every memref.copy of ranked buffers inside ``op``."""
    found: list[ir.Operation] = []
    for region in op.regions:
        for block in region.blocks:
            for view in block.operations:
                inner = view.operation
                ranked = all(isinstance(value.type, ir.MemRefType) for value in inner.operands)
                found += [inner] if inner.name == "memref.copy" and ranked else _copies(inner)
    return found


def _expand(source: ir.Value, target: ir.Value) -> None:
    index = ir.IndexType.get()
    dynamic = ir.ShapedType.get_dynamic_size()
    zero, one = (arith.ConstantOp(index, number).result for number in (0, 1))
    shape = ir.MemRefType(source.type).shape
    sizes = [memref.DimOp(source, arith.ConstantOp(index, at).result).result if size == dynamic
             else arith.ConstantOp(index, size).result for at, size in enumerate(shape)]
    if not sizes:
        memref.StoreOp(memref.LoadOp(source, []).result, target, [])
        return
    loop = scf.ParallelOp([], [zero] * len(sizes), sizes, [one] * len(sizes), [])
    body = loop.regions[0].blocks.append(*[index] * len(sizes))
    with ir.InsertionPoint(body):
        memref.StoreOp(memref.LoadOp(source, list(body.arguments)).result, target, list(body.arguments))
        scf.ReduceOp([], 0)
