"""GRUs and LSTMs, compiled whole and run against PyTorch: any layers, directions, lengths, masks, states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import espalier
import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends.torch.import_torch import import_module, import_program
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiers import examples
from torch import nn
from torch.nn.utils import prune as torch_prune

TOLERANCE = 1e-5  # of the largest output


class Model(nn.Module):
    """``function(layer, *inputs)`` as a module."""

    def __init__(self, layer: nn.Module, function: Callable[..., Any] = lambda layer, *x: layer(*x)) -> None:
        super().__init__()
        self.layer, self.function = layer, function

    def forward(self, *inputs: torch.Tensor) -> Any:
        """All outputs, with nested states flat."""
        return _flat(self.function(self.layer, *inputs))


def _flat(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return (value,)
    return tuple(tensor for part in value for tensor in _flat(part))


def free(*shape: int, axis: int = 0, seed: int = 0) -> torch.Tensor:
    """A random tensor whose size ``axis`` is the number of time steps."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    torch._dynamo.mark_dynamic(x, axis)
    return x


def prune(layer: nn.RNNBase, density: float, rows: int = 4, seed: int = 0) -> None:
    """Keeps whole columns of strips of ``rows`` rows, of every matrix."""
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            if name.startswith("weight"):
                kept = random.random((-(-len(weight) // rows), weight.shape[1])) < density
                weight *= torch.from_numpy(np.repeat(kept, rows, axis=0)[: len(weight)])


def compare(module: nn.Module, compiled: espalier.CompiledModel, *inputs: torch.Tensor) -> None:
    """Equal to PyTorch, and to the bit for any number of threads."""
    with torch.no_grad():
        expected = [tensor.numpy() for tensor in module(*inputs)]
    arrays = [x.numpy() for x in inputs]
    runs = [compiled.run(arrays, threads) for threads in (1, 2, 3)]
    for number, theirs in enumerate(expected):
        ours = runs[0][number]
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max(initial=0) <= TOLERANCE * max(np.abs(theirs).max(initial=0), 1e-30)
        for others in runs[1:]:
            np.testing.assert_array_equal(others[number], ours)


KINDS = pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])


@pytest.mark.slow
@KINDS
@pytest.mark.parametrize("options", [
    {}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}, {"bias": False},
], ids=["plain", "two layers both ways", "batch first", "no bias"])
def test_any_length(kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
    """One compiled model, dense and pruned matrices, sequences of 1 to 40 steps."""
    torch.manual_seed(0)
    layer = kind(7, 36, **options)
    prune(layer, 0.2)
    axis = 1 if options.get("batch_first") else 0
    module = Model(layer).eval()
    compiled = espalier.compile(module, (free(3, 3, 7, axis=axis),))
    for steps in (1, 2, 5, 40):
        shape = (3, steps, 7) if axis else (steps, 3, 7)
        compare(module, compiled, free(*shape, seed=steps))
    assert "sequential" not in compiled._file.manifest["sizes"]


@pytest.mark.slow
@settings(max_examples=examples(40), deadline=None)
@given(st.sampled_from([nn.GRU, nn.LSTM]), st.integers(1, 20), st.integers(1, 40), st.integers(1, 3),
       st.booleans(), st.booleans(), st.integers(1, 5), st.sampled_from([0.0, 0.05, 0.3, 1.0]),
       st.sampled_from([1, 3, 4, 8]), st.booleans(), st.booleans(), st.lists(st.integers(1, 30), min_size=1))
def test_any_layer(kind: type[nn.RNNBase], inputs: int, hidden: int, layers: int, both: bool, bias: bool,
                   batch: int, density: float, rows: int, given_state: bool, free_length: bool,
                   lengths: list[int]) -> None:
    torch.manual_seed(0)
    layer = kind(inputs, hidden, layers, bidirectional=both, bias=bias)
    prune(layer, density, rows)
    states = [torch.randn(layers * (2 if both else 1), batch, hidden)
              for _ in range(2 if kind is nn.LSTM else 1)] if given_state else []

    def call(layer: nn.RNNBase, x: torch.Tensor, *states: torch.Tensor) -> Any:
        return layer(x, states[0] if len(states) == 1 else states) if states else layer(x)

    module = Model(layer, call).eval()
    example = free(lengths[0], batch, inputs) if free_length else torch.randn(lengths[0], batch, inputs)
    compiled = espalier.compile(module, (example, *states))
    for steps in lengths if free_length else lengths[:1]:
        compare(module, compiled, torch.randn(steps, batch, inputs), *states)


def test_initial_state_and_its_shape() -> None:
    """The state is an input like any other; a wrong shape is one clear error."""
    torch.manual_seed(0)
    module = Model(nn.GRU(5, 8, 2)).eval()
    state = torch.randn(2, 3, 8)
    compiled = espalier.compile(module, (free(4, 3, 5), state))
    compare(module, compiled, torch.randn(6, 3, 5), 2 * state)
    with pytest.raises(EspalierError, match="input 'input_1': expected 2x3x8 float32, found 2x3x9 float32"):
        compiled.run([np.zeros((6, 3, 5), np.float32), np.zeros((2, 3, 9), np.float32)])


@pytest.mark.parametrize("shape", [(0, 3, 5), (4, 2, 5), (4, 3), (4, 3, 6)])
def test_bad_sequences_are_one_line(shape: tuple[int, ...]) -> None:
    compiled = espalier.compile(Model(nn.GRU(5, 8)).eval(), (free(4, 3, 5),))
    message = "at least one time step" if shape[0] == 0 else r"expected (4|T)x3x5 float32, found "
    with pytest.raises(EspalierError, match=message):
        compiled.run([np.zeros(shape, np.float32)])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_weights_are_one_line(value: float) -> None:
    layer = nn.LSTM(5, 8)
    with torch.no_grad():
        layer.weight_hh_l0[3, 4] = value
    with pytest.raises(EspalierError, match=r"parameter 'layer\.weight_hh_l0' holds NaN or infinity"):
        espalier.compile(Model(layer).eval(), (free(4, 1, 5),))


@pytest.mark.slow
def test_nan_inputs_stay_in_their_sequence() -> None:
    """A NaN spoils what depends on it: not the steps before, not the other sequences of the batch."""
    module = Model(nn.GRU(5, 8)).eval()
    compiled = espalier.compile(module, (free(4, 2, 5),))
    x = np.random.default_rng(0).standard_normal((6, 2, 5)).astype(np.float32)
    x[3, 1, 2] = np.nan
    y, _ = compiled.run([x])
    assert np.isfinite(y[:, 0]).all()
    assert np.isfinite(y[:3, 1]).all()
    assert np.isnan(y[3:, 1]).all()


@pytest.mark.slow
@KINDS
def test_all_matrices_zero(kind: type[nn.RNNBase]) -> None:
    layer = kind(5, 20)
    prune(layer, 0.0)
    module = Model(layer).eval()
    compare(module, espalier.compile(module, (free(3, 1, 5),)), torch.randn(4, 1, 5))


@pytest.mark.parametrize("name", ["head", "attention over time", "mean", "reversed"])
def test_around_the_layer(name: str) -> None:
    """What follows takes the free length along."""
    torch.manual_seed(0)
    head = nn.Linear(36, 5)
    functions: dict[str, Callable[..., Any]] = {
        "head": lambda layer, x: torch.relu(head(layer(x)[0])),
        "attention over time": lambda layer, x: ((y := layer(x)[0]) * y.softmax(0)).sum(0),
        "mean": lambda layer, x: head(layer(x)[0].mean(0)),
        "reversed": lambda layer, x: layer(x)[0].flip(0).transpose(0, 1)}
    module = Model(nn.GRU(7, 36), functions[name]).eval()
    compiled = espalier.compile(module, (free(4, 2, 7),))
    for steps in (1, 3, 30):
        compare(module, compiled, torch.randn(steps, 2, 7))


def test_a_head_behind_batch_first_is_a_layer() -> None:
    """Its input is strided."""
    torch.manual_seed(0)
    head = nn.Linear(36, 5)
    module = Model(nn.GRU(7, 36, batch_first=True), lambda layer, x: head(layer(x)[0])).eval()
    module.head = head
    compiled = espalier.compile(module, (free(3, 4, 7, axis=1),))
    assert [record.op for record in compiled.layers] == ["linear", "gru", "linear"]
    for steps in (1, 3, 30):
        compare(module, compiled, torch.randn(3, steps, 7))


@pytest.mark.slow
@pytest.mark.parametrize("batch_first", [False, True])
def test_every_matrix_has_a_row_of_its_own(batch_first: bool) -> None:
    layer = nn.GRU(16, 32, 2, bidirectional=True, batch_first=batch_first)
    prune(layer, 0.1)
    compiled = espalier.compile(Model(layer).eval(), (free(4, 4, 16, axis=int(batch_first)),))
    names = [f"layer.weight_{kind}_l{end}" for end in ("0", "0_reverse", "1", "1_reverse")
             for kind in ("ih", "hh")]
    assert [record.name for record in compiled.layers] == names
    assert [record.op for record in compiled.layers] == ["linear", "gru"] * 4
    assert {record.scheme for record in compiled.layers} == {"bcr"}
    assert all(record.kernel == "sparse" for record in compiled.layers)
    assert all(time > 0 for time in compiled.profile([np.zeros((4, 4, 16), np.float32)]))


def test_a_compiled_model_keeps_its_free_length(tmp_path: Path) -> None:
    module = Model(nn.LSTM(5, 8)).eval()
    compiled = espalier.compile(module, (free(1, 2, 5),))
    compiled.save(tmp_path / "model")
    loaded = espalier.load(str(tmp_path / "model"))
    assert [spec.shape for spec in loaded.inputs] == [(-1, 2, 5)]
    assert [spec.shape for spec in loaded.outputs] == [(-1, 2, 8), (1, 2, 8), (1, 2, 8)]
    assert loaded.check() <= TOLERANCE
    compare(module, loaded, torch.randn(70, 2, 5))
    compare(module, loaded, torch.randn(2, 2, 5))  # the arena has grown


def test_nested_outputs_are_recorded_flat() -> None:
    """An LSTM's are (y, (h, c)): the recorded run is PyTorch's, not our own."""
    layer, x = nn.LSTM(5, 8).eval(), torch.randn(4, 2, 5)
    compiled = espalier.compile(layer, (x,))
    with torch.no_grad():
        expected = _flat(layer(x))
    for ours, theirs in zip(compiled._file.sample_outputs, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())
    assert compiled.check() <= TOLERANCE


@pytest.mark.slow
def test_threads_agree_on_a_wide_layer() -> None:
    """More groups of units than threads, so that all of them meet at every step's barrier."""
    torch.manual_seed(0)
    layer = nn.GRU(40, 200)
    prune(layer, 0.1)
    module = Model(layer).eval()
    compare(module, espalier.compile(module, (free(4, 1, 40),)), torch.randn(60, 1, 40))


# -- import --------------------------------------------------------------------------------------


def test_the_layer_stays_whole() -> None:
    """No step is unrolled: the program is as long for 50 steps as for 2."""
    lengths = []
    for steps in (2, 50):
        text = str(import_module(Model(nn.GRU(5, 6)).eval(), (torch.randn(steps, 1, 5),)))
        assert text.count('"sparse.gru"') == 1
        lengths.append(len(text.split("{-#")[0].splitlines()))
    assert lengths[0] == lengths[1]


def test_exported_programs_stay_whole_too() -> None:
    with torch.no_grad():
        program = torch.export.export(Model(nn.LSTM(5, 6, 2)).eval(), (torch.randn(9, 1, 5),))
    assert str(import_program(program)).count('"sparse.lstm"') == 2


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "x"), [
    (nn.LSTM(5, 6, proj_size=3), torch.randn(4, 2, 5)),
    (nn.RNN(5, 6), torch.randn(4, 2, 5)),
], ids=["projection", "rnn"])
def test_others_are_unrolled(layer: nn.Module, x: torch.Tensor) -> None:
    module = Model(layer).eval()
    assert '"sparse.gru"' not in str(import_module(module, (x,)))
    compare(module, espalier.compile(module, (x,)), x)


