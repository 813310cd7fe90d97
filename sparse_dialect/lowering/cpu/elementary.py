"""Sigmoid and hyperbolic tangent of vectors, from one exponential: the gates of recurrent layers.

Both are within 2e-7 of the exact value, absolutely; NaN stays NaN.
"""

from __future__ import annotations

from ...mlir import ir
from .builder import Builder, Value, arith, vector

LARGEST = 88.0  # exp of it is finite in f32
LOG2E = 1.44269504088896341
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # their sum is ln 2; a small integer times the first is exact
ROUND = 1.5 * 2**23  # adding it rounds to an integer, which the lowest bits of the sum hold
# exp(r) for |r| <= ln(2) / 2: 1 + r + r^2 * P(r) (Cephes, expf)
POLYNOMIAL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
              5.0000001201e-1)


def exponential(b: Builder, x: Value) -> Value:
    """exp(x), of ``x`` cut to [-87, 88], within 2e-7 of the exact value, relatively."""
    x = b.clamp(x, -LARGEST + 1, LARGEST)
    rounded = b.fma(x, b.splat(LOG2E), b.splat(ROUND))
    power = arith.SubFOp(rounded, b.splat(ROUND)).result
    rest = b.fma(power, b.splat(-LN2_LOW), b.fma(power, b.splat(-LN2_HIGH), x))
    series = b.splat(POLYNOMIAL[0])
    for coefficient in POLYNOMIAL[1:]:
        series = b.fma(series, rest, b.splat(coefficient))
    linear = arith.AddFOp(rest, b.splat(1.0)).result
    series = b.fma(series, arith.MulFOp(rest, rest).result, linear)
    return arith.MulFOp(series, _two_to_the(b, rounded)).result


def _two_to_the(b: Builder, rounded: Value) -> Value:
    """2^n, where the lowest bits of ``rounded`` hold the integer n: moves them to the exponent's place."""
    bits = ir.VectorType.get([b.lanes], b.i32)
    exponent = arith.ShLIOp(vector.BitCastOp(bits, rounded).result, b.constant(bits, 23)).result
    return vector.BitCastOp(b.vector, arith.AddIOp(exponent, b.constant(bits, 127 << 23)).result).result


def sigmoid(b: Builder, x: Value) -> Value:
    """1 / (1 + exp(-x))"""
    return _inverse(b, exponential(b, arith.NegFOp(x).result))


def tanh(b: Builder, x: Value) -> Value:
    """1 - 2 / (1 + exp(2 x))"""
    twice = arith.AddFOp(x, x).result
    return b.fma(b.splat(-2.0), _inverse(b, exponential(b, twice)), b.splat(1.0))


def _inverse(b: Builder, x: Value) -> Value:
    """1 / (1 + x)"""
    one = b.splat(1.0)
    return arith.DivFOp(one, arith.AddFOp(one, x).result).result
