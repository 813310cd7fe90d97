"""What follows a layer: batch norm, bias, residual and activation, read off as one expression.

The elementwise ops behind a convolution or a matrix product are folded, in any order and any grouping into
generics, into ``clamp(scale * y + shift + residual, low, high)`` with ``scale`` and ``shift`` one f64
number a channel (axis 1). What does not fit this form ends the epilogue and stays in linalg.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np

from ...ir.mlir import ir
from .values import Elementwise, align, apply_numpy, evaluate, evaluate_tree, is_f32_tensor

ACTIVATION_OF_BOUNDS = {(-math.inf, math.inf): "none", (0.0, math.inf): "relu", (0.0, 6.0): "relu6"}


@dataclass(frozen=True)
class Epilogue:
    """clamp(scale * y + shift + residual, low, high); ``scale`` and ``shift`` are f64 [channels]."""

    scale: np.ndarray
    shift: np.ndarray
    residual: ir.Value | None = None
    low: float = -math.inf
    high: float = math.inf

    @staticmethod
    def identity(channels: int, shift: np.ndarray | None = None) -> Epilogue:
        """y + shift."""
        return Epilogue(np.ones(channels), np.zeros(channels) if shift is None else shift)

    @property
    def activation(self) -> str | None:
        """The name of the clamp among the dialect's activations; None while it is half of one."""
        return ACTIVATION_OF_BOUNDS.get((self.low, self.high))

    @property
    def is_scaled(self) -> bool:
        return bool(np.any(self.scale != 1.0))

    @property
    def is_linear(self) -> bool:
        """Whether a sum still commutes with it: nothing clamped yet."""
        return math.isinf(self.low) and math.isinf(self.high)


@dataclass(frozen=True)
class _Other:
    """Another tensor of the layer's shape."""

    value: ir.Value


_Term = Epilogue | _Other | np.ndarray


def absorb(before: Epilogue, body: Elementwise, value: ir.Value, residuals: bool) -> Epilogue | None:
    """``before`` followed by ``body``, which reads the layer's output ``value``; None for another form.

    ``value`` has type [N, channels, ...]; ``residuals`` allows one added tensor of the same type.
    """
    channels = len(before.scale)

    def leaf(index: int) -> _Term | None:
        operand = body.inputs[index]
        if operand == value:
            return before if body.is_identity(index) else None
        constant = _channel_constant(operand, body.maps[index], body.rank, channels)
        if constant is not None:
            return constant
        fits = residuals and body.is_identity(index) and operand.type == value.type and is_f32_tensor(operand)
        return _Other(operand) if fits else None

    if body.asserts:
        return None
    after = evaluate_tree(body.result, leaf, np.float64, _apply)
    return after if isinstance(after, Epilogue) else None


def _channel_constant(value: ir.Value, dims: tuple[int | None, ...], rank: int,
                      channels: int) -> np.ndarray | None:
    """A constant as f64 [channels] or, one number for all, [1]; None when it varies along another axis."""
    array = evaluate(value)
    aligned = None if array is None else align(array, dims, rank)
    if aligned is None or aligned.shape[1] not in (1, channels):
        return None
    line = aligned[(slice(0, 1), slice(None), *(slice(0, 1),) * (rank - 2))]
    return line.reshape(-1) if aligned.size == line.size or np.all(aligned == line) else None


def _apply(name: str, *terms: _Term) -> _Term | None:
    """One operation of a body; None where clamp(scale * y + shift + residual) cannot hold the result."""
    if all(_is_constant(t) for t in terms):
        return apply_numpy(name, *terms)
    if name == "neg" and isinstance(terms[0], Epilogue):
        return _scaled(terms[0], -1.0, 0.0)
    if len(terms) != 2:
        return None
    left, right = terms
    if isinstance(right, Epilogue) and name in ("add", "mul", "max", "min"):
        left, right = right, left
    if isinstance(right, Epilogue):
        return _scaled(right, -1.0, left) if name == "sub" and _is_constant(left) else None
    if not isinstance(left, Epilogue):
        return None
    if name in ("max", "min"):
        return _clamped(left, name, right)
    if not left.is_linear:
        return None
    if isinstance(right, _Other):
        return replace(left, residual=right.value) if name == "add" and left.residual is None else None
    if name in ("add", "sub"):
        return replace(left, shift=left.shift + right if name == "add" else left.shift - right)
    if name == "mul":
        return _scaled(left, right, 0.0)
    if name == "div":
        with np.errstate(all="ignore"):  # a zero divisor shows as a scale that is not finite
            return _scaled(left, 1.0 / np.asarray(right), 0.0)
    return None


def _is_constant(term: object) -> TypeGuard[np.ndarray]:
    return isinstance(term, np.ndarray | np.floating)


def _scaled(term: Epilogue, factor: np.ndarray | float, offset: np.ndarray | float) -> Epilogue | None:
    """term * factor + offset; not behind a residual or a clamp, and only with finite numbers."""
    scale, shift = term.scale * factor, term.shift * factor + offset
    if not np.all(np.isfinite(scale)) or not np.all(np.isfinite(shift)):
        return None
    return replace(term, scale=scale, shift=shift) if term.is_linear and term.residual is None else None


def _clamped(term: Epilogue, name: str, bound: _Term | None) -> Epilogue | None:
    if not _is_constant(bound) or np.any(bound != np.ravel(bound)[0]):
        return None
    number = float(np.ravel(bound)[0])
    if name == "max":
        after = replace(term, low=max(term.low, number))
    else:
        after = replace(term, high=min(term.high, number))
    return after if after.low <= after.high else None


__all__ = ["Epilogue", "absorb"]
