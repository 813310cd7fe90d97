"""Special functions as formulas in double precision, rounded to the dtype that is asked for.

    aten.erfc %x : f32   ->   %z = to f64 %x, for %x >= 0
                              to f32 (p((%z - 2) / (%z + 2)) / (%z + 2) * exp(-%z * %z))

Errors, relative to the value: below 1e-6, of f64 below 1e-13 (around roots below 0: absolutely). Sources:
Abramowitz and Stegun, 6.3.18 (digamma), 6.1.41 (lgamma); ``series.py``. Infinities, NaN and poles are
PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial, inf, log, nan, pi
from typing import Any

import numpy as np
import torch

from . import series
from .series import polynomial, value

aten = torch.ops.aten
SHIFTS = 8  # an argument of 8 or more is what the asymptotic series take
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160)
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
GONE = 30.0  # exp(-x * x) is 0 from here on, and exp(x * x) infinite
GRID = 16.0  # squares of numbers below GONE with this denominator are exact
Formula = Callable[[torch.Tensor, bool], torch.Tensor]


def _in_doubles(formula: Formula) -> Callable[[torch.Tensor], torch.Tensor]:
    """``formula`` of doubles, which is told whether doubles are asked for too."""
    def decomposed(x: torch.Tensor) -> torch.Tensor:
        dtype = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
        return formula(x.to(torch.float64), dtype == torch.float64).to(dtype)

    return decomposed


def _number(value: float) -> torch.Tensor:
    return torch.full((), value, dtype=torch.float64)


def _scaled_erfc(size: torch.Tensor, exact: bool) -> torch.Tensor:
    """exp(x * x) erfc(x) of ``size`` >= 0; infinity is the end of the series."""
    return value(1 - 4 / (size + 2), series.ERFCX, exact) / (size + 2)


def _exp_of_square(size: torch.Tensor, sign: int, exact: bool) -> torch.Tensor:
    """exp(``sign`` x * x), where rounding the square would be seen in two parts."""
    size = size.clamp(max=GONE)
    if not exact:
        return torch.exp(sign * size * size)
    near = torch.round(size * GRID) / GRID
    return torch.exp(sign * near * near) * torch.exp(sign * (size - near) * (size + near))


def erfc(x: torch.Tensor, exact: bool) -> torch.Tensor:
    """``aten.erfc``, far out too, where 1 - erf is 0."""
    size = x.abs()
    far = _scaled_erfc(size, exact) * _exp_of_square(size, -1, exact)
    return torch.where(x < 0, 2 - far, far)


def erfinv(x: torch.Tensor, exact: bool) -> torch.Tensor:
    """``aten.erfinv``; infinite at 1 and -1, NaN beyond."""
    size = x.abs()
    width = -torch.log((1 - x) * (1 + x))
    near = value(width / 3.125 - 1, series.ERFINV_NEAR, exact)
    far = value((torch.sqrt(width) - 4.375) / 1.875, series.ERFINV_FAR, exact)
    found = torch.where(width < 6.25, near, far) * x
    return torch.where(size == 1, x * inf, torch.where(size > 1, _number(nan), found))


def lgamma(x: torch.Tensor, exact: bool) -> torch.Tensor:
    """``aten.lgamma``: the logarithm of the size of the gamma function, by Stirling's series; around its
    roots as their product with a series; below 1/2 by reflection."""
    below = x < 0.5
    argument = torch.where(below, 1 - x, x)
    shifted, product = _shifted(argument)
    inverse = 1 / shifted
    rest = inverse * polynomial(inverse * inverse, STIRLING)
    far = (shifted - 0.5) * torch.log(shifted) - shifted + 0.5 * log(2 * pi) + rest - torch.log(product)
    near = (argument - 1) * (argument - 2) * value(argument - 1.5, series.LGAMMA, exact)
    found = torch.where(argument < 2.5, near, far)
    sine = torch.sin(pi * (x - torch.round(x))).abs()
    reflected = log(pi) - torch.log(sine) - found
    pole = (x == torch.floor(x)) & (x <= 0)
    return torch.where(pole | (x.abs() == inf), _number(inf), torch.where(below, reflected, found))


def _shifted(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x + n, and x (x + 1) ... (x + n - 1), with n = ``SHIFTS`` where ``x`` is below that."""
    small = x < SHIFTS
    product = torch.ones_like(x)
    for step in range(SHIFTS):
        product = product * (x + step)
    return torch.where(small, x + SHIFTS, x), torch.where(small, product, _number(1))


