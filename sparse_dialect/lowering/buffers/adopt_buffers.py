"""``sparse-adopt-buffers``: lets one-shot-bufferize continue where another bufferization pass has begun.

    %t = bufferization.to_tensor %fresh  ->  %t = bufferization.to_tensor %fresh restrict writable

torch-mlir's tm-tensor-bufferize allocates a buffer for every result of a scan, sort or scatter and hands it
on as a tensor, but does not say that nothing else refers to it, which one-shot-bufferize wants to know.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import op_error
from ...ir.mlir import ir
from ...passes import Pass, PassContext


@dataclass(frozen=True)
class AdoptBuffersPass(Pass):
    """
    Marks each bufferization.to_tensor of a fresh memref.alloc as its only reference.
    """

    name = "sparse-adopt-buffers"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            self._mark(op, context)

    def _mark(self, op: ir.Operation, context: PassContext) -> None:
        for region in op.regions:
            for block in region.blocks:
                for view in block.operations:
                    inner = view.operation
                    if inner.name == "bufferization.to_tensor" and "restrict" not in inner.attributes:
                        source = inner.operands[0].owner
                        if isinstance(source, ir.Block) or source.operation.name != "memref.alloc":
                            raise op_error(inner, "a fresh memref.alloc", "another buffer",
                                           "use one-shot-bufferize alone")
                        inner.attributes["restrict"] = ir.UnitAttr.get()
                        inner.attributes["writable"] = ir.UnitAttr.get()
                        context.statistics["buffers adopted"] += 1
                    self._mark(inner, context)
