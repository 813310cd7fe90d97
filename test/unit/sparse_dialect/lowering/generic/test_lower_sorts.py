"""Sorts by PyTorch's order: NaN last, equal numbers in the order in which they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from espalier import compile as compile_model
from espalier.frontends.torch.stable_order import StableOrder
from torch import nn

SPECIAL = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 1.0, 1.0, -2.5, 3e38, 1e-42])


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def numbers(*shape: int) -> torch.Tensor:
    """Random numbers, with every special one and many that are equal."""
    torch.manual_seed(len(shape))
    x = (torch.randn(*shape) * 4).round() / 4
    flat = x.reshape(-1)
    flat[torch.randperm(flat.numel())[: len(SPECIAL)]] = SPECIAL[: flat.numel()]
    return x


def check(function: Callable[..., Any], x: torch.Tensor) -> None:
    """Compiled, ``function`` gives the numbers and the places of a stable sort."""
    compiled = compile_model(Function(function), (x,))
    with StableOrder():
        expected = function(x)
    found = compiled(x)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours.nan_to_num(7.0), theirs.nan_to_num(7.0))
        assert torch.equal(ours.isnan(), theirs.isnan())


@pytest.mark.parametrize("size", [1, 2, 33, 100])
@pytest.mark.parametrize("descending", [False, True])
def test_rows(size: int, descending: bool) -> None:
    check(lambda x: torch.sort(x, descending=descending), numbers(3, size))


@pytest.mark.parametrize("dim", [0, 1])
def test_columns(dim: int) -> None:
    check(lambda x: torch.sort(x, dim), numbers(40, 3, 2))


@pytest.mark.parametrize(("k", "largest", "size"), [(5, True, 300), (32, False, 200), (1, True, 129)])
def test_the_first_of_many(k: int, largest: bool, size: int) -> None:
    """Blocks are passed over; rows with nothing but NaN, in order, and with special numbers at the end."""
    x = numbers(4, size)
    x[1] = torch.nan
    x[2] = torch.arange(size)
    x[3, -len(SPECIAL):] = SPECIAL
    check(lambda x: torch.topk(x, k, largest=largest), x)


@pytest.mark.parametrize("k", [1, 5, 32, 33, 60, 100])
def test_the_first_places(k: int) -> None:
    check(lambda x: torch.topk(x, k), numbers(3, 100))


def test_the_last_places_and_a_dimension_in_between() -> None:
    check(lambda x: torch.topk(x, 3, 1, largest=False), numbers(2, 50, 3))


def test_ascending_numbers_enter_every_time() -> None:
    check(lambda x: torch.topk(x, 7), torch.arange(200.0).reshape(2, 100))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.float64,
                                   torch.float16])
def test_other_types(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    check(lambda x: torch.sort(x, descending=True), torch.randint(0, 200, (2, 90)).to(dtype))


@pytest.mark.slow
@pytest.mark.parametrize("function", [lambda x: torch.kthvalue(x, 7), lambda x: torch.median(x, 1),
                                      lambda x: torch.sort(x, dim=-1, stable=True)])
def test_what_sorts_inside(function: Callable[..., Any]) -> None:
    check(function, numbers(3, 60))


def test_equal_numbers_keep_their_order_in_inference_too() -> None:
    with torch.inference_mode(), StableOrder():
        assert torch.argsort(torch.zeros(1000)).equal(torch.arange(1000))
