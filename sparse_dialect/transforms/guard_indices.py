"""``sparse-guard-indices``: what reads or writes a tensor where data say asserts that it is in range.

    %i = arith.index_cast %in : i64 to index         %i = arith.index_cast %in : i64 to index
    %x = tensor.extract %table[%i]               ->  %ok = arith.cmpi ult, %i, %c5 : index
                                                     cf.assert %ok, "an index is out of range ..."
                                                     %safe = arith.select %ok, %i, %c0 : index
                                                     %x = tensor.extract %table[%safe]
    tm_tensor.scatter ins(%x, %at) outs(%y)      ->  %own = linalg.generic ins(%at, %sizes) { assert, or 0 }
                                                     tm_tensor.scatter ins(%x, %own) outs(%y)

torch-mlir asserts this of embeddings and ``gather``, not of ``index_select``, ``x[:, i]``, ``take`` and
scatters. A failed assertion is noted and the run goes on (``sparse-record-assertions``), which must not touch
other memory: element 0 is read and written in place of one that is out of range. A place is data's where
integers that a caller gives, or rounded numbers, reach it from outside of the body; one that is made of
loops, constants and sorts is the program's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.constants import constant
from ..ir.mlir import bindings, ir
from ..ir.values import element_of, shape_of
from ..ir.walk import blocks
from ..passes import Pass, PassContext

arith: Any = bindings("dialects.arith")
cf: Any = bindings("dialects.cf")
linalg: Any = bindings("dialects.linalg")
tensor: Any = bindings("dialects.tensor")

Value = Any


@dataclass(frozen=True)
class GuardIndicesPass(Pass):
    """
    Asserts that the places of tensor.extract and tm_tensor.scatter are in range where data decide them.

    What is asserted already is not asserted again, but is in range from then on. A scatter's place below zero
    counts from the end, as `x[i] = y` has it.
    """

    name = "sparse-guard-indices"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context, ir.Location.unknown():
            data = _Data()
            for block in list(blocks(op)):
                for view in list(block.operations):
                    own = view.operation
                    if own.name == "tensor.extract" and _body_of(block) is not None:
                        context.statistics["guarded places"] += _guard_reads(own, data)
                    elif own.name == "tm_tensor.scatter" and data.reach(own.operands[1]):
                        _guard_writes(own)
                        context.statistics["guarded places"] += 1


def _body_of(block: ir.Block) -> ir.Operation | None:
    """The linalg.generic whose body the block is."""
    owner = block.owner.operation
    return owner if owner.name == "linalg.generic" else None


class _Data:
    """Which integers depend on what a run is given."""

    def __init__(self) -> None:
        self._known: dict[Value, bool] = {}

    def reach(self, value: Value) -> bool:
        """Whether they reach ``value``, a number in a body or a tensor."""
        if value not in self._known:
            self._known[value] = False  # a value does not depend on itself
            self._known[value] = self._of_argument(value) if isinstance(value.owner, ir.Block) else (
                self._of_result(value, value.owner.operation))
        return self._known[value]

    def _of_argument(self, value: Value) -> bool:
        body = _body_of(value.owner)
        number = ir.BlockArgument(value).arg_number
        return True if body is None else _is_integer(value) and self.reach(body.operands[number])

    def _of_result(self, value: Value, op: Any) -> bool:
        if op.name == "linalg.generic":
            block = op.regions[0].blocks[0]
            end = list(block.operations)[-1].operation
            given = end.operands[list(op.results).index(value)]
            return _rounds(given) or self.reach(given)
        if op.name == "tensor.extract":
            return self.reach(op.operands[0])
        return any(self.reach(operand) for operand in op.operands if _is_integer(operand))


def _rounds(value: Value) -> bool:
    """Whether a body's integer is a rounded number."""
    owner = value.owner
    return not isinstance(owner, ir.Block) and owner.operation.name in ("arith.fptosi", "arith.fptoui")


def _is_integer(value: Value) -> bool:
    """Whether it is an integer of more than one bit, or a tensor of them."""
    type_ = value.type if not isinstance(value.type, ir.RankedTensorType) else element_of(value.type)
    return isinstance(type_, ir.IndexType) or (isinstance(type_, ir.IntegerType) and
                                               ir.IntegerType(type_).width > 1)


