"""Tiny passes for the pipeline tests: each does one visible thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from espalier.sparse_dialect.errors import op_error
from espalier.sparse_dialect.ir.mlir import ir
from espalier.sparse_dialect.passes import Pass, PassContext, option


@dataclass(frozen=True)
class MarkPass(Pass):
    """Marks every function of the module with an attribute.

    The attribute is ``test.mark``.
    """

    name: ClassVar[str] = "test-mark"
    text: str = option("seen", "what the mark says")
    kind: Literal["string", "unit"] = option("string", "the mark's attribute")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        for function in op.regions[0].blocks[0].operations:
            value = ir.StringAttr.get(self.text) if self.kind == "string" else ir.UnitAttr.get()
            function.attributes["test.mark"] = value
            context.statistics["functions marked"] += 1


@dataclass(frozen=True)
class CountPass(Pass):
    """Counts the operations of a function in an attribute."""

    name: ClassVar[str] = "test-count"
    anchor: ClassVar[str] = "func.func"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        count = sum(1 for _ in op.regions[0].blocks[0].operations)
        op.attributes["test.count"] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), count)
        context.statistics["operations"] += count


@dataclass(frozen=True)
class RefusePass(Pass):
    """Refuses every constant whose value is not 1."""

    name: ClassVar[str] = "test-refuse"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        for function in op.regions[0].blocks[0].operations:
            for inner in function.regions[0].blocks[0].operations:
                if inner.operation.name == "arith.constant" and str(inner.attributes["value"]) != "1 : i32":
                    raise op_error(inner, "the value 1 : i32", str(inner.attributes["value"]), "use 1")


@dataclass(frozen=True)
class BreakPass(Pass):
    """Leaves invalid IR behind."""

    name: ClassVar[str] = "test-break"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        del op.regions[0].blocks[0].operations[0].attributes["function_type"]


@dataclass(frozen=True)
class BugPass(Pass):
    """Raises an exception that no pass should."""

    name: ClassVar[str] = "test-bug"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        raise KeyError("forgotten")
