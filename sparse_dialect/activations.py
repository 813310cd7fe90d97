"""The activations that layers absorb: one entry each, which import, verifier and every emitter read.

    Activation("hardswish", mul(mul(X, clamp(add(X, 3.0), 0.0, 6.0)), 1 / 6))

An entry is a name and a formula. ``sparse-raise-linalg`` recognises the formula in linalg, however it is
written there (``transforms/raise_linalg/normal_form.py``); ``evaluate`` computes it, with numpy here and with
vectors in ``lowering/cpu/emit/formula.py``. So a new activation is one line of ``TABLE``.

A formula is a tree of tuples: ``X``, ("number", value) or (operation, *trees). Its operations are add, sub,
mul, div, neg, max, min, exp, sigmoid, tanh and sqrt. NaN goes through every one of them, as in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from .errors import EspalierError, op_error
from .ir.mlir import ir

Formula = tuple[Any, ...]
T = TypeVar("T")
X: Formula = ("x",)


def _term(value: Formula | float) -> Formula:
    return value if isinstance(value, tuple) else ("number", float(value))


def add(left: Formula | float, right: Formula | float) -> Formula:
    """The sum of two formulas or numbers."""
    return ("add", _term(left), _term(right))


def mul(left: Formula | float, right: Formula | float) -> Formula:
    """The product of two formulas or numbers."""
    return ("mul", _term(left), _term(right))


def clamp(value: Formula, low: float = -math.inf, high: float = math.inf) -> Formula:
    """``value`` cut to [low, high]; NaN stays NaN."""
    if low > -math.inf:
        value = ("max", value, _term(low))
    return ("min", value, _term(high)) if high < math.inf else value


@dataclass(frozen=True)
class Activation:
    """
    A function of one number, applied to every element of a layer's result.

    ``monotone``: it never falls as its argument rises, so that it may be taken after a maximum instead of
    before it. Called with an array, it gives the reference result in the array's dtype.
    """

    name: str
    formula: Formula
    monotone: bool = False

    def __call__(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(evaluate(self.formula, x, x.dtype.type, _numpy), x.dtype)


TABLE: dict[str, Activation] = {entry.name: entry for entry in (
    Activation("none", X, monotone=True),
    Activation("relu", clamp(X, 0.0), monotone=True),
    Activation("relu6", clamp(X, 0.0, 6.0), monotone=True),
    Activation("hardswish", mul(mul(X, clamp(add(X, 3.0), 0.0, 6.0)), 1 / 6)),
    Activation("silu", mul(X, ("sigmoid", X))),
)}


def register(activation: Activation) -> None:
    """Adds ``activation`` to the table, for a plug-in; raises ``EspalierError`` where its name is taken."""
    if activation.name in TABLE:
        raise EspalierError(f"activation '{activation.name}' is registered already")
    TABLE[activation.name] = activation


def activation_named(name: str) -> Activation:
    """The entry of that name; raises ``EspalierError`` where there is none."""
    if name not in TABLE:
        raise EspalierError(f"expected an activation among {', '.join(TABLE)}, found '{name}'")
    return TABLE[name]


def activation_of(op: Any) -> Activation:
    """The activation of a layer; raises ``PassError``, which names the op, where the table has no such."""
    name = ir.StringAttr(op.operation.attributes["activation"]).value
    if name not in TABLE:
        raise op_error(op, f"an activation among {', '.join(TABLE)}", f"'{name}'", "register it first")
    return TABLE[name]


def evaluate(formula: Formula, x: T, number: Callable[[float], T], apply: Callable[..., T]) -> T:
    """The formula at ``x``: ``number`` makes a constant, ``apply(operation, *operands)`` computes."""
    operation, *operands = formula
    if operation == "x":
        return x
    if operation == "number":
        return number(operands[0])
    return apply(operation, *(evaluate(operand, x, number, apply) for operand in operands))


_NUMPY: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
    "max": np.maximum, "min": np.minimum, "exp": np.exp, "tanh": np.tanh, "sqrt": np.sqrt,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def _numpy(operation: str, *operands: Any) -> Any:
    return _NUMPY[operation](*operands)
