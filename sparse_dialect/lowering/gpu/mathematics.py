"""Functions of f32 that SPIR-V has not, or leaves to the driver's taste, as arithmetic.

Polynomials are those of the CPU's code (``cpu/emit/transcendental.py``). NaN stays NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..cpu.emit.transcendental import ERF_IS_ONE, ERF_P, ERF_Q
from .emitter import Emitter

LARGEST_POWER = 16  # a constant exponent up to this is a few products
_NEAR_ZERO = 0.3

Function = Callable[[Emitter, Sequence[str], str, float | None], str]


def _op(e: Emitter, name: str, type_: str, *operands: str) -> str:
    return e.new(f"{name} {', '.join(operands)} : {type_}")


def _chosen(e: Emitter, condition: str, a: str, b: str, type_: str) -> str:
    types = f"{type_.replace('f32', 'i1')}, {type_}" if type_.startswith("vector") else type_
    return e.new(f"arith.select {condition}, {a}, {b} : {types}")


def _is(e: Emitter, predicate: str, a: str, b: str, type_: str) -> str:
    return e.new(f"arith.cmpf {predicate}, {a}, {b} : {type_}")


def _horner(e: Emitter, coefficients: Sequence[float], x: str, type_: str) -> str:
    total = e.real(coefficients[0], type_)
    for coefficient in coefficients[1:]:
        product = _op(e, "arith.mulf", type_, total, x)
        total = _op(e, "arith.addf", type_, product, e.real(coefficient, type_))
    return total


def erf(e: Emitter, operands: Sequence[str], type_: str, _: float | None) -> str:
    """x * P(x^2) / Q(x^2), of x cut to where erf rounds to one."""
    x = _op(e, "arith.maximumf", type_, operands[0], e.real(-ERF_IS_ONE, type_))
    x = _op(e, "arith.minimumf", type_, x, e.real(ERF_IS_ONE, type_))
    square = _op(e, "arith.mulf", type_, x, x)
    above = _op(e, "arith.mulf", type_, x, _horner(e, ERF_P, square, type_))
    return _op(e, "arith.divf", type_, above, _horner(e, ERF_Q, square, type_))


def power(e: Emitter, operands: Sequence[str], type_: str, exponent: float | None) -> str:
    """x to the y: products for a small constant, else exp(y log|x|) with the sign that PyTorch gives."""
    x, y = operands
    if exponent is not None and exponent == int(exponent) and abs(exponent) <= LARGEST_POWER:
        value = _product(e, x, abs(int(exponent)), type_) if exponent else e.real(1, type_)
        return _op(e, "arith.divf", type_, e.real(1, type_), value) if exponent < 0 else value
    if exponent is not None:
        y = e.real(exponent, type_)
    logarithm = _op(e, "math.log", type_, _op(e, "math.absf", type_, x))
    value = _op(e, "math.exp", type_, _op(e, "arith.mulf", type_, y, logarithm))
    half = _op(e, "arith.mulf", type_, y, e.real(0.5, type_))
    odd = _is(e, "une", half, _op(e, "math.floor", type_, half), type_)
    negative = _chosen(e, odd, _op(e, "arith.negf", type_, value), value, type_)
    whole = _is(e, "oeq", y, _op(e, "math.floor", type_, y), type_)
    negative = _chosen(e, whole, negative, e.real(float("nan"), type_), type_)
    value = _chosen(e, _is(e, "olt", x, e.real(0, type_), type_), negative, value, type_)
    return _chosen(e, _is(e, "oeq", y, e.real(0, type_), type_), e.real(1, type_), value, type_)


def _product(e: Emitter, x: str, times: int, type_: str) -> str:
    """``x`` to a positive power, by squaring."""
    if times == 1:
        return x
    half = _product(e, x, times // 2, type_)
    square = _op(e, "arith.mulf", type_, half, half)
    return _op(e, "arith.mulf", type_, square, x) if times % 2 else square


def round_even(e: Emitter, operands: Sequence[str], type_: str, _: float | None) -> str:
    """To the nearest integer, halves to the even one."""
    x = operands[0]
    size = _op(e, "math.absf", type_, x)
    below = _op(e, "math.floor", type_, size)
    rest = _op(e, "arith.subf", type_, size, below)
    half_below = _op(e, "arith.mulf", type_, below, e.real(0.5, type_))
    odd = _is(e, "une", half_below, _op(e, "math.floor", type_, half_below), type_)
    above = _op(e, "arith.addf", type_, below, e.real(1, type_))
    half = e.real(0.5, type_)
    tie = _chosen(e, odd, above, below, type_)
    value = _chosen(e, _is(e, "ogt", rest, half, type_), above, below, type_)
    value = _chosen(e, _is(e, "oeq", rest, half, type_), tie, value, type_)
    negative = _is(e, "olt", x, e.real(0, type_), type_)
    return _chosen(e, negative, _op(e, "arith.negf", type_, value), value, type_)


def truncated(e: Emitter, operands: Sequence[str], type_: str, _: float | None) -> str:
    """Towards zero."""
    x = operands[0]
    negative = _is(e, "olt", x, e.real(0, type_), type_)
    return _chosen(e, negative, _op(e, "math.ceil", type_, x), _op(e, "math.floor", type_, x), type_)


def remainder(e: Emitter, operands: Sequence[str], type_: str, _: float | None) -> str:
    """a - b trunc(a / b)."""
    a, b = operands
    whole = truncated(e, [_op(e, "arith.divf", type_, a, b)], type_, None)
    return _op(e, "arith.subf", type_, a, _op(e, "arith.mulf", type_, b, whole))


def log1p(e: Emitter, operands: Sequence[str], type_: str, _: float | None) -> str:
    """log(1 + x): near zero, log(u) x / (u - 1), u the rounded 1 + x (Goldberg, 1991)."""
    x, one = operands[0], e.real(1, type_)
    total = _op(e, "arith.addf", type_, one, x)
    logarithm = _op(e, "math.log", type_, total)
    part = _op(e, "arith.subf", type_, total, one)
    mended = _op(e, "arith.divf", type_, _op(e, "arith.mulf", type_, logarithm, x), part)
    near = _is(e, "olt", _op(e, "math.absf", type_, x), one, type_)
    value = _chosen(e, near, mended, logarithm, type_)
    return _chosen(e, _is(e, "oeq", part, e.real(0, type_), type_), x, value, type_)


def expm1(e: Emitter, operands: Sequence[str], type_: str, _: float | None) -> str:
    """exp(x) - 1: near zero, its series up to the seventh power."""
    x = operands[0]
    series = [1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0]
    near = _op(e, "arith.mulf", type_, x, _horner(e, series, x, type_))
    far = _op(e, "arith.subf", type_, _op(e, "math.exp", type_, x), e.real(1, type_))
    close = _is(e, "olt", _op(e, "math.absf", type_, x), e.real(_NEAR_ZERO, type_), type_)
    return _chosen(e, close, near, far, type_)


def base_two(e: Emitter, operands: Sequence[str], type_: str, _: float | None) -> str:
    """2 to the x."""
    scaled = _op(e, "arith.mulf", type_, operands[0], e.real(0.6931471805599453, type_))
    return _op(e, "math.exp", type_, scaled)


def log_two(e: Emitter, operands: Sequence[str], type_: str, _: float | None) -> str:
    """The logarithm to base 2."""
    return _op(e, "arith.mulf", type_, _op(e, "math.log", type_, operands[0]),
               e.real(1.4426950408889634, type_))


FUNCTIONS: dict[str, Function] = {
    "math.erf": erf, "math.powf": power, "math.fpowi": power, "math.roundeven": round_even,
    "math.trunc": truncated, "arith.remf": remainder, "math.log1p": log1p, "math.expm1": expm1,
    "math.exp2": base_two, "math.log2": log_two}