@pytest.mark.slow
def test_double_precision_stays_whole() -> None:
    module, x = Model(nn.GRU(5, 6).double()).eval(), torch.randn(4, 2, 5, dtype=torch.float64)
    assert str(import_module(module, (x,))).count('"sparse.gru"') == 1
    compare(module, espalier.compile(module, (x,)), x)


@pytest.mark.parametrize(("function", "shape", "message"), [
    (lambda layer, x: layer(x)[0].repeat(2, 1, 1), (4, 2, 5),
     "output 0: dimension 0 is 2*T for T time steps; expected a number, or T itself"),
    (lambda layer, x: layer(x)[0] @ layer(x)[0].transpose(0, 1).transpose(1, 2), (4, 4, 5), "cannot export"),
], ids=["two lengths", "shapes"])
def test_other_free_sizes_are_one_line(function: Callable[..., Any], shape: tuple[int, ...],
                                       message: str) -> None:
    with pytest.raises(EspalierError) as caught:
        espalier.compile(Model(nn.GRU(5, 6), function).eval(), (free(*shape),))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_free_batch_is_an_error() -> None:
    with pytest.raises(EspalierError, match="input 'inputs_0': dimension 1 is dynamic; expected static"):
        espalier.compile(Model(nn.GRU(5, 6)).eval(), (free(4, 3, 5, axis=1),))
    with pytest.raises(EspalierError, match="input 'inputs_0': dimension 0 is dynamic; expected static"):
        espalier.compile(Model(nn.Linear(5, 6)).eval(), (free(4, 5),))


