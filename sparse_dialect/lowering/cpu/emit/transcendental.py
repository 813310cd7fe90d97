"""Exponential, logarithm and their kin of vectors: the gates of recurrent layers, and ``sparse-expand-math``.

All are within 5e-7 of the exact value, relatively, where that is a normal number (``erf``: absolutely); NaN
stays NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

from ....ir.mlir import ir
from .builder import Builder, Value, arith, vector

LARGEST = 88.0  # exp of it is finite in f32
LOG2E = 1.44269504088896341
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # their sum is ln 2; a small integer times the first is exact
ROUND = 1.5 * 2**23  # adding it rounds to an integer, which the lowest bits of the sum hold
EXPONENT, BIAS = 23, 127  # where the exponent begins among the bits of f32, and what that of 1 is
RECIPROCAL_BITS = 0x7EF311C3  # less the bits of x > 0: those of 1 / x, nearly
ROOT_HALF_BITS = 0x3F3504F3  # how sqrt(1/2) is held
# exp(r) = 1 + r * P(r) for |r| <= ln(2) / 2, within 2e-8 (least largest error of exp, by Lawson's iteration)
EXP_P = (1.3843915300e-3, 8.3741753193e-3, 4.1667998637e-2, 1.6666431127e-1, 4.9999994221e-1, 1.0000000321)
# tanh(x) = x * P(x^2) / Q(x^2), for |x| up to where that is 1 exactly (Eigen's generic_fast_tanh_float):
# nothing may be left of 1 + tanh(-x) for a large x
IS_ONE = 7.99881172180175781
TANH_P = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-8,
          1.48572235717979e-5, 6.37261928875436e-4, 4.89352455891786e-3)
TANH_Q = (1.19825839466702e-6, 1.18534705686654e-4, 2.26843463243900e-3, 4.89352518554385e-3)
# erf(x) = x * P(x^2) / Q(x^2), for |x| up to where it rounds to 1 (Eigen's generic_fast_erf_float)
ERF_IS_ONE = 4.0
ERF_P = (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
         -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02)
ERF_Q = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
         -1.42647390514189e-02)
# log(1 + r) for sqrt(1/2) <= 1 + r < sqrt(2): r - r^2 / 2 + r^3 * P(r) (Cephes, logf)
LOG_P = (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
         -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)
SMALLEST_NORMAL = 2.0**-126
HALF_LN2 = 0.34657359


def exponential(b: Builder, x: Value) -> Value:
    """exp(x), of ``x`` cut to [-87, 88]."""
    held, rest = _reduced(b, b.clamp(x, -LARGEST + 1, LARGEST), BIAS)
    power = vector.BitCastOp(b.vector, _moved_up(b, held, EXPONENT)).result
    return arith.MulFOp(_horner(b, (*EXP_P, 1.0), rest), power).result


def exp(b: Builder, x: Value) -> Value:
    """exp(x) of any x: 0 and infinity where it is out of range. Two factors keep the exponents in theirs."""
    held, rest = _reduced(b, b.clamp(x, -104.0, 89.0), 2 * BIAS)
    half = _moved_up(b, held, EXPONENT - 1)
    half = arith.AndIOp(half, b.constant(half.type, -1 << EXPONENT)).result
    series = _horner(b, (*EXP_P, 1.0), rest)
    for part in (half, arith.SubIOp(_moved_up(b, held, EXPONENT), half).result):
        series = arith.MulFOp(series, vector.BitCastOp(b.vector, part).result).result
    return series


def expm1(b: Builder, x: Value) -> Value:
    """exp(x) - 1, exact near 0."""
    near = arith.MulFOp(x, _horner(b, EXP_P, x)).result
    far = arith.SubFOp(exp(b, x), b.splat(1.0)).result
    return arith.SelectOp(_is_less(_absolute(b, x), b.splat(HALF_LN2)), near, far).result


def log(b: Builder, x: Value) -> Value:
    """The natural logarithm: -infinity at 0, NaN below."""
    bits = ir.VectorType.get([b.lanes], b.i32)
    tiny = _is_less(x, b.splat(SMALLEST_NORMAL))
    scaled = arith.SelectOp(tiny, arith.MulFOp(x, b.splat(2.0**25)).result, x).result
    held = vector.BitCastOp(bits, scaled).result
    # subtracting the bits of sqrt(1/2) makes the exponent the nearest one
    moved = arith.SubIOp(held, b.constant(bits, ROOT_HALF_BITS)).result
    exponent = arith.ShRSIOp(moved, b.constant(bits, 23)).result
    mantissa = arith.SubIOp(held, arith.ShLIOp(exponent, b.constant(bits, 23)).result).result
    power = arith.SIToFPOp(b.vector, exponent).result
    less = arith.SelectOp(tiny, b.splat(25.0), b.splat(0.0)).result
    power = arith.SubFOp(power, less).result
    r = arith.SubFOp(vector.BitCastOp(b.vector, mantissa).result, b.splat(1.0)).result
    square = arith.MulFOp(r, r).result
    cube = arith.MulFOp(square, r).result
    small = b.fma(power, b.splat(LN2_LOW), arith.MulFOp(cube, _horner(b, LOG_P, r)).result)
    small = b.fma(square, b.splat(-0.5), small)
    result = b.fma(power, b.splat(LN2_HIGH), arith.AddFOp(r, small).result)
    unbounded = arith.CmpFOp(arith.CmpFPredicate.UEQ, x, b.splat(float("inf"))).result
    result = arith.SelectOp(unbounded, x, result).result  # infinity and NaN
    result = arith.SelectOp(_is_less(x, b.splat(0.0)), b.splat(float("nan")), result).result
    zero = arith.CmpFOp(arith.CmpFPredicate.OEQ, x, b.splat(0.0)).result
    return arith.SelectOp(zero, b.splat(-float("inf")), result).result


def log1p(b: Builder, x: Value) -> Value:
    """log(1 + x): what rounding 1 + x loses is put right by a factor (Kahan)."""
    one = b.splat(1.0)
    sum_ = arith.AddFOp(x, one).result
    gained = arith.SubFOp(sum_, one).result
    corrected = arith.MulFOp(log(b, sum_), arith.DivFOp(x, gained).result).result
    kept = arith.CmpFOp(arith.CmpFPredicate.OEQ, gained, b.splat(0.0)).result
    result = arith.SelectOp(kept, x, corrected).result
    unbounded = arith.CmpFOp(arith.CmpFPredicate.OEQ, x, b.splat(float("inf"))).result
    return arith.SelectOp(unbounded, x, result).result


def erf(b: Builder, x: Value) -> Value:
    """The error function."""
    x = b.clamp(x, -ERF_IS_ONE, ERF_IS_ONE)
    square = arith.MulFOp(x, x).result
    odd = arith.MulFOp(x, _horner(b, ERF_P, square)).result
    return _ratio(b, odd, _horner(b, ERF_Q, square))


def rsqrt(b: Builder, x: Value) -> Value:
    """1 / sqrt(x)"""
    root = ir.Operation.create("math.sqrt", results=[b.vector], operands=[x]).result
    return arith.DivFOp(b.splat(1.0), root).result


def _reduced(b: Builder, x: Value, bias: int) -> tuple[Value, Value]:
    """``x`` as n ln 2 + rest: a number whose lowest bits hold n + ``bias``, and the rest."""
    rounding = b.splat(ROUND + bias)
    held = b.fma(x, b.splat(LOG2E), rounding)
    power = arith.SubFOp(held, rounding).result
    return held, b.fma(power, b.splat(-LN2_LOW), b.fma(power, b.splat(-LN2_HIGH), x))


def _moved_up(b: Builder, x: Value, places: int) -> Value:
    """The bits of ``x``, ``places`` further up; nothing of ``ROUND`` is left from ``EXPONENT - 1`` on."""
    bits = ir.VectorType.get([b.lanes], b.i32)
    return arith.ShLIOp(vector.BitCastOp(bits, x).result, b.constant(bits, places)).result


def _is_less(a: Value, b: Value) -> Value:
    return arith.CmpFOp(arith.CmpFPredicate.OLT, a, b).result


def _absolute(b: Builder, x: Value) -> Value:
    return ir.Operation.create("math.absf", results=[b.vector], operands=[x]).result


def _ratio(b: Builder, above: Value, below: Value) -> Value:
    """``above`` / ``below`` for a normal ``below`` whose reciprocal is one, within an ulp; dividing takes as
    long as 16 products. Bits taken from a number guess at its reciprocal, to 12 %; two steps of Newton's take
    that to 1e-5, and what is left of the division puts the quotient right."""
    bits = ir.VectorType.get([b.lanes], b.i32)
    guess = arith.SubIOp(b.constant(bits, RECIPROCAL_BITS), vector.BitCastOp(bits, below).result).result
    inverse = vector.BitCastOp(b.vector, guess).result
    negative = arith.NegFOp(below).result
    for _ in range(2):
        left = b.fma(negative, inverse, b.splat(1.0))
        inverse = b.fma(left, inverse, inverse)
    quotient = arith.MulFOp(above, inverse).result
    return b.fma(b.fma(negative, quotient, above), inverse, quotient)


def _horner(b: Builder, coefficients: Sequence[float], x: Value) -> Value:
    """The polynomial with ``coefficients``, of the highest power first."""
    total = b.splat(coefficients[0])
    for coefficient in coefficients[1:]:
        total = b.fma(total, x, b.splat(coefficient))
    return total


def sigmoid(b: Builder, x: Value) -> Value:
    """1 / (1 + exp(-x))"""
    one = b.splat(1.0)
    power = exponential(b, arith.NegFOp(x).result)
    return arith.DivFOp(one, arith.AddFOp(one, power).result).result


def tanh(b: Builder, x: Value) -> Value:
    """The hyperbolic tangent."""
    x = b.clamp(x, -IS_ONE, IS_ONE)
    square = arith.MulFOp(x, x).result
    odd = arith.MulFOp(x, _horner(b, TANH_P, square)).result
    return arith.DivFOp(odd, _horner(b, TANH_Q, square)).result