def digamma(x: torch.Tensor, exact: bool) -> torch.Tensor:
    """``aten.digamma``: -inf at 0, inf at -0, NaN at whole numbers below."""
    below = x < 0.5
    argument = torch.where(below, 1 - x, x)
    small = argument < SHIFTS
    rest = sum((1 / (argument + step) for step in range(1, SHIFTS)), 1 / argument)
    shifted = torch.where(small, argument + SHIFTS, argument)
    inverse = 1 / shifted
    far = torch.log(shifted) - 0.5 * inverse - inverse * inverse * polynomial(inverse * inverse, DIGAMMA)
    found = far - torch.where(small, rest, _number(0))
    part = x - torch.round(x)
    found = torch.where(below, found - pi / torch.tan(pi * part), found)
    pole = (x == torch.floor(x)) & (x < 0)
    found = torch.where(x == 0, -1 / x, torch.where(pole | (x == -inf), _number(nan), found))
    return torch.where(x == inf, x, found)


def erfcx(x: torch.Tensor, exact: bool) -> torch.Tensor:
    """``aten.special_erfcx``: exp(x * x) erfc(x)."""
    size = x.abs()
    far = _scaled_erfc(size, exact)
    return torch.where(x < 0, 2 * _exp_of_square(size, 1, exact) - far, far)


def _bessel(near: tuple[float, ...], far: tuple[float, ...],
            odd: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """A modified Bessel function of the first kind, by exp(-|x|)."""

    def formula(x: torch.Tensor, exact: bool) -> torch.Tensor:
        size = x.abs()
        inner = value(size / 4 - 1, near, exact) * (x if odd else 1)
        outer = value(16 / size.clamp(min=8) - 1, far, exact) / torch.sqrt(size)
        return torch.where(size < 8, inner, outer * torch.sign(x) if odd else outer)

    return _in_doubles(formula)


def _times_exp(scaled: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """``scaled`` without its factor; PyTorch's too is infinite as soon as exp is."""

    def decomposed(x: torch.Tensor) -> torch.Tensor:
        found = scaled(x)
        return found * torch.exp(x.abs().to(found.dtype))

    return decomposed


def polygamma(order: int, x: torch.Tensor) -> torch.Tensor:
    """``aten.polygamma``: a derivative of digamma, by Euler and Maclaurin's sum (Abramowitz and Stegun,
    6.4.10 and 23.2.9), below 0 by reflection (6.4.7); infinite at the poles, where PyTorch's trigamma is only
    large."""
    if order == 0:
        return torch.digamma(x)
    sign = -1.0 if order % 2 == 0 else 1.0

    def formula(x: torch.Tensor, exact: bool) -> torch.Tensor:
        below = x < 0
        near = torch.where(below, 1 - x, x)
        shifted = near + SHIFTS + order
        inverse = 1 / shifted
        terms = [factorial(order - 1), factorial(order) / 2,
                 *(number * factorial(2 * at + 1 + order) / factorial(2 * at + 2)
                   for at, number in enumerate(BERNOULLI))]
        sums = polynomial(inverse * inverse, [terms[0], *terms[2:]]) + terms[1] * inverse
        found = sums * inverse**order
        for step in range(SHIFTS + order):
            found = found + factorial(order) / (near + step) ** (order + 1)
        slope = polynomial(1 / torch.tan(pi * (x - torch.round(x))), _slopes_of_cot(order))
        reflected = -found - pi ** (order + 1) * slope
        pole = (x == torch.floor(x)) & (x <= 0)
        return torch.where(pole, _number(sign * inf), torch.where(below, reflected, sign * found))

    return _in_doubles(formula)(x)


def _slopes_of_cot(order: int) -> list[float]:
    """That derivative of cot(y) by powers of cot(y), the lowest first: cot' is -(1 + cot^2)."""
    found = np.polynomial.Polynomial([0.0, 1.0])
    for _ in range(order):
        found = found.deriv() * np.polynomial.Polynomial([-1.0, 0.0, -1.0])
    return [float(number) for number in found.coef]


def spherical_j0(x: torch.Tensor, exact: bool) -> torch.Tensor:
    """``aten.special_spherical_bessel_j0``: sin(x) / x."""
    found = torch.where(x == 0, _number(1), torch.sin(x) / x)
    return torch.where(x.abs() == inf, _number(0), found)


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Operator of one tensor -> what it becomes."""
    formulas = {aten.erfc.default: erfc, aten.special_erfcx.default: erfcx, aten.erfinv.default: erfinv,
                aten.lgamma.default: lgamma, aten.digamma.default: digamma,
                aten.special_spherical_bessel_j0.default: spherical_j0}
    zeroth = _bessel(series.I0_NEAR, series.I0_FAR, False)
    first = _bessel(series.I1_NEAR, series.I1_FAR, True)
    return {**{operator: _in_doubles(formula) for operator, formula in formulas.items()},
            aten.special_modified_bessel_i0.default: _times_exp(zeroth),
            aten.special_modified_bessel_i1.default: _times_exp(first),
            aten.special_i0e.default: zeroth, aten.special_i1e.default: first,
            aten.i0.default: _times_exp(zeroth), aten.special_i1.default: _times_exp(first)}


__all__ = ["decompositions", "polygamma"]
