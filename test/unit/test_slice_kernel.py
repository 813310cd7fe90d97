"""The matrix-vector kernel of unstructured matrices, compiled and run against numpy, for any number of
inputs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from espalier.sparse_dialect.lowering.cpu.slice_kernel import SliceKernel, emit_slice_kernel
from espalier.sparse_dialect.schemes.slices import CHUNK_SLICES, COLUMN_BLOCK, pack_slices

sys.path.insert(0, str(Path(__file__).parent))
from kernel_harness import Compiled, aligned, close, random, unset


@dataclass(frozen=True)
class Case:
    """A layer of ``rows`` outputs and ``columns`` inputs."""

    rows: int = 70
    columns: int = 50
    batch: int = 1
    lanes: int = 16
    activation: str = "none"
    density: float = 0.2
    core: str = "avx512"


class Run:
    """A case on random data and its kernel; some rows are empty, some full."""

    def __init__(self, case: Case) -> None:
        weight = random(case.rows, case.columns)
        weight *= np.random.default_rng(0).random(weight.shape) < case.density
        weight[1 % case.rows] = 0
        weight[2 % case.rows] = 1
        x, bias = random(case.batch, case.columns, seed=1), random(case.rows, seed=2)
        self.layer = SliceKernel(case.batch, case.rows, case.columns, case.lanes, case.activation)
        padding = self.layer.padded_rows - case.rows
        self.output = unset(case.batch, case.rows)
        storage = pack_slices(weight, case.lanes).values()
        self.kernel = Compiled(
            lambda module, name, types, core: emit_slice_kernel(module, name, self.layer, types, core),
            [x, self.output, aligned(np.pad(bias, (0, padding))), *map(aligned, storage)],
            scratch_floats=self.layer.scratch_floats,
            core=case.core,
        )
        y = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
        self.expected = {"none": y, "relu": np.maximum(y, 0), "relu6": np.clip(y, 0, 6)}[case.activation]


CASES = {
    "rows no multiple of lanes": Case(),
    "whole vectors": Case(rows=128),
    "one row": Case(rows=1),
    "one column": Case(columns=1),
    "batch": Case(batch=3, rows=37),
    "8 lanes": Case(lanes=8, rows=45, batch=2),
    "4 lanes, no gathers": Case(lanes=4, rows=21, batch=2, core="cortex-a76"),
    "relu": Case(activation="relu"),
    "relu6": Case(activation="relu6", batch=2),
    "many chunks": Case(rows=16 * 20 + 3),
    "column blocks": Case(rows=40, columns=2 * COLUMN_BLOCK + 100, density=0.01, batch=2),
    "wide gaps": Case(rows=40, columns=5000, density=0.001),
    "nothing but two rows": Case(density=0.0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kernel_is_the_matrix_product(case: Case) -> None:
    run = Run(case)
    run.kernel.run(0, run.layer.units)
    close(run.output, run.expected)


def test_units_in_any_pieces_give_the_same_bits() -> None:
    run = Run(Case(rows=16 * 40 + 5, batch=2))
    run.kernel.run(0, run.layer.units)
    whole = run.output.copy()
    run.output[:] = np.nan
    for unit in reversed(range(run.layer.units)):
        run.kernel.run(unit, unit + 1)
    assert run.layer.units > 2
    np.testing.assert_array_equal(run.output, whole)


def test_a_range_stores_only_its_own_rows() -> None:
    run = Run(Case(rows=16 * 40 + 5))
    run.kernel.run(1, 2)
    stored = np.flatnonzero(~np.isnan(run.output[0]))
    width = 16 * CHUNK_SLICES
    np.testing.assert_array_equal(stored, np.arange(width, 2 * width))
