"""Reductions along the vectors: what a sum, product, maximum or the like starts from, and how lanes join.

A reduction that is recognised here may be cut into lanes: its body ends in one operation that joins a new
value with the one so far, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...ir.mlir import bindings, ir
from .body import clone
from .nest import Nest

vector: Any = bindings("dialects.vector")

Value = Any
INFINITY = float("inf")


def _ones(type_: ir.Type) -> int:
    return -1


def _largest(type_: ir.Type) -> int:
    return int((1 << (ir.IntegerType(type_).width - 1)) - 1)


def _smallest(type_: ir.Type) -> int:
    return -_largest(type_) - 1


# what changes nothing, by the operation that joins two values
NEUTRAL: dict[str, Callable[[ir.Type], float]] = {
    "arith.addf": lambda type_: -0.0, "arith.mulf": lambda type_: 1.0,
    "arith.maximumf": lambda type_: -INFINITY, "arith.maxnumf": lambda type_: -INFINITY,
    "arith.minimumf": lambda type_: INFINITY, "arith.minnumf": lambda type_: INFINITY,
    "arith.addi": lambda type_: 0, "arith.muli": lambda type_: 1, "arith.andi": _ones,
    "arith.ori": lambda type_: 0, "arith.xori": lambda type_: 0, "arith.maxui": lambda type_: 0,
    "arith.minui": _ones, "arith.maxsi": _smallest, "arith.minsi": _largest}


@dataclass(frozen=True)
class Joins:
    """The operation that joins a new value with the one so far, for one output."""

    op: ir.Operation

    @property
    def neutral(self) -> float:
        return NEUTRAL[self.op.name](self.op.results[0].type)

    def join(self, a: Value, b: Value) -> Value:
        return clone(self.op, [a, b], a.type)

    def all(self, values: Sequence[Value]) -> Value:
        """All of ``values`` joined, two by two."""
        while len(values) > 1:
            pairs = [self.join(a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
            values = [*pairs, *values[2 * len(pairs):]]
        return values[0]

    def across(self, lanes: Value) -> Value:
        """All lanes of a vector joined, half with half."""
        width = ir.VectorType(lanes.type).shape[0]
        while width > 1:
            width //= 2
            low = vector.ShuffleOp(lanes, lanes, list(range(width))).result
            high = vector.ShuffleOp(lanes, lanes, list(range(width, 2 * width))).result
            lanes = self.join(low, high)
        return vector.ExtractOp(lanes, [], [0]).result


def joins_of(nest: Nest) -> list[Joins] | None:
    """How each output is joined; None where that is not known."""
    *_, end = [view.operation for view in nest.body.operations]
    arguments = list(nest.body.arguments)[len(nest.inputs):]
    found = []
    for argument, value in zip(arguments, end.operands, strict=True):
        users = [use.owner.operation for use in argument.uses]
        owner = None if isinstance(value.owner, ir.Block) else value.owner.operation
        if owner is None or users != [owner] or owner.name not in NEUTRAL or len(list(value.uses)) != 1:
            return None
        found.append(Joins(owner))
    return found
