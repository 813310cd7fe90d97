"""Emits an activation's formula (``activations.py``) on vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....activations import activation_named, evaluate
from ....errors import EspalierError
from ....ir.mlir import bindings, ir
from . import transcendental
from .builder import Builder, Value, arith

math: Any = bindings("dialects.math")


def activated(b: Builder, value: Value, name: str) -> Value:
    """The activation called ``name`` of a vector; raises ``EspalierError`` for one that is not in the
    table."""
    return evaluate(activation_named(name).formula, value, b.splat, lambda *term: _apply(b, *term))


def _apply(b: Builder, operation: str, *operands: Value) -> Value:
    if operation in _SIMPLE:
        return _SIMPLE[operation](b, *operands)
    if operation not in _IN_F32:
        raise EspalierError(f"expected a formula of {', '.join((*_SIMPLE, *_IN_F32))}, found '{operation}'")
    single = ir.F32Type.get()  # whose exponents their polynomials need
    wide = b if b.element == single else Builder(b.entry, b.lanes, b.core, single)
    result = _IN_F32[operation](wide, *(wide.convert(operand, wide.vector) for operand in operands))
    return wide.convert(result, b.vector)


_SIMPLE: dict[str, Callable[..., Value]] = {
    "add": lambda b, x, y: arith.AddFOp(x, y).result, "sub": lambda b, x, y: arith.SubFOp(x, y).result,
    "mul": lambda b, x, y: arith.MulFOp(x, y).result, "div": lambda b, x, y: arith.DivFOp(x, y).result,
    "neg": lambda b, x: arith.NegFOp(x).result, "sqrt": lambda b, x: math.SqrtOp(x).result,
    "max": lambda b, x, y: b.maximum(y, x), "min": lambda b, x, y: b.least(y, x)}  # NaN of x stays
_IN_F32: dict[str, Callable[..., Value]] = {
    "exp": transcendental.exponential, "sigmoid": transcendental.sigmoid, "tanh": transcendental.tanh}
