"""Which dynamic sizes are a known number of time steps.

A compiled function has one free length, the number of steps T of its sequences: every dynamic size of its
inputs and outputs is T. What is computed from these sizes by reshapes, products and quotients is a multiple
of T,

    %d = memref.dim (memref.collapse_shape %x), %c0    with %x : memref<?x2x5xf32>    ->  2 T

and buffers of such sizes can be planned: so many bytes a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import Any

from ...ir.mlir import bindings, ir
from .arguments import byte_size, tensor_arguments

arith: Any = bindings("dialects.arith")
memref: Any = bindings("dialects.memref")

CASTS = ("arith.index_cast", "arith.index_castui")
DIVISIONS = ("arith.divsi", "arith.divui", "arith.floordivsi", "arith.ceildivsi", "arith.ceildivui")


def bytes_per_step(allocation: ir.Operation) -> int | None:
    """The bytes of a ``memref.alloc`` for each time step; None where its size is not a multiple of T."""
    type_ = ir.MemRefType(allocation.results[0].type)
    if type_.has_static_shape or len(allocation.operands) != 1:
        return None
    factor = steps(allocation.operands[0])
    if factor is None or factor.denominator != 1:
        return None
    static = [size for at, size in enumerate(type_.shape) if not type_.is_dynamic_dim(at)]
    return int(factor) * byte_size(ir.MemRefType.get(static, type_.element_type))


def steps(value: ir.Value) -> Fraction | None:
    """The f in ``value`` = f * T; None where that is not known."""
    if isinstance(value.owner, ir.Block):
        return None
    op = value.owner.operation
    if op.name == "memref.dim":
        at = _constant(op.operands[1])
        return None if at is None else _size(op.operands[0], at)
    if op.name in CASTS:
        return steps(op.operands[0])
    if op.name == "arith.muli":
        return _scaled(op.operands[0], op.operands[1]) or _scaled(op.operands[1], op.operands[0])
    if op.name in DIVISIONS:
        factor, divisor = steps(op.operands[0]), _constant(op.operands[1])
        return None if factor is None or not divisor else factor / divisor
    if op.name == "affine.apply":
        return _affine(ir.AffineMapAttr(op.attributes["map"]).value.results[0], list(op.operands))
    return None


def _scaled(value: ir.Value, factor: ir.Value) -> Fraction | None:
    known, number = steps(value), _constant(factor)
    return None if known is None or number is None else known * number


def _constant(value: ir.Value) -> int | None:
    if isinstance(value.owner, ir.Block) or value.owner.operation.name != "arith.constant":
        return None
    return ir.IntegerAttr(value.owner.operation.attributes["value"]).value


def _affine(expression: Any, operands: Sequence[ir.Value]) -> Fraction | None:
    """A product or quotient of an operand and a number. (torch-mlir's maps name one operand, as s0 or d0.)"""
    if isinstance(expression, ir.AffineDimExpr | ir.AffineSymbolExpr) and len(operands) == 1:
        return steps(operands[0])
    if not isinstance(expression, ir.AffineMulExpr | ir.AffineFloorDivExpr | ir.AffineCeilDivExpr):
        return None
    factor, number = _affine(expression.lhs, operands), expression.rhs
    if factor is None or not isinstance(number, ir.AffineConstantExpr) or number.value == 0:
        return None
    return factor * number.value if isinstance(expression, ir.AffineMulExpr) else factor / number.value


def _size(buffer: ir.Value, at: int) -> Fraction | None:
    """Size ``at`` of a buffer, where it is dynamic."""
    type_ = ir.MemRefType(buffer.type)
    if isinstance(buffer.owner, ir.Block):
        return Fraction(1) if type_.is_dynamic_dim(at) and _is_tensor_argument(buffer) else None
    if not type_.is_dynamic_dim(at):
        return None
    op = buffer.owner.operation
    place = sum(type_.is_dynamic_dim(earlier) for earlier in range(at))  # among the dynamic sizes
    if op.name == "memref.alloc":
        return steps(op.operands[place])
    if op.name == "memref.cast":
        return _size(op.operands[0], at)
    if op.name == "memref.expand_shape":
        return steps(op.operands[1 + place])
    if op.name == "memref.collapse_shape":
        return _collapsed(op, at)
    return None


def _collapsed(op: ir.Operation, at: int) -> Fraction | None:
    """The product of the sizes that become size ``at``."""
    source = op.operands[0]
    type_ = ir.MemRefType(source.type)
    groups = ir.ArrayAttr(op.attributes["reassociation"])
    group = [ir.IntegerAttr(dim).value for dim in ir.ArrayAttr(groups[at])]
    dynamic = [dim for dim in group if type_.is_dynamic_dim(dim)]
    factor = _size(source, dynamic[0]) if len(dynamic) == 1 else None
    return None if factor is None else factor * prod(type_.shape[dim] for dim in group if dim not in dynamic)


def _is_tensor_argument(value: ir.Value) -> bool:
    """Whether ``value`` is an input or an output of a function."""
    function = value.owner.owner
    if function.operation.name != "func.func":
        return False
    return ir.BlockArgument(value).arg_number in tensor_arguments(function.operation.parent, function)
