"""Exponential, sigmoid and hyperbolic tangent of vectors: the gates of recurrent layers.

All are within 5e-7 of the exact value, relatively, where that is a normal number; NaN stays NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

from ....ir.mlir import ir
from .builder import Builder, Value, arith, vector

LARGEST = 88.0  # exp of it is finite in f32
LOG2E = 1.44269504088896341
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # their sum is ln 2; a small integer times the first is exact
ROUND = 1.5 * 2**23  # adding it rounds to an integer, which the lowest bits of the sum hold
# exp(r) for |r| <= ln(2) / 2: 1 + r + r^2 * P(r) (Cephes, expf)
POLYNOMIAL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
              5.0000001201e-1)
# tanh(x) = x * P(x^2) / Q(x^2), for |x| up to where it rounds to 1 (Eigen's generic_fast_tanh_float)
ALMOST_ONE = 7.90531110763549805
TANH_P = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-8,
          1.48572235717979e-5, 6.37261928875436e-4, 4.89352455891786e-3)
TANH_Q = (1.19825839466702e-6, 1.18534705686654e-4, 2.26843463243900e-3, 4.89352518554385e-3)


def exponential(b: Builder, x: Value) -> Value:
    """exp(x), of ``x`` cut to [-87, 88]."""
    x = b.clamp(x, -LARGEST + 1, LARGEST)
    rounded = b.fma(x, b.splat(LOG2E), b.splat(ROUND))
    power = arith.SubFOp(rounded, b.splat(ROUND)).result
    rest = b.fma(power, b.splat(-LN2_LOW), b.fma(power, b.splat(-LN2_HIGH), x))
    series = _horner(b, POLYNOMIAL, rest)
    linear = arith.AddFOp(rest, b.splat(1.0)).result
    series = b.fma(series, arith.MulFOp(rest, rest).result, linear)
    return arith.MulFOp(series, _two_to_the(b, rounded)).result


def _two_to_the(b: Builder, rounded: Value) -> Value:
    """2^n, where the lowest bits of ``rounded`` hold the integer n: moves them to the exponent's place."""
    bits = ir.VectorType.get([b.lanes], b.i32)
    exponent = arith.ShLIOp(vector.BitCastOp(bits, rounded).result, b.constant(bits, 23)).result
    return vector.BitCastOp(b.vector, arith.AddIOp(exponent, b.constant(bits, 127 << 23)).result).result


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
    x = b.clamp(x, -ALMOST_ONE, ALMOST_ONE)
    square = arith.MulFOp(x, x).result
    odd = arith.MulFOp(x, _horner(b, TANH_P, square)).result
    return arith.DivFOp(odd, _horner(b, TANH_Q, square)).result
