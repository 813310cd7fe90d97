"""CompiledModel.check: the recorded run replayed, and what counts as the same."""

from __future__ import annotations

import espalier
import numpy as np
import pytest
import torch
from espalier.runtime.compiled_model import CompiledModel
from torch import nn

X = np.array([[-1.0, 0.0, 1.0, 4.0]], np.float32)
LOGARITHMS = np.array([[np.nan, -np.inf, 0.0, np.log(4.0)]], np.float32)


class Logarithm(nn.Module):
    """Not a number below zero, minus infinity at zero."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(x)


@pytest.fixture(scope="module")
def model() -> CompiledModel:
    return espalier.compile(Logarithm(), (torch.ones(1, 4),))


def logarithms_but(place: int, value: float) -> np.ndarray:
    other = LOGARITHMS.copy()
    other[0, place] = value
    return other


def test_equal_infinities_and_nans_pass(model: CompiledModel) -> None:
    model.record([X], [LOGARITHMS])
    assert model.check() < 1e-6
    assert model.check(threads=2) == model.check()


@pytest.mark.parametrize(("place", "value"), [(0, 1.0), (1, np.inf), (1, np.nan), (3, np.nan), (3, np.inf)])
def test_other_infinities_and_nans_fail(model: CompiledModel, place: int, value: float) -> None:
    model.record([X], [logarithms_but(place, value)])
    assert model.check() == np.inf


def test_an_infinity_hides_no_error(model: CompiledModel) -> None:
    model.record([X], [logarithms_but(3, 2.0)])
    assert model.check() == pytest.approx((2.0 - np.log(4.0)) / 2.0)


def test_threads_are_used(model: CompiledModel) -> None:
    model.record([X], [LOGARITHMS])
    with pytest.raises(espalier.EspalierError, match="0 for one a fast processor; found -1"):
        model.check(threads=-1)
