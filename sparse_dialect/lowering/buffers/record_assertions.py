"""``sparse-record-assertions``: a failed assertion is noted, and the code goes on; nothing aborts.

    cf.assert %ok, "index out of range"    ->    scf.if %ok { } else { memref.store %c1, %failures[%c0] }

torch-mlir guards the indices that a model computes or is given (embeddings, gathers) with assertions, whose
upstream lowering ends the process. What follows must be harmless: ``sparse-guard-indices`` has put the places
into range. (Stepping over what follows would leave a buffer unwritten that later code takes places from.)
``espalier.messages`` on the module lists the texts; the number in ``failures`` counts them from 1.
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
    """Replaces the assertions of ``block``."""
    for check in [view.operation for view in block.operations if view.operation.name == "cf.assert"]:
        text = ir.StringAttr(check.attributes["msg"]).value
        if text not in messages:
            messages.append(text)
        with ir.InsertionPoint(check), check.location:
            branch = scf.IfOp(check.operands[0], has_else=True)
            with ir.InsertionPoint(branch.then_block):
                scf.YieldOp([])
            with ir.InsertionPoint(branch.else_block):
                number = arith.ConstantOp(ir.IntegerType.get_signless(32), messages.index(text) + 1).result
                memref.StoreOp(number, failures, [arith.ConstantOp(ir.IndexType.get(), 0).result])
                scf.YieldOp([])
        check.erase()
