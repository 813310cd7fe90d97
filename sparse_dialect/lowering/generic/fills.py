"""Fills that only prepare the outputs of a reduction behind them: it can start from the value itself.

    linalg.fill ins(%zero) outs(%y)
    linalg.generic { reduction } ins(%x) outs(%y)     reads no %y that it has not written
"""

from __future__ import annotations

from collections.abc import Iterator

from ...ir.mlir import ir
from ...ir.walk import blocks
from ..buffers.arguments import ALIASES, root
from .memory import Value

QUIET = ("memref.alloc", "arith.constant", "memref.get_global")

Fill = tuple[ir.Operation, Value]


def fills(root: ir.Operation) -> dict[ir.Operation, dict[int, Fill]]:
    """For reductions: the output's number, the fill that prepares it and nothing else, and what it fills
    with."""
    return {op: found for block in blocks(root) for op, found in _in_block(block)}


def _in_block(block: ir.Block) -> Iterator[tuple[ir.Operation, dict[int, Fill]]]:
    before: dict[Value, Fill] = {}  # those that nobody has touched since
    for view in block.operations:
        op = view.operation
        if op.name in (*QUIET, *ALIASES):
            continue
        if op.name not in ("linalg.generic", "memref.copy"):
            before.clear()
            continue
        outputs = list(op.operands)[_inputs(op):] if op.name == "linalg.generic" else []
        if _reduces(op):
            found = {at: before[output] for at, output in enumerate(outputs)
                     if output in before and list(op.operands).count(output) == 1}
            if found:
                yield op, found
        touched = _touched(op)
        before = {output: fill for output, fill in before.items() if root(output) not in touched}
        value = _filled_with(op)
        if value is not None:
            before[outputs[0]] = (op, value)


def _touched(op: ir.Operation) -> set[Value]:
    """The buffers that ``op`` reads or writes."""
    looked_up = [inner.operation.operands[0] for block in blocks(op) for inner in block.operations
                 if inner.operation.name == "memref.load"]
    return {root(value) for value in (*op.operands, *looked_up) if isinstance(value.type, ir.MemRefType)}


def _inputs(op: ir.Operation) -> int:
    return int(ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])[0])


def _reduces(op: ir.Operation) -> bool:
    return op.name == "linalg.generic" and "reduction" in str(op.attributes["iterator_types"])


def _filled_with(op: ir.Operation) -> Value | None:
    """What ``op`` fills its one output with, all of it; None where it does something else."""
    if op.name != "linalg.generic" or _reduces(op):
        return None
    *inputs, output = op.operands
    if len(inputs) != _inputs(op) or any(isinstance(value.type, ir.MemRefType) for value in inputs):
        return None
    maps = ir.ArrayAttr(op.attributes["indexing_maps"])
    rank = len(ir.MemRefType(output.type).shape)
    if ir.AffineMapAttr(maps[len(inputs)]).value != ir.AffineMap.get_identity(rank):
        return None
    block = op.regions[0].blocks[0]
    *others, end = [view.operation for view in block.operations]
    if others:
        return None
    value = end.operands[0]
    arguments = list(block.arguments)
    if value in arguments:
        at = arguments.index(value)
        return inputs[at] if at < len(inputs) else None
    return value
