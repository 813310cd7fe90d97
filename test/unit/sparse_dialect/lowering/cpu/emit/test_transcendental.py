"""Sigmoid and tanh of vectors against numpy in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from espalier.sparse_dialect.ir.mlir import ir
from espalier.sparse_dialect.lowering.cpu.emit.builder import Builder, func, private_function
from espalier.sparse_dialect.lowering.cpu.emit.transcendental import exponential, sigmoid, tanh
from support.kernel_harness import Compiled, aligned, unset

POINTS = np.concatenate([
    np.linspace(-100, 100, 4001), np.linspace(-1, 1, 4001), np.linspace(-1e-3, 1e-3, 101),
    [0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30, np.inf, -np.inf]]).astype(np.float32)


def apply(function: Any, x: np.ndarray, lanes: int = 16) -> np.ndarray:
    """``function(builder, vector)`` of every element of ``x``."""
    vectors = -(-len(x) // lanes)
    values = aligned(np.pad(x, (0, vectors * lanes - len(x))).reshape(vectors, lanes))
    output = unset(vectors, lanes)

    def emit(module: ir.Operation, name: str, types: list[ir.Type], core: Any) -> None:
        _, entry = private_function(module, name, types)
        with ir.InsertionPoint(entry):
            source, target, begin, end = entry.arguments
            b = Builder(entry, lanes, core)
            b.loop(begin, end, lambda i: b.store(function(b, b.load(source, i, b.index(0))), target, i,
                                                 b.index(0)))
            func.ReturnOp([])

    Compiled(emit, [values, output]).run(0, vectors)
    return output.reshape(-1)[: len(x)]


@pytest.mark.parametrize("lanes", [4, 16])
def test_sigmoid(lanes: int) -> None:
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-POINTS.astype(np.float64)))
    np.testing.assert_allclose(apply(sigmoid, POINTS, lanes), expected, rtol=5e-7, atol=1e-37)


@pytest.mark.parametrize("lanes", [4, 16])
def test_tanh(lanes: int) -> None:
    np.testing.assert_allclose(apply(tanh, POINTS, lanes), np.tanh(POINTS.astype(np.float64)), rtol=5e-7)


def test_exponential() -> None:
    x = POINTS[np.abs(POINTS) <= 87]
    np.testing.assert_allclose(apply(exponential, x), np.exp(x.astype(np.float64)), rtol=2e-7)


@pytest.mark.parametrize("function", [exponential, sigmoid, tanh])
def test_nan_stays(function: Any) -> None:
    found = apply(function, np.array([np.nan, 1.0, -np.nan], np.float32))
    np.testing.assert_array_equal(np.isnan(found), [True, False, True])
