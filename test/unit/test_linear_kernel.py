"""The matrix-vector kernels, compiled and run against numpy: dense and sparse rows of any number."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from espalier.sparse_dialect.lowering.cpu.linear_kernel import LinearKernel, emit_linear_kernel
from espalier.sparse_dialect.schemes.slices import COLUMN_BLOCK, pack_dense_rows, pack_sparse_rows

sys.path.insert(0, str(Path(__file__).parent))
from kernel_harness import Compiled, aligned, close, random, unset


@dataclass(frozen=True)
class Case:
    """A layer of ``rows`` outputs and ``columns`` inputs."""

    dense: bool
    rows: int = 70
    columns: int = 50
    batch: int = 1
    lanes: int = 16
    activation: str = "none"
    density: float = 0.2


class Run:
    """A case on random data and its kernel; some rows are empty, some full."""

    def __init__(self, case: Case) -> None:
        random_ = np.random.default_rng(0)
        weight = random(case.rows, case.columns)
        if not case.dense:
            weight *= random_.random(weight.shape) < case.density
            weight[1 % case.rows] = 0
            weight[2 % case.rows] = 1
        x, bias = random(case.batch, case.columns, seed=1), random(case.rows, seed=2)
        self.layer = LinearKernel(
            case.batch, case.rows, case.columns, case.lanes, case.dense, case.activation
        )
        padding = self.layer.padded_rows - case.rows
        arrays = (pack_dense_rows if case.dense else pack_sparse_rows)(weight, case.lanes)
        self.output = unset(case.batch, case.rows)
        self.kernel = Compiled(
            lambda module, name, types: emit_linear_kernel(module, name, self.layer, types),
            [
                x,
                self.output,
                unset(case.batch, self.layer.padded_rows),
                aligned(np.pad(bias, (0, padding))),
                *map(aligned, arrays.values()),
            ],
        )
        y = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
        self.expected = {"none": y, "relu": np.maximum(y, 0), "relu6": np.clip(y, 0, 6)}[case.activation]


CASES = {
    f"{'dense' if dense else 'sparse'}, {name}": replace(case, dense=dense)
    for dense in (False, True)
    for name, case in {
        "rows no multiple of lanes": Case(True),
        "whole vectors": Case(True, rows=128),
        "one row": Case(True, rows=1),
        "one column": Case(True, columns=1),
        "batch": Case(True, batch=3, rows=37),
        "8 lanes": Case(True, lanes=8, rows=45, batch=2),
        "4 lanes": Case(True, lanes=4, rows=21, batch=2),
        "relu": Case(True, activation="relu"),
        "relu6": Case(True, activation="relu6", batch=2),
        "many chunks": Case(True, rows=16 * 20 + 3),
    }.items()
} | {
    "sparse, column blocks": Case(False, rows=40, columns=2 * COLUMN_BLOCK + 100, density=0.01, batch=2),
    "sparse, wide gaps": Case(False, rows=40, columns=5000, density=0.001),
    "sparse, nothing but three rows": Case(False, density=0.0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kernel_is_the_matrix_product(case: Case) -> None:
    run = Run(case)
    run.kernel.run(0, run.layer.units)
    close(run.output, run.expected)


@pytest.mark.parametrize("dense", [False, True])
def test_units_in_any_pieces_give_the_same_bits(dense: bool) -> None:
    run = Run(Case(dense, rows=16 * 40 + 5, batch=2))
    run.kernel.run(0, run.layer.units)
    whole = run.output.copy()
    run.output[:] = np.nan
    for unit in reversed(range(run.layer.units)):
        run.kernel.run(unit, unit + 1)
    assert run.layer.units > 2
    np.testing.assert_array_equal(run.output, whole)


@pytest.mark.parametrize("dense", [False, True])
def test_a_range_stores_only_its_own_rows(dense: bool) -> None:
    run = Run(Case(dense, rows=16 * 40 + 5))
    run.kernel.run(1, 2)
    stored = np.flatnonzero(~np.isnan(run.output[0]))
    width = 16 * (4 if dense else 8)
    np.testing.assert_array_equal(stored, np.arange(width, 2 * width))


@pytest.mark.parametrize("dense", [False, True])
def test_the_kernel_may_run_again(dense: bool) -> None:
    """Sums start from the bias each time."""
    run = Run(Case(dense))
    for _ in range(2):
        run.kernel.run(0, run.layer.units)
    close(run.output, run.expected)
