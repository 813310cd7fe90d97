"""The matrix-vector kernels, compiled and run against numpy: dense rows and slices, for any number of
inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from espalier.sparse_dialect.devices.cores import CORES
from espalier.sparse_dialect.lowering.cpu.kernels.dense_rows import LinearKernel, emit_linear_kernel
from espalier.sparse_dialect.schemes import Dense, Structured, Unstructured
from espalier.sparse_dialect.storage import DenseRows, KeptRows, Sell
from support.kernel_harness import Compiled, aligned, close, held_as, random, starting_at_pages, unset


@dataclass(frozen=True)
class Case:
    """A layer of ``rows`` outputs and ``columns`` inputs; ``storage``: dense, what is kept of whole rows and
    columns, or slices whose inputs are permuted, gathered or loaded one by one."""

    storage: str
    rows: int = 70
    columns: int = 50
    batch: int = 1
    lanes: int = 16
    activation: str = "none"
    density: float = 0.2
    cut: float = 0.4  # share of whole rows, and of whole columns
    cut_columns: float = 0.4
    strays: bool = False
    blocks: bool = False
    dtype: str = "float32"  # of the weights
    free: bool = False  # only the run knows how many inputs there are

    @property
    def core(self) -> str:
        return {"gathered": "avx2", "scalars": "cortex-a76"}.get(self.storage, "avx512")


class Run:
    """A case on random data and its kernel; some rows are empty, some full."""

    def __init__(self, case: Case) -> None:
        weight, slices, kept = masked(case), None, None
        x, bias = random(case.batch, case.columns, seed=1), random(case.rows, seed=2)
        y = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
        if case.storage == "dense":
            arrays = DenseRows(case.lanes).pack(weight, Dense()).arrays
        elif case.storage == "kept":
            left = KeptRows.of(weight, case.lanes)
            arrays, kept = left.pack(weight, Structured()).arrays, (left.rows, left.columns)
            assert left.strays or not case.strays
            bias = bias[arrays.get("row", np.arange(case.rows))]
        else:
            inputs = None if case.free else case.batch
            slices = Sell.choose(weight, case.lanes, CORES[case.core], inputs=inputs)
            arrays = slices.pack(weight, Unstructured()).arrays
        registers = 16 if case.lanes == 8 else 32
        self.layer = LinearKernel(
            None if case.free else case.batch, case.rows, case.columns, case.lanes, registers,
            case.activation, slices, kept, "stray" in arrays
        )
        self.units = len(arrays["edges"]) - 1 if slices else self.layer.dense_units
        padding = self.layer.padded_rows - case.rows
        self.output = unset(case.batch, case.rows)
        self.kernel = Compiled(
            lambda module, name, types, core: emit_linear_kernel(
                module, name, self.layer, types, core, list(arrays)
            ),
            [x, self.output, aligned(np.pad(bias, (0, padding))),
             *(held_as(case.dtype, array) for array in arrays.values())],
            scratch_floats=self.layer.scratch_floats,
            core=case.core,
        )
        self.expected = {"none": y, "relu": np.maximum(y, 0), "relu6": np.clip(y, 0, 6)}[case.activation]


def masked(case: Case) -> np.ndarray:
    """The weight of a case."""
    weight = random(case.rows, case.columns)
    if case.storage == "kept":
        random_ = np.random.default_rng(0)
        weight[random_.random(case.rows) < case.cut] = 0
        weight[:, random_.random(case.columns) < case.cut_columns] = 0
        weight[-1, -1] = 1  # something is left
        if case.strays:
            weight[random_.random(weight.shape) < 0.005] = 3
    elif case.storage != "dense":
        kept = np.random.default_rng(0).random(weight.shape) < case.density
        weight *= np.repeat(kept[::4], 4, axis=0)[: case.rows] if case.blocks else kept
        if not case.blocks:
            weight[1 % case.rows] = 0
            weight[2 % case.rows] = 1
    return weight.astype(case.dtype).astype(np.float32)


SHAPES = {
    "rows no multiple of lanes": Case(""),
    "whole vectors": Case("", rows=128),
    "one row": Case("", rows=1),
    "one column": Case("", columns=1),
    "some inputs": Case("", batch=3, rows=37),
    "8 lanes": Case("", lanes=8, rows=45, batch=2),
    "4 lanes": Case("", lanes=4, rows=21, batch=2),
    "relu": Case("", activation="relu"),
    "relu6": Case("", activation="relu6", batch=2),
    "many units": Case("", rows=16 * 20 + 3),
    "many inputs": Case("", rows=37, batch=100, activation="relu"),
    "inputs in whole vectors": Case("", rows=64, batch=64),
    "inputs of 8 lanes": Case("", lanes=8, rows=30, batch=21),
    "inputs of 4 lanes": Case("", lanes=4, rows=30, batch=23),
}
CASES = {
    f"{storage}, {name}": replace(case, storage=storage)
    for storage in ("dense", "kept", "permuted", "gathered", "scalars")
    for name, case in SHAPES.items()
    if (storage in ("dense", "kept", "scalars") or case.lanes == 16
        or (storage == "gathered" and case.lanes == 8))
} | {
    "permuted, many windows": Case("permuted", rows=40, columns=5000, density=0.05, batch=2),
    "permuted, far columns": Case("permuted", rows=40, columns=5000, density=0.001),
    "permuted, columns of one window": Case("permuted", rows=40, columns=64),
    "permuted, columns of half a window": Case("permuted", rows=40, columns=31),
    "permuted, streamed": Case("permuted", rows=64, columns=25000),
    "permuted, streamed, some inputs": Case("permuted", rows=70, columns=25013, batch=3),
    "permuted, nothing but three rows": Case("permuted", density=0.0),
    "a free number of inputs, few": Case("permuted", rows=90, batch=5, free=True),
    "a free number of inputs, many": Case("permuted", rows=90, batch=100, free=True),
    "a free number of inputs, few, blocks": Case("permuted", blocks=True, rows=90, batch=5, free=True),
    "a free number of inputs, many, blocks": Case("permuted", blocks=True, rows=90, batch=49, free=True),
    "permuted, blocks": Case("permuted", blocks=True, rows=70, columns=300),
    "permuted, blocks, some inputs": Case("permuted", blocks=True, rows=200, columns=300, batch=6),
    "permuted, blocks, many inputs": Case("permuted", blocks=True, rows=70, columns=300, batch=40),
    "gathered, blocks": Case("gathered", blocks=True, rows=70, columns=600, lanes=8, batch=5),
    "scalars, blocks": Case("scalars", blocks=True, rows=70, columns=300, lanes=4, batch=5),
    "scalars, blocks, many inputs": Case("scalars", blocks=True, rows=70, columns=300, lanes=4, batch=11),
    "scalars, nothing": Case("scalars", blocks=True, density=0.0, lanes=4),
    "kept, whole units of cut rows": Case("kept", rows=300, batch=7, cut=0.95),
    "kept, strays": Case("kept", rows=300, columns=400, batch=9, strays=True, activation="relu"),
    "kept, strays in whole units of cut rows": Case("kept", rows=700, columns=300, cut=0.8, strays=True),
    "kept, strays, a free number of inputs": Case("kept", rows=90, columns=300, batch=8, strays=True,
                                                  free=True),
    "kept, all rows": Case("kept", rows=100, batch=8, cut=0.0),
    "kept, all columns": Case("kept", rows=100, batch=2, cut_columns=0.0, activation="relu"),
    "kept, a free number of inputs": Case("kept", rows=90, batch=9, free=True),
    "kept, f16 weights": Case("kept", lanes=4, batch=2, dtype="float16"),
    "dense, seven inputs": Case("dense", rows=90, batch=7),
    "dense, a free number of inputs": Case("dense", rows=90, batch=8, free=True),
    "dense, f16 weights": Case("dense", lanes=4, batch=2, dtype="float16"),
    "permuted, f16 weights": Case("permuted", dtype="float16"),
    "scalars, f16 weights": Case("scalars", lanes=4, blocks=True, dtype="float16"),
    "scalars, f16 weights, many inputs": Case("scalars", lanes=4, batch=23, dtype="float16"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kernel_is_the_matrix_product(case: Case) -> None:
    run = Run(case)
    run.kernel.run(0, run.units)
    close(run.output, run.expected)


STORAGES = pytest.mark.parametrize("storage", ["dense", "kept", "permuted", "gathered", "scalars"])


@STORAGES
@pytest.mark.parametrize("batch", [2, 30])
def test_units_in_any_pieces_give_the_same_bits(storage: str, batch: int) -> None:
    run = Run(Case(storage, rows=16 * 40 + 5, batch=batch))
    run.kernel.run(0, run.units)
    whole = run.output.copy()
    run.output[:] = np.nan
    for unit in reversed(range(run.units)):
        run.kernel.run(unit, unit + 1)
    assert run.units > 2
    np.testing.assert_array_equal(run.output, whole)


@STORAGES
def test_a_range_stores_only_its_own_rows(storage: str) -> None:
    run = Run(Case(storage, rows=16 * 40 + 5))
    stored = []
    for unit in range(run.units):
        run.output[:] = np.nan
        run.kernel.run(unit, unit + 1)
        stored.append(np.flatnonzero(~np.isnan(run.output[0])))
    np.testing.assert_array_equal(np.sort(np.concatenate(stored)), np.arange(16 * 40 + 5))


@STORAGES
def test_the_kernel_may_run_again(storage: str) -> None:
    """Sums start from the bias each time."""
    run = Run(Case(storage))
    for _ in range(2):
        run.kernel.run(0, run.units)
    close(run.output, run.expected)


def test_nothing_before_its_arrays_is_touched() -> None:
    """Behind them neither: all cases run on arrays that end at a page without access."""
    with starting_at_pages():
        for storage in ("dense", "permuted", "gathered", "scalars"):
            run = Run(CASES[f"{storage}, rows no multiple of lanes"])
            run.kernel.run(0, run.units)
            close(run.output, run.expected)
