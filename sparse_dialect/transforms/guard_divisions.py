"""``sparse-guard-divisions``: a division of integers asserts that its divisor is not 0, and ends no process.

    %q = arith.remsi %a, %b : i32        ->        %ok = arith.cmpi ne, %b, %c0 : i32
                                                   cf.assert %ok, "an integer is divided by 0"
                                                   %safe = arith.select %ok, %b, %c1 : i32
                                                   %negates = arith.cmpi eq, %b, %c-1 : i32
                                                   %divisor = arith.select %negates, %c1, %safe : i32
                                                   %q = arith.remsi %a, %divisor : i32

A processor's division by 0, and of the smallest number by -1, ends the process; so does that of lanes beyond
a row's end, which hold zeros. A remainder by -1 is that by 1, and a quotient the number times -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..ir.mlir import bindings, ir
from ..ir.walk import blocks
from ..passes import Pass, PassContext

arith: Any = bindings("dialects.arith")
cf: Any = bindings("dialects.cf")

SIGNED = ("arith.divsi", "arith.floordivsi", "arith.ceildivsi", "arith.remsi")
UNSIGNED = ("arith.divui", "arith.ceildivui", "arith.remui")


@dataclass(frozen=True)
class GuardDivisionsPass(Pass):
    """
    Asserts that divisors of integers in bodies of linalg.generic are not 0, and divides by 1 where they are.

    A divisor that is a constant, neither 0 nor -1, stays as it is.
    """

    name = "sparse-guard-divisions"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context, ir.Location.unknown():
            for block in list(blocks(op)):
                if block.owner.operation.name != "linalg.generic":
                    continue
                for view in list(block.operations):
                    if view.operation.name in (*SIGNED, *UNSIGNED) and not _is_safe(view.operation):
                        _guard(view.operation)
                        context.statistics["guarded divisions"] += 1


def _is_safe(op: Any) -> bool:
    """Whether the divisor is a known number that every number can be divided by, or no integer of a width."""
    divisor = op.operands[1]
    if not isinstance(divisor.type, ir.IntegerType):
        return True
    owner = divisor.owner
    if isinstance(owner, ir.Block) or owner.operation.name != "arith.constant":
        return False
    return ir.IntegerAttr(owner.operation.attributes["value"]).value not in (0, -1)


def _guard(op: Any) -> None:
    number, divisor = op.operands
    with ir.InsertionPoint(op), op.location:
        zero, one, minus = (arith.ConstantOp(divisor.type, value).result for value in (0, 1, -1))
        ok = arith.CmpIOp(arith.CmpIPredicate.ne, divisor, zero).result
        cf.AssertOp(ok, "an integer is divided by 0")
        safe = arith.SelectOp(ok, divisor, one).result
        if op.name in UNSIGNED:
            op.operands[1] = safe
            return
        negates = arith.CmpIOp(arith.CmpIPredicate.eq, divisor, minus).result
        op.operands[1] = arith.SelectOp(negates, one, safe).result
        negated = arith.SubIOp(zero, number).result
    if op.name == "arith.remsi":
        return
    with ir.InsertionPoint.after(op), op.location:
        result = arith.SelectOp(negates, negated, op.results[0])
    op.results[0].replace_all_uses_except(result.result, result.operation)
