"""Special functions, running extremes, searches and antialiased resizing: the decompositions give what
PyTorch does, and what they become is compiled."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import espalier
import pytest
import torch
from espalier.frontends.torch import antialias, operators, scans, special
from torch import nn

aten = torch.ops.aten
ENDS = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 9.5, -9.5, 88.0, -88.0, 120.0, 1e-30, -1e-30, 1e30, -1e30,
        inf, -inf, nan]


@pytest.mark.parametrize("operator", special.decompositions(), ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_special_functions_are_pytorchs(operator: Any, dtype: torch.dtype) -> None:
    x = torch.cat([torch.tensor(ENDS, dtype=dtype), torch.linspace(-7.3, 7.1, 3001, dtype=dtype),
                   1 + torch.linspace(-2e-3, 2e-3, 201, dtype=dtype)])
    found = special.decompositions()[operator](x)
    assert found.dtype == dtype
    exact = operator(x.double())  # PyTorch's own floats are off by more around roots
    torch.testing.assert_close(torch.isfinite(found), torch.isfinite(operator(x)))
    finite = torch.isfinite(found)
    rtol, atol = (1e-13, 1e-307) if dtype == torch.float64 else (1e-6, 1e-37)
    if dtype == torch.float64 and operator in (aten.lgamma.default, aten.digamma.default):
        atol = 2e-14  # around roots below 0
    torch.testing.assert_close(found[finite].double(), exact[finite], rtol=rtol, atol=atol)
    torch.testing.assert_close(found[~finite], operator(x)[~finite], equal_nan=True)


@pytest.mark.parametrize("operator", [aten.cummax.default, aten.cummin.default])
@pytest.mark.parametrize("shape", [(), (1,), (9,), (3, 5), (2, 8, 3)])
def test_running_extremes_and_their_places(operator: Any, shape: tuple[int, ...]) -> None:
    made = torch.Generator().manual_seed(0)
    ours = scans.decompositions()[operator]
    for dim in range(-len(shape), max(len(shape), 1)):
        whole = torch.randint(-2, 3, shape, generator=made)
        for x in (whole, whole.float(), torch.where(whole == 1, nan, torch.where(whole == 0, -inf, whole))):
            for found, expected in zip(ours(x, dim), operator(x, dim), strict=True):
                torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("shape", [(), (1,), (9,), (3, 5)])
def test_logarithms_of_running_sums(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 200  # exp of it is 0 and infinite
    for ends in (x, torch.where(x > 150, inf, torch.where(x < 0, -inf, x)), torch.where(x > 100, nan, x)):
        for dim in range(-len(shape), max(len(shape), 1)):
            torch.testing.assert_close(scans.logcumsumexp(ends, dim), torch.logcumsumexp(ends, dim),
                                       equal_nan=True)


@pytest.mark.parametrize("right", [False, True])
def test_searches(right: bool) -> None:
    x, boundaries = torch.tensor([ENDS, ENDS[::-1]]), torch.tensor([-2.0, 0.0, 0.0, 1.0, 88.0])
    assert torch.equal(scans.bucketize(x, boundaries, right=right),
                       torch.bucketize(x, boundaries, right=right))
    rows = torch.stack([boundaries, boundaries * 2])
    assert torch.equal(scans.searchsorted(rows, x, side="right" if right else "left"),
                       torch.searchsorted(rows, x, side="right" if right else "left"))
    order = torch.tensor([4, 3, 2, 1, 0])
    assert torch.equal(scans.searchsorted(boundaries.flip(0), x, right=right, sorter=order, out_int32=True),
                       torch.searchsorted(boundaries, x, right=right, out_int32=True))


@pytest.mark.parametrize("operator", antialias.decompositions(), ids=str)
@pytest.mark.parametrize("corners", [False, True])
def test_antialiased_resizing(operator: Any, corners: bool) -> None:
    x = torch.randn(2, 3, 11, 14, generator=torch.Generator().manual_seed(0))
    ours = antialias.decompositions()[operator]
    for size, factors in (((5, 6), ()), ((20, 9), ()), ((1, 14), ()), ((11, 31), ()), ((6, 8), (0.6, 0.6))):
        torch.testing.assert_close(ours(x, size, corners, *factors), operator(x, size, corners, *factors),
                                   rtol=1e-5, atol=1e-5)
    assert ours(x, (5, 1), corners) is NotImplemented


@pytest.mark.parametrize("x", [torch.tensor(ENDS), torch.tensor(ENDS).double(), torch.arange(-2, 3)])
def test_signs(x: torch.Tensor) -> None:
    for ours, theirs in ((operators.angle, torch.angle), (operators.isfinite, torch.isfinite),
                         (operators.signbit, torch.signbit)):
        torch.testing.assert_close(ours(x), theirs(x), equal_nan=True)
    for y in (x.unsqueeze(1), x.unsqueeze(1).to(torch.float32)):
        torch.testing.assert_close(operators.copysign(x, y), torch.copysign(x, y), equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_elu_keeps_small_arguments(dtype: torch.dtype) -> None:
    x = torch.cat([torch.tensor(ENDS, dtype=dtype), torch.linspace(-3, 3, 501, dtype=dtype),
                   -torch.logspace(-30, 0, 99, dtype=dtype)])
    for numbers in ((1.0, 1.0, 1.0), (0.5, 2.0, 3.0)):
        torch.testing.assert_close(operators.elu(x, *numbers), aten.elu.default(x, *numbers),
                                   rtol=8 * torch.finfo(dtype).eps, atol=0, equal_nan=True)


@pytest.mark.parametrize("order", [0, 1, 2, 5, 9])
def test_polygamma(order: int) -> None:
    x = torch.cat([torch.linspace(-3.95, 40, 701, dtype=torch.float64),
                   torch.tensor([1e-9, 1e4, 1e9, nan], dtype=torch.float64)])
    found = special.polygamma(order, x)
    torch.testing.assert_close(found, torch.polygamma(order, x), rtol=1e-9 if order == 1 else 1e-11,
                               atol=1e-13, equal_nan=True)  # PyTorch's trigamma ends early
    poles = special.polygamma(order, torch.tensor([0.0, -1.0, -7.0]))
    assert poles.dtype == torch.float32
    if order:
        assert torch.equal(poles, torch.full((3,), inf if order % 2 else -inf))


def test_histc_counts_between_known_ends() -> None:
    x = torch.cat([torch.tensor([-1.0, 2.0, 2.5, -1.5, nan, inf]), torch.linspace(-1.3, 2.2, 99)])
    assert torch.equal(operators.histc(x, 7, -1, 2), torch.histc(x, 7, -1, 2))
    assert operators.histc(x, 7) is NotImplemented  # the ends are the data's


class Several(nn.Module):
    """One of each kind."""

    def forward(self, x: torch.Tensor) -> Any:
        flat = x[0, 0]
        wide = flat.double()
        return (torch.erfc(flat), torch.erfinv(wide), nn.functional.elu(wide * 1e-12),
                torch.polygamma(2, wide), torch.histc(flat, 4, -1, 1),
                torch.bitwise_left_shift(flat.long(), 2), torch.lgamma(flat), *torch.cummax(flat, 1),
                torch.logcumsumexp(flat * 99, 1),
                torch.copysign(flat, -flat), torch.bucketize(flat, torch.arange(-1.0, 2.0)),
                nn.functional.interpolate(x, size=(3, 4), mode="bilinear", antialias=True))


@pytest.mark.slow
def test_they_are_compiled() -> None:
    x = torch.randn(1, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    found = espalier.compile(Several(), (x,))(x)
    for ours, theirs in zip(found, Several()(x), strict=True):
        rtol, atol = (1e-13, 0) if theirs.dtype == torch.float64 else (1e-5, 1e-6)
        torch.testing.assert_close(torch.as_tensor(ours), theirs, rtol=rtol, atol=atol, equal_nan=True)