def _guard_reads(op: ir.Operation, data: _Data) -> int:
    """Asserts what a tensor.extract needs, and lets it read element 0 otherwise; of how many places."""
    source, *places = op.operands
    asserted = _asserted(op.block)
    wanted = [axis for axis, place in enumerate(places) if data.reach(place)]
    for axis in wanted:
        body = op.block.owner.operation
        size = _size(body, source, axis)
        with ir.InsertionPoint(body), op.location:
            first = arith.ConstantOp(ir.IndexType.get(), 0).result
        with ir.InsertionPoint(op), op.location:
            inside = arith.CmpIOp(arith.CmpIPredicate.ult, places[axis], size).result
            if _source(places[axis]) not in asserted:
                cf.AssertOp(inside, _message(source, axis))
            op.operands[axis + 1] = arith.SelectOp(inside, places[axis], first).result
    return len(wanted)


def _asserted(block: ir.Block) -> list[Value]:
    """What the assertions of a body compare."""
    conditions = [view.operation.operands[0].owner for view in block.operations
                  if view.operation.name == "cf.assert"]
    return [_source(value) for owner in conditions if not isinstance(owner, ir.Block)
            for value in owner.operation.operands]


def _source(value: Value) -> Value:
    """An integer before it was cast."""
    owner = value.owner
    cast = not isinstance(owner, ir.Block) and owner.operation.name == "arith.index_cast"
    return owner.operation.operands[0] if cast else value


def _size(before: ir.Operation, source: Value, axis: int) -> Value:
    """A size of a tensor, in front of an operation."""
    with ir.InsertionPoint(before):
        index, size = ir.IndexType.get(), shape_of(source)[axis]
        if size == ir.ShapedType.get_dynamic_size():
            return tensor.DimOp(source, arith.ConstantOp(index, axis).result).result
        return arith.ConstantOp(index, size).result


def _message(tensor_: Value, axis: int) -> str:
    size = shape_of(tensor_)[axis]
    known = "" if size == ir.ShapedType.get_dynamic_size() else f", which has {size} elements"
    return f"an index is out of range for dimension {axis}{known}"


def _guard_writes(op: Any) -> None:
    """The places of a tm_tensor.scatter from the beginning, 0 where they are out of range."""
    places, target = op.operands[1], op.operands[2]
    axes = list(ir.DenseI64ArrayAttr(op.attributes["dimension_map"]))
    element = element_of(places.type)
    width = np.int64 if ir.IntegerType(element).width == 64 else np.int32
    sizes = np.array([shape_of(target)[axis] for axis in axes], width)
    row, column = (ir.AffineExpr.get_dim(at) for at in range(2))
    maps = [ir.AffineMap.get(2, 0, own) for own in ([row, column], [column], [row, column])]
    kinds = [ir.Attribute.parse("#linalg.iterator_type<parallel>")] * 2
    with ir.InsertionPoint(op), op.location:
        limits = constant(sizes)
        like = tensor.EmptyOp(shape_of(places), element).result
        own = linalg.GenericOp([places.type], [places, limits], [like],
                               ir.ArrayAttr.get([ir.AffineMapAttr.get(one) for one in maps]),
                               ir.ArrayAttr.get(kinds))
        block = own.regions[0].blocks.append(*[element] * 3, arg_locs=[op.location] * 3)
    with ir.InsertionPoint(block), op.location:
        place, limit, _ = block.arguments
        zero = arith.ConstantOp(element, 0).result
        below = arith.CmpIOp(arith.CmpIPredicate.slt, place, zero).result
        counted = arith.SelectOp(below, arith.AddIOp(place, limit).result, place).result
        inside = arith.CmpIOp(arith.CmpIPredicate.ult, counted, limit).result
        cf.AssertOp(inside, "an index of a scatter is out of range")
        linalg.YieldOp([arith.SelectOp(inside, counted, zero).result])
    op.operands[1] = own.results[0]
