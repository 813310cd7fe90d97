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
    count = 0
    for use in list(asked.results[0].uses):
        reader = use.owner.operation
        with ir.InsertionPoint(reader):
            later = asked.clone().operation
        if _only_reads(reader, use.operand_number):
            later.attributes["read_only"] = ir.UnitAttr.get()
        reader.operands[use.operand_number] = later.results[0]
        count += 1
    asked.erase()
    return count


def _ask(adopted: ir.Operation) -> int:
    """Lets those who read the buffer of ``adopted``, a to_tensor, ask for it; how many there are."""
    count = 0
    for use in list(adopted.operands[0].uses):
        reader = use.owner.operation
        if not _only_reads(reader, use.operand_number):
            continue
        with ir.InsertionPoint(reader), reader.location:
            asked = ir.Operation.create("bufferization.to_buffer", [adopted.operands[0].type],
                                        [adopted.results[0]], {"read_only": ir.UnitAttr.get()})
        reader.operands[use.operand_number] = asked.results[0]
        count += 1
    return count


def _only_reads(op: ir.Operation, operand: int) -> bool:
    """Whether ``op``, a copy or an operation that writes its ``outs``, leaves a buffer as it is."""
    if op.name == "memref.copy":
        return operand == 0
    if "operandSegmentSizes" not in op.attributes or not op.name.startswith(("linalg.", "tm_tensor.")):
        return False
    return operand < int(ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])[0])
