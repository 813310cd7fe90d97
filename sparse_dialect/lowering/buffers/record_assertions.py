"""``sparse-record-assertions``: a failed assertion is noted and steps over its loop body; nothing aborts.

    scf.parallel (%i) ... {                        scf.parallel (%i) ... {
      cf.assert %ok, "index out of range"            scf.if %ok {
      %x = memref.load %table[%at]           ->        %x = memref.load %table[%at] ...
      ...                                            } else { memref.store %c1, %failures[%c0] }
    }                                              }

torch-mlir guards the indices that a model computes or is given (embeddings, gathers) with assertions, whose
upstream lowering ends the process. ``espalier.messages`` on the module lists the texts; the number in
``failures`` counts them from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...ir.mlir import bindings, ir
from ...passes import Pass, PassContext
from .arguments import append_argument, dynamic_memref, memref, public_functions

arith: Any = bindings("dialects.arith")
scf: Any = bindings("dialects.scf")


@dataclass(frozen=True)
class RecordAssertionsPass(Pass):
    """
    Turns every cf.assert into a branch that stores the assertion's number in a new argument, the failures.

    What follows a failed assertion in a loop body is skipped; outside of loops only the number is stored.
    """

    name = "sparse-record-assertions"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        messages: list[str] = []
        with op.context, ir.Location.unknown(op.context):
            for function in public_functions(op):
                failures = append_argument(function, dynamic_memref(ir.IntegerType.get_signless(32)))
                for block in list(_blocks(function.operation)):
                    _guard(block, failures, messages)
            texts = ir.ArrayAttr.get([ir.StringAttr.get(text) for text in messages])
            op.attributes["espalier.messages"] = texts
        context.statistics["messages"] += len(messages)


def _blocks(op: ir.Operation) -> Iterator[ir.Block]:
    """The blocks inside ``op``, inner ones first."""
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield from _blocks(inner.operation)
            yield block


def _guard(block: ir.Block, failures: ir.Value, messages: list[str]) -> None:
    """Replaces the assertions of ``block``, the last first, so that earlier ones enclose later ones."""
    *body, end = [view.operation for view in block.operations]
    encloses = not list(end.operands) and end.name != "func.return"
    for at in reversed(range(len(body))):
        check = body[at]
        if check.name != "cf.assert":
            continue
        text = ir.StringAttr(check.attributes["msg"]).value
        if text not in messages:
            messages.append(text)
        with ir.InsertionPoint(check), check.location:
            branch = scf.IfOp(check.operands[0], has_else=True)
            with ir.InsertionPoint(branch.then_block):
                last = scf.YieldOp([]).operation
            with ir.InsertionPoint(branch.else_block):
                number = arith.ConstantOp(ir.IntegerType.get_signless(32), messages.index(text) + 1).result
                memref.StoreOp(number, failures, [arith.ConstantOp(ir.IndexType.get(), 0).result])
                scf.YieldOp([])
        for op in body[at + 1 :] if encloses else []:
            op.move_before(last)
        check.erase()
        body[at:] = [branch.operation] if encloses else [branch.operation, *body[at + 1 :]]
