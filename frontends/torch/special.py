"""Special functions as formulas in double precision, rounded to the dtype that is asked for.

    aten.erfc %x : f32   ->   %z = to f64 %x, for %x >= 0
                              %t = 1 / (1 + %z / 2)
                              to f32 (%t * exp(p(%t) - %z * %z))

Errors, relative to the value: below 1e-6. Sources: Abramowitz and Stegun, 6.3.18 (digamma), 6.1.41 (lgamma),
9.8.1 to 9.8.8 (Bessel functions); Giles, Approximating the erfinv function, 2010; Press et al., Numerical
Recipes, 6.2 (erfc). Infinities, NaN and poles are PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, log, nan, pi
from typing import Any

import torch

aten = torch.ops.aten
SHIFTS = 8  # an argument of 8 or more is what the asymptotic series take
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
# lgamma around its roots: by powers of what is beyond 1, and beyond 2.
ROOTS = {1: (0.0, -0.5772156649015329, 0.8224670334241132, -0.40068563438653143, 0.27058080842778454),
         2: (0.0, 0.42278433509846714, 0.3224670334241132, -0.06735230105319809, 0.020580808427784546)}
DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760)
ERFC = (-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
        -0.82215223, 0.17087277)
ERFINV_NEAR = (1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.00021858087, -4.39150654e-06,
               -3.5233877e-06, 3.43273939e-07, 2.81022636e-08)
ERFINV_FAR = (2.83297682, 1.00167406, 0.00943887047, -0.0076224613, 0.00573950773, -0.00367342844,
              0.00134934322, 0.000100950558, -0.000200214257)
I0_NEAR = (1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.0360768, 0.0045813)
I0_FAR = (0.39894228, 0.01328592, 0.00225319, -0.00157565, 0.00916281, -0.02057706, 0.02635537, -0.01647633,
          0.00392377)
I1_NEAR = (0.5, 0.87890594, 0.51498869, 0.15084934, 0.02658733, 0.00301532, 0.00032411)
I1_FAR = (0.39894228, -0.03988024, -0.00362018, 0.00163801, -0.01031555, 0.02282967, -0.02895312, 0.01787654,
          -0.00420059)


def _in_doubles(formula: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    def decomposed(x: torch.Tensor) -> torch.Tensor:
        dtype = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
        return formula(x.to(torch.float64)).to(dtype)

    return decomposed


def _polynomial(x: torch.Tensor, coefficients: Sequence[float]) -> torch.Tensor:
    """The first coefficient is that of 1."""
    result = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + coefficient
    return result


def _number(value: float) -> torch.Tensor:
    return torch.full((), value, dtype=torch.float64)


def erfc(x: torch.Tensor) -> torch.Tensor:
    """``aten.erfc``, far out too, where 1 - erf is 0."""
    size = x.abs()
    share = 1 / (1 + 0.5 * size)
    far = share * torch.exp(-size * size + _polynomial(share, ERFC))
    return torch.where(x < 0, 2 - far, far)


def erfinv(x: torch.Tensor) -> torch.Tensor:
    """``aten.erfinv``; infinite at 1 and -1, NaN beyond."""
    size = x.abs()
    width = -torch.log((1 - x) * (1 + x))
    near = _polynomial(width - 2.5, ERFINV_NEAR)
    far = _polynomial(torch.sqrt(width) - 3, ERFINV_FAR)
    value = torch.where(width < 5, near, far) * x
    return torch.where(size == 1, x * inf, torch.where(size > 1, _number(nan), value))


def lgamma(x: torch.Tensor) -> torch.Tensor:
    """``aten.lgamma``: the logarithm of the size of the gamma function, by Stirling's series; below 1/2 by
    reflection."""
    below = x < 0.5
    argument = torch.where(below, 1 - x, x)
    shifted, product = _shifted(argument)
    inverse = 1 / shifted
    series = inverse * _polynomial(inverse * inverse, STIRLING)
    value = (shifted - 0.5) * torch.log(shifted) - shifted + 0.5 * log(2 * pi) + series - torch.log(product)
    for at, terms in ROOTS.items():
        value = torch.where((argument - at).abs() < 1e-3, _polynomial(argument - at, terms), value)
    sine = torch.sin(pi * (x - torch.round(x))).abs()
    reflected = log(pi) - torch.log(sine) - value
    pole = (x == torch.floor(x)) & (x <= 0)
    return torch.where(pole | (x.abs() == inf), _number(inf), torch.where(below, reflected, value))


def _shifted(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x + n, and x (x + 1) ... (x + n - 1), with n = ``SHIFTS`` where ``x`` is below that."""
    small = x < SHIFTS
    product = torch.ones_like(x)
    for step in range(SHIFTS):
        product = product * (x + step)
    return torch.where(small, x + SHIFTS, x), torch.where(small, product, _number(1))


def digamma(x: torch.Tensor) -> torch.Tensor:
    """``aten.digamma``: -inf at 0, inf at -0, NaN at whole numbers below."""
    below = x < 0.5
    argument = torch.where(below, 1 - x, x)
    small = argument < SHIFTS
    rest = sum((1 / (argument + step) for step in range(1, SHIFTS)), 1 / argument)
    shifted = torch.where(small, argument + SHIFTS, argument)
    inverse = 1 / shifted
    series = torch.log(shifted) - 0.5 * inverse - inverse * inverse * _polynomial(inverse * inverse, DIGAMMA)
    value = series - torch.where(small, rest, _number(0))
    part = x - torch.round(x)
    value = torch.where(below, value - pi / torch.tan(pi * part), value)
    pole = (x == torch.floor(x)) & (x < 0)
    value = torch.where(x == 0, -1 / x, torch.where(pole | (x == -inf), _number(nan), value))
    return torch.where(x == inf, x, value)


def erfcx(x: torch.Tensor) -> torch.Tensor:
    """``aten.special_erfcx``: exp(x * x) erfc(x)."""
    share = 1 / (1 + 0.5 * x.abs())
    far = share * torch.exp(_polynomial(share, ERFC))
    return torch.where(x < 0, 2 * torch.exp(x * x) - far, far)


def _bessel(near: Sequence[float], far: Sequence[float], odd: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """A modified Bessel function of the first kind, by exp(-|x|)."""

    def formula(x: torch.Tensor) -> torch.Tensor:
        size = x.abs()
        share = size / 3.75
        inner = _polynomial(share * share, near) * torch.exp(-size) * (x if odd else 1)
        outer = _polynomial(1 / torch.maximum(share, _number(1)), far) / torch.sqrt(size)
        return torch.where(size < 3.75, inner, outer * torch.sign(x) if odd else outer)

    return _in_doubles(formula)


def _times_exp(scaled: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """``scaled`` without its factor; PyTorch's too is infinite as soon as exp is."""

    def decomposed(x: torch.Tensor) -> torch.Tensor:
        value = scaled(x)
        return value * torch.exp(x.abs().to(value.dtype))

    return decomposed


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Operator -> what it becomes."""
    formulas = {aten.erfc.default: erfc, aten.special_erfcx.default: erfcx, aten.erfinv.default: erfinv,
                aten.lgamma.default: lgamma, aten.digamma.default: digamma}
    zeroth, first = _bessel(I0_NEAR, I0_FAR, False), _bessel(I1_NEAR, I1_FAR, True)
    return {**{operator: _in_doubles(formula) for operator, formula in formulas.items()},
            aten.special_i0e.default: zeroth, aten.special_i1e.default: first,
            aten.i0.default: _times_exp(zeroth), aten.special_i1.default: _times_exp(first)}


__all__ = ["decompositions"]
