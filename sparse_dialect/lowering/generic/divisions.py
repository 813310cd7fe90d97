"""Vectors that a loop divides by one number, without the division, which takes as long as 16 products.

    %d = vector.broadcast %n                   %high, %low = 1 / %n in two parts ; %ok = 2^-63 <= |%n| <= 2^63
    scf.for { %q = arith.divf %x, %d }   ->    scf.for { %q = scf.if %ok { x high + (x low) } else { x / d } }

The reciprocal is exact to 2^-45, so that the sum, rounded once, is the quotient, rounded, but where
that is a matter of a millionth of an ulp (Brisebarre and Muller, IEEE Transactions on Computers 57, 2008);
where x is below 2^-100, within one ulp. ``high`` is no larger than the reciprocal, so that both products have
one sign: infinities and zeros are the quotient's.
"""

from __future__ import annotations

from math import frexp
from typing import Any

import numpy as np

from ...ir.mlir import bindings, ir
from ...ir.walk import blocks

arith: Any = bindings("dialects.arith")
scf: Any = bindings("dialects.scf")
vector: Any = bindings("dialects.vector")

Value = Any
Parts = tuple[Value, Value, Value | None]
SMALLEST, LARGEST = 2.0**-63, 2.0**63  # of numbers that no product here overflows with


def expand_divisions(root: ir.Operation) -> int:
    """Rewrites the divisions of ``root``; how many there were."""
    found = [view.operation for block in blocks(root) for view in block.operations
             if view.operation.name == "arith.divf" and _is_vector_of_f32(view.operation.results[0])]
    known: dict[Value, Parts] = {}
    count = 0
    for op in found:
        divisor = op.operands[1]
        if isinstance(divisor.owner, ir.Block):
            continue
        made = divisor.owner.operation
        number = _one_number(made, op)
        key = divisor if number is None else number
        if key not in known:
            parts = _constant_parts(made) if number is None else _parts(number)
            if parts is None:
                continue
            known[key] = parts
        with op.location, ir.InsertionPoint(op):
            quotient = _divided(op, *known[key])
        op.results[0].replace_all_uses_with(quotient)
        op.erase()
        count += 1
    return count


def _is_vector_of_f32(value: Value) -> bool:
    return isinstance(value.type, ir.VectorType) and isinstance(ir.VectorType(value.type).element_type,
                                                                ir.F32Type)


def _one_number(made: ir.Operation, division: ir.Operation) -> Value | None:
    """The number that ``made`` gives to all lanes, where it comes from outside of the division's loop."""
    if made.name != "vector.broadcast":
        return None
    number = made.operands[0]
    if isinstance(number.type, ir.VectorType) or isinstance(number.owner, ir.Block):
        return None
    source = number.owner.operation
    return None if source.block == division.block or _is_power_of_two(source) else number


def _is_power_of_two(made: ir.Operation) -> bool:
    """Whether the number is a constant whose reciprocal is exact, which compilers see for themselves."""
    if made.name == "arith.truncf" and not isinstance(made.operands[0].owner, ir.Block):
        made = made.operands[0].owner.operation
    if made.name != "arith.constant":
        return False
    return abs(frexp(ir.FloatAttr(made.attributes["value"]).value)[0]) == 0.5


def _constant_parts(made: ir.Operation) -> Parts | None:
    """The reciprocal of a constant in all lanes; None for others, and where it is not usual, or exact."""
    if made.name != "arith.constant" or not ir.DenseElementsAttr(made.attributes["value"]).is_splat:
        return None
    number = ir.FloatAttr(ir.DenseElementsAttr(made.attributes["value"]).get_splat_value()).value
    if not SMALLEST <= abs(number) <= LARGEST or abs(frexp(number)[0]) == 0.5:
        return None
    high = np.float32(1 / number)
    if abs(float(high) * number) > 1:  # in 48 bits: exact
        high = np.nextafter(high, np.float32(0))
    f32 = ir.F32Type.get()
    with made.location, ir.InsertionPoint.after(made):
        parts = [arith.ConstantOp(f32, ir.FloatAttr.get(f32, float(part))).result
                 for part in (high, 1 / number - float(high))]
    return parts[0], parts[1], None


def _parts(number: Value) -> Parts:
    """1 / ``number`` in two parts, and whether they may be used, behind where ``number`` is computed."""
    with number.owner.operation.location, ir.InsertionPoint.after(number.owner.operation):
        one, smallest, largest = (arith.ConstantOp(number.type, ir.FloatAttr.get(number.type, value)).result
                                  for value in (1.0, SMALLEST, LARGEST))
        size = ir.Operation.create("math.absf", results=[number.type], operands=[number]).result
        is_large = arith.CmpFOp(arith.CmpFPredicate.OGE, size, smallest).result
        is_small = arith.CmpFOp(arith.CmpFPredicate.OLE, size, largest).result
        nearest = arith.DivFOp(one, number).result
        bits = ir.IntegerType.get_signless(32)
        step = arith.ConstantOp(bits, ir.IntegerAttr.get(bits, 1)).result
        below = arith.SubIOp(arith.BitcastOp(bits, nearest).result, step).result
        high = arith.BitcastOp(number.type, below).result
        left = ir.Operation.create("math.fma", results=[number.type],
                                   operands=[arith.NegFOp(high).result, number, one]).result
        return high, arith.MulFOp(left, nearest).result, arith.AndIOp(is_large, is_small).result


def _divided(op: ir.Operation, high: Value, low: Value, is_usable: Value | None) -> Value:
    """What ``op`` computes, at the current insertion point."""
    x, divisor = op.operands
    if is_usable is None:
        return _product(x, high, low)
    choice = scf.IfOp(is_usable, [x.type], has_else=True)
    with ir.InsertionPoint(choice.then_block):
        scf.YieldOp([_product(x, high, low)])
    with ir.InsertionPoint(choice.else_block):
        scf.YieldOp([arith.DivFOp(x, divisor).result])
    return choice.results[0]


def _product(x: Value, high: Value, low: Value) -> Value:
    first, second = (vector.BroadcastOp(x.type, part).result for part in (high, low))
    return vector.FMAOp(x, first, arith.MulFOp(x, second).result).result