def test_pruning_masks_are_folded() -> None:
    layer = nn.GRU(12, 16, 2)
    for name in ("weight_ih_l0", "weight_hh_l1"):
        torch_prune.l1_unstructured(layer, name, amount=0.7)
    module = Model(layer).eval()
    compiled = espalier.compile(module, (free(3, 1, 12),))
    compare(module, compiled, torch.randn(5, 1, 12))
    sparsities = {record.name: record.sparsity for record in compiled.layers}
    assert sparsities["layer.weight_hh_l1"] == pytest.approx(0.7, abs=0.01)
    assert sparsities["layer.weight_hh_l0"] == 0
    assert hasattr(layer, "weight_hh_l1_mask")


class Cells(nn.Module):
    """A cell in a loop of the module's own."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state: Any = x.new_zeros(1, 64)
        state = (state, state) if isinstance(self.cell, nn.LSTMCell) else state
        for step in range(x.shape[0]):
            state = self.cell(x[step], state)
        return state[0] if isinstance(self.cell, nn.LSTMCell) else state


@pytest.mark.slow
@pytest.mark.parametrize("module", [
    nn.LSTM(40, 64, proj_size=32), nn.RNN(40, 64), nn.RNN(40, 64, nonlinearity="relu", bidirectional=True),
    Cells(nn.LSTMCell(40, 64)), Cells(nn.GRUCell(40, 64)), Cells(nn.RNNCell(40, 64))],
    ids=["projections", "tanh", "relu", "lstm-cell", "gru-cell", "rnn-cell"])
def test_steps_share_their_packed_weights(module: nn.Module) -> None:
    compiled = espalier.compile(module.eval(), (torch.randn(8, 1, 40),))
    own = sum(parameter.numel() for parameter in module.parameters()) * 4
    assert len(compiled.layers) > 4  # the input of all steps is one layer, and zeros multiply nothing
    assert compiled.weight_bytes < 1.5 * own
