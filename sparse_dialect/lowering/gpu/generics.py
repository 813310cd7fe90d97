"""Reads elementwise linalg as the GPU's kernels take it.

    linalg.generic {parallel, maps of dimensions or zeros} { arith and math on f32 }  ->  Elementwise, Body

What is no such op is an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import op_error
from ...ir.constants import constant_of
from ...ir.mlir import ir
from ...ir.values import shape_of
from .emitter import Emitter
from .kernels.elementwise import Body, Elementwise, Operand
from .layout import Layout

COVERED = "a convolution, a linear or recurrent layer, a pool, or elementwise operations on f32"
_FORMULAS = {"arith.addf": "add", "arith.subf": "sub", "arith.mulf": "mul", "arith.divf": "div",
             "arith.maximumf": "max", "arith.minimumf": "min", "arith.negf": "neg", "math.exp": "exp",
             "math.tanh": "tanh", "math.sqrt": "sqrt"}
_AS_THEY_ARE = ("arith.maxnumf", "arith.minnumf", "math.absf", "math.rsqrt", "math.floor", "math.ceil",
                "math.log", "math.sin", "math.cos")
_PREDICATES = ("false", "oeq", "ogt", "oge", "olt", "ole", "one", "ord", "ueq", "ugt", "uge", "ult", "ule",
               "une", "uno", "true")


def read_generic(op: Any, known: Callable[[ir.Value], Layout], target: Layout, half: bool
                 ) -> tuple[Elementwise, Body, list[np.ndarray | ir.Value]]:
    """An elementwise op, what it computes, and its operands: arrays, or tensors whose layouts are ``known``.
    Raises ``PassError`` for any other op."""
    maps = [ir.AffineMapAttr(one).value for one in ir.ArrayAttr(op.attributes["indexing_maps"])]
    kinds = [str(kind) for kind in ir.ArrayAttr(op.attributes["iterator_types"])]
    inputs = list(op.operands)[: ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])[0]]
    out = _loops(op, maps[len(inputs)])
    in_order = out == tuple(range(len(kinds)))
    if any("parallel" not in kind for kind in kinds) or len(op.results) != 1 or not in_order:
        raise _unknown(op, "a reduction, several results, or a result in another order")
    operands, values = [], []
    for value, own in zip(inputs, maps, strict=False):
        array = constant_of(value)
        layout = None if array is not None else known(value)
        operands.append(Operand(layout, tuple(shape_of(value)), _loops(op, own)))
        values.append(value if array is None else array.astype(np.float32))
    shape = tuple(shape_of(op.results[0]))
    _check_body(op)
    return Elementwise(target, shape, tuple(operands), half), _body_of(op, len(inputs)), values


def _unknown(op: Any, found: str) -> Exception:
    return op_error(op, COVERED, found, "there is no GPU kernel for it; compile for a CPU")


def _loops(op: Any, own: ir.AffineMap) -> tuple[int | None, ...]:
    """The loop that each dimension follows; None: always 0."""
    found: list[int | None] = []
    for expression in own.results:
        if isinstance(expression, ir.AffineDimExpr):
            found.append(expression.position)
        elif isinstance(expression, ir.AffineConstantExpr) and expression.value == 0:
            found.append(None)
        else:
            raise _unknown(op, f"a place of {expression}")
    return tuple(found)


def _check_body(op: Any) -> None:
    for view in op.regions[0].blocks[0].operations:
        name = view.operation.name
        known = (*_FORMULAS, *_AS_THEY_ARE, "arith.cmpf", "arith.select", "arith.constant", "linalg.yield")
        if name not in known:
            raise _unknown(op, f"'{name}' in its body")


def _body_of(op: Any, inputs: int) -> Body:
    block = op.regions[0].blocks[0]

    def body(e: Emitter, values: list[str], type_: str) -> str:
        names: dict[Any, str] = dict(zip(list(block.arguments)[:inputs], values, strict=True))

        def value_of(value: Any) -> str:
            if value not in names:
                names[value] = e.real(_number(op, value), type_)
            return names[value]

        for view in block.operations:
            own = view.operation
            if own.name == "linalg.yield":
                return value_of(own.operands[0])
            if own.name != "arith.constant":
                names[own.results[0]] = _emit(e, own, [value_of(value) for value in own.operands], type_)
        raise AssertionError("a body without a yield")

    return body


def _number(op: Any, value: Any) -> float:
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.operation.name != "arith.constant":
        raise _unknown(op, "a number computed outside its body")
    attribute = owner.operation.attributes["value"]
    if not isinstance(attribute, ir.FloatAttr):
        raise _unknown(op, f"the constant {attribute}")
    return float(attribute.value)


def _emit(e: Emitter, own: Any, operands: list[str], type_: str) -> str:
    if own.name in _FORMULAS:
        return e.applied(_FORMULAS[own.name], operands, type_)
    if own.name == "arith.cmpf":
        predicate = _PREDICATES[ir.IntegerAttr(own.attributes["predicate"]).value]
        return e.new(f"arith.cmpf {predicate}, {operands[0]}, {operands[1]} : {type_}")
    if own.name == "arith.select":
        mask = "vector<4xi1>" if type_.startswith("vector") else "i1"
        types = f"{mask}, {type_}" if type_.startswith("vector") else type_
        return e.new(f"arith.select {', '.join(operands)} : {types}")
    return e.new(f"{own.name} {', '.join(operands)} : {type_}")
