"""One step of a GRU or LSTM, compiled and run against PyTorch's cells: dense rows and slices, any width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from espalier.sparse_dialect.devices.cores import CORES
from espalier.sparse_dialect.lowering.cpu.kernels.recurrent import (
    GATES,
    RecurrentKernel,
    emit_recurrent_kernel,
)
from espalier.sparse_dialect.schemes import Dense, Unstructured
from espalier.sparse_dialect.storage import DenseRows, Sell
from espalier.sparse_dialect.storage.gates import interleave_gates
from hypothesis import given
from hypothesis import strategies as st
from support.kernel_harness import Compiled, aligned, close, held_as, random, starting_at_pages, unset

INPUT = 5


@dataclass(frozen=True)
class Case:
    """A cell of ``hidden`` units; ``storage``: dense, or slices whose inputs are permuted, gathered or loaded
    one by one."""

    kind: str
    storage: str
    hidden: int = 37
    batch: int = 1
    lanes: int = 16
    density: float = 0.3
    blocks: bool = False
    dtype: str = "float32"  # of the weights

    @property
    def core(self) -> str:
        return {"gathered": "avx2", "scalars": "cortex-a76"}.get(self.storage, "avx512")


class Run:
    """A case on random data and its kernel: ``step(begin, end)``, then ``output`` (and ``cell``)."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        cell = {"gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}[case.kind](INPUT, case.hidden)
        gates = GATES[case.kind]
        weight = cell.weight_hh.detach().numpy()
        if case.storage != "dense":
            kept = np.random.default_rng(0).random(weight.shape) < case.density
            weight *= np.repeat(kept[::4], 4, axis=0)[: len(weight)] if case.blocks else kept
        slices = None
        if case.storage == "dense":
            arrays = DenseRows(case.lanes, gates, gates).pack(weight, Dense()).arrays
            self.units = len(arrays["weight"])
        else:
            slices = Sell.choose(weight, case.lanes, CORES[case.core], gates)
            arrays = slices.pack(weight, Unstructured()).arrays
            self.units = len(arrays["edges"]) - 1
        bias = interleave_gates(cell.bias_hh.detach().numpy(), gates, case.lanes)
        x = torch.from_numpy(random(case.batch, INPUT, seed=1))
        state, memory = random(case.batch, case.hidden, seed=2), random(case.batch, case.hidden, seed=3)
        states = torch.from_numpy(state), torch.from_numpy(memory.copy())
        with torch.no_grad():
            products = (x @ cell.weight_ih.T + cell.bias_ih).numpy()
            after = cell(x, states[0]) if case.kind == "gru" else cell(x, states)
        self.expected = [t.numpy() for t in ([after] if case.kind == "gru" else after)]
        kernel = RecurrentKernel(case.kind, case.batch, case.hidden, case.lanes,
                                 16 if case.lanes == 8 else 32, slices)
        self.results = [unset(case.batch, case.hidden), *([aligned(memory)] if case.kind == "lstm" else [])]
        self.kernel = Compiled(
            lambda module, name, types, core: emit_recurrent_kernel(
                module, name, kernel, types, core, list(arrays)),
            [aligned(products), state, *self.results,
             aligned(bias.reshape(-1, gates, case.lanes)),
             *(held_as(case.dtype, array) for array in arrays.values())],
            scratch_floats=max(kernel.scratch_floats, 1), core=case.core)


CASES = [
    Case(kind, storage, hidden, batch, lanes, blocks=blocks)
    for kind in ("gru", "lstm")
    for storage, lanes, blocks in (
        ("dense", 16, False), ("dense", 8, False), ("dense", 4, False), ("permuted", 16, False),
        ("permuted", 16, True), ("gathered", 8, False), ("gathered", 8, True), ("scalars", 4, False),
        ("scalars", 4, True))
    for hidden, batch in ((1, 1), (37, 1), (64, 1), (37, 3), (16, 20))]


def name_of(case: Case) -> str:
    blocks = "-blocks" * case.blocks
    return f"{case.kind}-{case.storage}{case.lanes}{blocks}-{case.hidden}x{case.batch}"


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_step_is_the_cell(case: Case) -> None:
    run = Run(case)
    run.kernel.run(0, run.units)
    for result, expected in zip(run.results, run.expected, strict=True):
        close(result, expected, 1e-6)


@pytest.mark.parametrize(("storage", "lanes"), [("dense", 4), ("permuted", 16), ("scalars", 4)])
def test_f16_weights(storage: str, lanes: int) -> None:
    run = Run(Case("gru", storage, lanes=lanes, dtype="float16"))
    run.kernel.run(0, run.units)
    error = np.abs(run.results[0] - run.expected[0]).max()
    assert 1e-6 < error < 1e-3


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("storage", ["dense", "permuted", "gathered", "scalars"])
def test_units_in_any_pieces_give_the_same_bits(kind: str, storage: str) -> None:
    case = Case(kind, storage, hidden=16 * 25 + 3, batch=2)
    whole, pieces = Run(case), Run(case)
    whole.kernel.run(0, whole.units)
    for unit in reversed(range(pieces.units)):
        pieces.kernel.run(unit, unit + 1)
    assert pieces.units > 5
    for ours, theirs in zip(pieces.results, whole.results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("density", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_empty_and_full_masks(kind: str, density: float) -> None:
    run = Run(Case(kind, "permuted", density=density))
    run.kernel.run(0, run.units)
    close(run.results[0], run.expected[0], 1e-6)


@given(st.integers(1, 3), st.integers(1, 40), st.sampled_from([4, 8, 16]), st.integers(1, 4))
def test_gates_are_interleaved(gates: int, hidden: int, lanes: int, columns: int) -> None:
    """Row (g, q, l) of the result is row q * H + g * lanes + l of the matrix, zero beyond H."""
    rows = np.arange(1, gates * hidden * columns + 1, dtype=np.float32).reshape(gates * hidden, columns)
    found = interleave_gates(rows, gates, lanes).reshape(-1, gates, lanes, columns)
    for group, gate, lane in np.ndindex(found.shape[:3]):
        unit = group * lanes + lane
        expected = rows[gate * hidden + unit] if unit < hidden else np.zeros(columns, np.float32)
        np.testing.assert_array_equal(found[group, gate, lane], expected)


def test_nothing_before_its_arrays_is_touched() -> None:
    """Behind them neither: all cases run on arrays that end at a page without access."""
    with starting_at_pages():
        for kind in ("gru", "lstm"):
            for storage, lanes in (("dense", 16), ("permuted", 16), ("gathered", 8), ("scalars", 4)):
                test_a_step_is_the_cell(Case(kind, storage, 37, 3, lanes))
