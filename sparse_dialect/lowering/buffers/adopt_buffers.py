"""``sparse-adopt-buffers``: lets one-shot-bufferize continue where another bufferization pass has begun.

    %t = bufferization.to_tensor %fresh  ->  %t = bufferization.to_tensor %fresh restrict writable

    %m = bufferization.to_buffer %x                           ...
    ...                                                       %m = bufferization.to_buffer %x read_only
    tm_tensor.scatter ins(%m, ...)                        ->  tm_tensor.scatter ins(%m, ...)

torch-mlir's tm-tensor-bufferize allocates a buffer for every result of a scan, sort or scatter and hands it
on as a tensor, but does not say that nothing else refers to it, which one-shot-bufferize wants to know. It
asks for the buffer of an operand where the operand is made, and reads the buffer of another scan as it is.
One-shot-bufferize takes a to_buffer for the moment when the buffer is read, and does not see other reads: it
would let what lies between write over the operand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import op_error
from ...ir.mlir import ir
from ...passes import Pass, PassContext


@dataclass(frozen=True)
class AdoptBuffersPass(Pass):
    """
    Marks each bufferization.to_tensor of a fresh memref.alloc as its only reference, and puts each
    bufferization.to_buffer right before the operation that reads it.
    """

    name = "sparse-adopt-buffers"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            self._mark(op, context)

    def _mark(self, op: ir.Operation, context: PassContext) -> None:
        for region in op.regions:
            for block in region.blocks:
                for view in list(block.operations):
                    inner = view.operation
                    if inner.name == "bufferization.to_buffer":
                        context.statistics["buffers asked for later"] += _ask_later(inner)
                        continue
                    if inner.name == "bufferization.to_tensor" and "restrict" not in inner.attributes:
                        source = inner.operands[0].owner
                        if isinstance(source, ir.Block) or source.operation.name != "memref.alloc":
                            raise op_error(inner, "a fresh memref.alloc", "another buffer",
                                           "use one-shot-bufferize alone")
                        inner.attributes["restrict"] = ir.UnitAttr.get()
                        inner.attributes["writable"] = ir.UnitAttr.get()
                        context.statistics["buffers adopted"] += 1
                        context.statistics["buffers asked for later"] += _ask(inner)
                    self._mark(inner, context)


def _ask_later(asked: ir.Operation) -> int:
    """One ``asked``, a to_buffer, right before each operation that uses the buffer; how many there are."""
    uses = list(asked.results[0].uses)
    for use in uses:
        _ask_before(use, asked.operands[0], "read_only" in asked.attributes or _only_reads(use))
    asked.erase()
    return len(uses)


def _ask(adopted: ir.Operation) -> int:
    """Lets those who read the buffer of ``adopted``, a to_tensor, ask for it; how many there are."""
    reads = [use for use in adopted.operands[0].uses if _only_reads(use)]
    for use in reads:
        _ask_before(use, adopted.results[0], read_only=True)
    return len(reads)


def _ask_before(use: Any, tensor: Any, read_only: bool) -> None:
    """The buffer of ``tensor``, asked for right before ``use``, is what is used."""
    reader, number = use.owner.operation, use.operand_number
    attributes = {"read_only": ir.UnitAttr.get()} if read_only else {}
    with ir.InsertionPoint(reader), reader.location:
        asked = ir.Operation.create("bufferization.to_buffer", [reader.operands[number].type], [tensor],
                                    attributes)
    reader.operands[number] = asked.results[0]


def _only_reads(use: Any) -> bool:
    """Whether the user, a copy or an operation that writes its ``outs``, leaves a buffer as it is."""
    op, operand = use.owner.operation, use.operand_number
    if op.name == "memref.copy":
        return operand == 0
    if "operandSegmentSizes" not in op.attributes or not op.name.startswith(("linalg.", "tm_tensor.")):
        return False
    return operand < int(ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])[0])
