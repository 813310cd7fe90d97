"""What ends upstream's passes with a signal instead of an error, refused before they see it.

MLIR marks an unknown size, offset or stride by the smallest 64-bit integer. Where a program has just that
number there, canonicalization takes it for the mark and looks for an operand that is not there:

    %v = arith.constant -9223372036854775808 : index
    tensor.extract_slice %x[0] [1] [%v]             // refused; so is tensor.pad low[-9223372036854775808]
    affine.apply affine_map<(d0) -> (d0 floordiv -1)>(%i)    // refused: folding it divides that number by -1
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from ..sparse_dialect.errors import op_error
from ..sparse_dialect.ir.mlir import ir
from ..sparse_dialect.ir.walk import blocks

FITTING = "sizes, offsets and strides that fit a tensor"
MARK = ir.ShapedType.get_dynamic_size()
BITS = 64
# Dialects whose operations take sizes, offsets and strides as numbers or as operands.
SHAPED = ("tensor", "memref", "linalg", "affine", "vector", "bufferization", "sparse_tensor")
NEGATIVE_DIVISOR = re.compile(r"(?:floordiv|ceildiv|mod) -")
FOLDED: dict[str, Callable[[int, int], int]] = {
    "arith.addi": operator.add, "arith.subi": operator.sub, "arith.muli": operator.mul,
    "arith.shli": lambda value, by: value << by if 0 <= by < BITS else 0,
    "arith.minsi": min, "arith.maxsi": max}
CASTS = ("arith.index_cast", "arith.extsi")
DEEPEST = 16  # operations that are followed back from an operand


def check_extremes(root: ir.Operation) -> None:
    """Raises ``PassError`` for the first operation inside ``root`` that would crash upstream's passes."""
    for block in blocks(root):
        for view in block.operations:
            op = view.operation
            if op.name.partition(".")[0] in SHAPED:
                _check_operands(op)
                _check_marks(op)
                if op.name.startswith("affine."):
                    _check_divisors(op)


def check_inlining(root: ir.Operation) -> None:
    """Raises ``PassError`` for an operation of no known dialect that holds regions: upstream's inliner asks
    which symbols such a one uses, and goes on without an answer."""
    for block in blocks(root):
        for view in block.operations:
            op = view.operation
            if len(op.regions) and not root.context.is_registered_operation(op.name):
                raise op_error(op, "an operation of a known dialect around a region", "an unregistered one",
                               "leave out inline, or the operation")


def _check_operands(op: ir.Operation) -> None:
    """No operand may be the mark."""
    for operand in op.operands:
        if isinstance(operand.type, ir.IndexType) and _known(operand, DEEPEST) == MARK:
            raise op_error(op, FITTING, str(MARK), "correct that number")


def _check_marks(op: ir.Operation) -> None:
    """As many marks among the written numbers as operands stand for them."""
    lists = [list(op.attributes[name]) for name in op.attributes
             if name.startswith("static_") and isinstance(op.attributes[name], ir.DenseI64ArrayAttr)]
    marks = sum(value == MARK for values in lists for value in values)
    given = sum(isinstance(operand.type, ir.IndexType) for operand in op.operands)
    if lists and marks > given:
        raise op_error(op, FITTING, str(MARK), "correct that number")


def _check_divisors(op: ir.Operation) -> None:
    """Affine divisors are positive."""
    for name in op.attributes:
        attribute = op.attributes[name]
        if isinstance(attribute, ir.AffineMapAttr) and NEGATIVE_DIVISOR.search(str(attribute)):
            raise op_error(op, "positive divisors", str(attribute), "divide by a positive number")


def _known(value: ir.Value, depth: int) -> int | None:
    """The number that ``value`` always is, if integer arithmetic of constants gives it."""
    owner = value.owner
    if isinstance(owner, ir.Block) or depth == 0:
        return None
    op = owner.operation
    if op.name == "arith.constant" and isinstance(op.attributes["value"], ir.IntegerAttr):
        return int(ir.IntegerAttr(op.attributes["value"]).value)
    if op.name in CASTS:
        return _known(op.operands[0], depth - 1)
    if op.name not in FOLDED:
        return None
    numbers = [_known(operand, depth - 1) for operand in op.operands]
    if any(number is None for number in numbers):
        return None
    wrapped = FOLDED[op.name](*(int(number) for number in numbers if number is not None)) % (1 << BITS)
    return wrapped - (1 << BITS) if wrapped >> (BITS - 1) else wrapped
