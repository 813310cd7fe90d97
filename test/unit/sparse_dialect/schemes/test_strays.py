"""A few odd weights do not take a layer's scheme away, and what follows no scheme is told what is nearest."""

from __future__ import annotations

from collections.abc import Callable

import espalier
import numpy as np
import pytest
import torch
from espalier.sparse_dialect.schedule.detection import explain_scheme
from espalier.sparse_dialect.schemes import (
    NM,
    Bcr,
    Connectivity,
    Kgs,
    Pattern,
    Structured,
    Unstructured,
)
from espalier.sparse_dialect.schemes.kernels import Kernels, repeated
from espalier.sparse_dialect.schemes.nearest import nearest
from espalier.sparse_dialect.storage import Fkw
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiers import examples
from torch import nn

SHARED = ("kgs", "bcr", "structured")  # run by one kernel
PRUNED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "pattern": lambda weight: Pattern.project(weight, entries=4, connectivity=3.6),
    "connectivity": lambda weight: Connectivity.project(weight, rate=3.6),
    "bcr": lambda weight: Bcr.project(weight, rate=8),
    "kgs": lambda weight: Kgs.project(weight, rate=4),
    "structured": lambda weight: Structured.project(weight, rate=2)}


def strayed(weight: np.ndarray, share: float = 0.001, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    result = weight.copy()
    result[random.random(weight.shape) < share] = 0.25
    return result


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", PRUNED)
def test_strays_keep_the_scheme_and_cost_little(name: str) -> None:
    clean = PRUNED[name](normal(64, 96, 3, 3))
    weight = strayed(clean)
    found, before = explain_scheme(weight).scheme, explain_scheme(clean).scheme
    assert found.name == name or {found.name, name} <= set(SHARED)
    assert found.multiply_adds(weight) <= 1.1 * before.multiply_adds(clean)


@pytest.mark.slow
def test_strays_of_a_matrix_are_kept_apart() -> None:
    weight = strayed(Structured.project(normal(200, 300), rate=2))
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(300, 200), nn.ReLU()).eval()
    with torch.no_grad():
        module[0].weight.copy_(torch.from_numpy(weight))
        for inputs in (1, 9):
            x = torch.randn(inputs, 300)
            compiled = espalier.compile(module, (x,))
            np.testing.assert_allclose(compiled(x), module(x), rtol=1e-5, atol=1e-4)
            assert (compiled.layers[0].scheme, compiled.layers[0].kernel) == ("structured", "sparse")


def test_a_convolution_with_odd_kernels_computes_the_same() -> None:
    weight = strayed(Pattern.project(normal(32, 40, 3, 3), entries=4, connectivity=2), 0.004)
    weight[3] = normal(40, 3, 3)  # and a whole filter that was never pruned
    module, x = nn.Conv2d(40, 32, 3, padding=1).eval(), torch.randn(1, 40, 14, 14)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(weight))
        compiled = espalier.compile(module, (x,))
        np.testing.assert_allclose(compiled(x), module(x), atol=1e-4)
    assert (compiled.layers[0].scheme, compiled.layers[0].kernel) == ("pattern", "sparse")


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.002, 0.01, 0.02]))
def test_odd_kernels_come_back(seed: int, share: float) -> None:
    weight = strayed(Pattern.project(normal(16, 24, 3, 3), entries=4, connectivity=2), share, seed)
    scheme = Pattern.detect(weight)
    if scheme is not None:
        np.testing.assert_array_equal(Fkw(1, 8).pack(weight, scheme).unpack(), weight)


def test_a_tap_that_two_patterns_have_belongs_to_the_first() -> None:
    kept = Kernels(np.array([0, 1, 0, 0]), np.array([2, 2, 2, 2]), np.array([0, 0, 1, 2]))
    again = repeated(kept, ((0, 1), (1, 2), (2, 3)))
    assert again.tolist() == [[False, False], [False, False], [True, False], [True, False]]


def test_zeros_anywhere_are_not_connectivity() -> None:
    """Even where some kernels lost all of their weights."""
    random = np.random.default_rng(0)
    weight = normal(64, 64, 3, 3) * (random.random((64, 64, 3, 3)) > 0.2)
    weight[random.random((64, 64)) < 0.01] = 0
    assert explain_scheme(weight).scheme == Unstructured()
    weight = normal(64, 64, 3, 3)
    weight[::2, :, 0] = 0
    weight[0, 0] = 0
    assert "16.7% of the weights of kept kernels are zero" in Connectivity.why_not(weight)


@pytest.mark.parametrize(("weight", "expected"), [
    (strayed(NM.project(normal(64, 64, 3, 3))), "nearest is n_m (2:4): "),
    (strayed(Pattern.project(normal(64, 64, 3, 3), entries=4), 0.04), "nearest is pattern: "),
    (strayed(Connectivity.project(normal(64, 64, 3, 3), rate=2), 0.03), "nearest is connectivity: "),
    (strayed(Structured.project(normal(64, 600), rate=8), 0.0001), "nearest is structured: "),
    (Unstructured.project(normal(64, 64, 3, 3), rate=3), "")])
def test_the_nearest_scheme_is_named(weight: np.ndarray, expected: str) -> None:
    found = nearest(weight != 0)
    assert found.startswith(expected)
    assert bool(found) == bool(expected)


def test_the_nearest_scheme_counts_what_is_odd() -> None:
    weight = Pattern.project(normal(128, 128, 3, 3), entries=4)
    weight[:3, 0] = [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert nearest(weight != 0) == "nearest is pattern: 3 of 16,384 kernels keep 5 places"
