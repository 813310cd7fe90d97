"""Vectors that a loop divides by one number, without the division, which takes as long as 16 products.

    %d = vector.broadcast %n                   %r = arith.divf %one, %n ; %ok = 2^-63 <= |%n| <= 2^63
    scf.for { %q = arith.divf %x, %d }   ->    scf.for { %q = scf.if %ok { x r, put right } else { x / d } }

What is left of x - q n, times the reciprocal, puts the quotient right: it is the same to the last bit where x
is 2^-100 or more (Markstein, IBM Journal of Research and Development 34, 1990), and within one ulp below.
"""

from __future__ import annotations

from math import frexp
from typing import Any

from ...ir.mlir import bindings, ir
from ...ir.walk import blocks

arith: Any = bindings("dialects.arith")
scf: Any = bindings("dialects.scf")
vector: Any = bindings("dialects.vector")

Value = Any
SMALLEST, LARGEST = 2.0**-63, 2.0**63  # of numbers that no product here overflows with


def expand_divisions(root: ir.Operation) -> int:
    """Rewrites the divisions of ``root``; how many there were."""
    found = [view.operation for block in blocks(root) for view in block.operations
             if view.operation.name == "arith.divf"]
    known: dict[Value, tuple[Value, Value]] = {}
    count = 0
    for op in found:
        divisor = _one_number(op)
        if divisor is None:
            continue
        if divisor not in known:
            known[divisor] = _reciprocal(divisor)
        with op.location, ir.InsertionPoint(op):
            quotient = _divided(op, *known[divisor])
        op.results[0].replace_all_uses_with(quotient)
        op.erase()
        count += 1
    return count


def _one_number(op: ir.Operation) -> Value | None:
    """The number that a vector of f32 is divided by, where it comes from outside of the loop."""
    type_ = op.results[0].type
    if not isinstance(type_, ir.VectorType) or not isinstance(ir.VectorType(type_).element_type, ir.F32Type):
        return None
    owner = op.operands[1].owner
    if isinstance(owner, ir.Block) or owner.operation.name != "vector.broadcast":
        return None
    number = owner.operation.operands[0]
    if isinstance(number.type, ir.VectorType) or isinstance(number.owner, ir.Block):
        return None
    made = number.owner.operation
    return None if made.block == op.block or _is_power_of_two(made) else number


def _is_power_of_two(made: ir.Operation) -> bool:
    """Whether the number is a constant whose reciprocal is exact, which compilers see for themselves."""
    if made.name == "arith.truncf" and not isinstance(made.operands[0].owner, ir.Block):
        made = made.operands[0].owner.operation
    if made.name != "arith.constant":
        return False
    return abs(frexp(ir.FloatAttr(made.attributes["value"]).value)[0]) == 0.5


def _reciprocal(number: Value) -> tuple[Value, Value]:
    """1 / ``number``, and whether it may be used, behind where ``number`` is computed."""
    with number.owner.operation.location, ir.InsertionPoint.after(number.owner.operation):
        one, smallest, largest = (arith.ConstantOp(number.type, ir.FloatAttr.get(number.type, value)).result
                                  for value in (1.0, SMALLEST, LARGEST))
        size = ir.Operation.create("math.absf", results=[number.type], operands=[number]).result
        is_large = arith.CmpFOp(arith.CmpFPredicate.OGE, size, smallest).result
        is_small = arith.CmpFOp(arith.CmpFPredicate.OLE, size, largest).result
        return arith.DivFOp(one, number).result, arith.AndIOp(is_large, is_small).result


def _divided(op: ir.Operation, reciprocal: Value, is_usable: Value) -> Value:
    """What ``op`` computes, at the current insertion point."""
    x, divisor = op.operands
    choice = scf.IfOp(is_usable, [x.type], has_else=True)
    with ir.InsertionPoint(choice.then_block):
        scf.YieldOp([_put_right(x, divisor, reciprocal)])
    with ir.InsertionPoint(choice.else_block):
        scf.YieldOp([arith.DivFOp(x, divisor).result])
    return choice.results[0]


def _put_right(x: Value, divisor: Value, reciprocal: Value) -> Value:
    """The quotient; infinities, NaN and zeros, with their sign, are those of the first product."""
    times = vector.BroadcastOp(x.type, reciprocal).result
    first = arith.MulFOp(x, times).result
    left = vector.FMAOp(arith.NegFOp(first).result, divisor, x).result
    right = vector.FMAOp(left, times, first).result
    zero = ir.DenseElementsAttr.get_splat(x.type, ir.FloatAttr.get(ir.F32Type.get(), 0.0))
    is_number = arith.CmpFOp(arith.CmpFPredicate.ONE, right, arith.ConstantOp(x.type, zero).result).result
    return arith.SelectOp(is_number, right, first).result
