"""Blocks, kernel groups and recurrent layers at their edges: defined results, or one clear error."""

from __future__ import annotations

import textwrap
from pathlib import Path

import espalier
import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends.pruning.project import prune_module
from espalier.pipelines.backends import CompileOptions
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command_line import CommandLine, one_line
from torch import nn

TOLERANCE = 1e-4  # max abs error over max abs output


def compare(module: nn.Module, *inputs: torch.Tensor) -> espalier.CompiledModel:
    """The compiled ``module``, once it gave PyTorch's numbers: sparse, whether that pays or not."""
    compiled = espalier.compile(module.eval(), inputs, options=CompileOptions(sparse="always"))
    with torch.no_grad():
        found = module(*inputs)
    expected = [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]
    for ours, theirs in zip(compiled.run([x.numpy() for x in inputs]), expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max()
    return compiled


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def zeroed(layer: nn.Module, name: str = "weight", rows: slice = slice(None)) -> nn.Module:
    """``layer`` without the ``rows`` of its parameter ``name``."""
    with torch.no_grad():
        getattr(layer, name)[rows] = 0
    return layer


# -- layers that keep little or nothing ----------------------------------------------------------------------

NOTHING_LEFT: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "2-D": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), zeroed(nn.Conv2d(8, 16, 3))), (2, 3, 9, 11)),
    "3-D": (nn.Sequential(zeroed(nn.Conv3d(3, 8, 3, padding=1)), nn.ReLU(), nn.Conv3d(8, 16, 3)),
            (1, 3, 5, 9, 11)),
    "1 x 1, grouped": (zeroed(nn.Conv2d(8, 16, 1, groups=2)), (1, 8, 5, 7)),
    "linear": (nn.Sequential(zeroed(nn.Linear(40, 20)), nn.ReLU(), nn.Linear(20, 3)), (2, 40)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTHING_LEFT)
def test_layers_of_zeros_give_their_bias(name: str) -> None:
    module, shape = NOTHING_LEFT[name]
    compare(module, random(*shape))


@pytest.mark.slow
@pytest.mark.parametrize("gates", [(0,), (2,), (0, 1)])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_gates_of_zeros(kind: type[nn.RNNBase], gates: tuple[int, ...]) -> None:
    """In both matrices and one direction, beside gates that blocks prune."""
    torch.manual_seed(0)
    layer = prune_module(kind(16, 20, bidirectional=True), "bcr:rows=4,columns=16,rate=4")
    for gate in gates:
        for name in ("weight_ih_l0", "weight_hh_l0"):
            zeroed(layer, name, slice(gate * 20, (gate + 1) * 20))
    x = random(5, 2, 16)
    with torch.no_grad():
        expected = layer(x)[0].numpy()
    found = espalier.compile(layer, (x,)).run([x.numpy()])[0]
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "2-D": (nn.Conv2d(16, 32, 3, padding=1), (1, 16, 9, 11)), "1 x 1": (nn.Conv2d(48, 32, 1), (1, 48, 9, 11)),
    "3-D": (nn.Conv3d(16, 32, 3, padding=1), (1, 16, 5, 9, 11)), "linear": (nn.Linear(200, 64), (1, 200))}


@pytest.mark.slow
@pytest.mark.parametrize("rows", [slice(5, 6), slice(8, 16), slice(-3, None), slice(1, None)],
                         ids=["one", "a group", "the last", "all but one"])
@pytest.mark.parametrize("name", LAYERS)
def test_rows_of_zeros(name: str, rows: slice) -> None:
    """In a layer that blocks or groups have pruned: nothing but its bias comes out of a row."""
    layer, shape = LAYERS[name]
    torch.manual_seed(0)
    layer.reset_parameters()
    spec = "kgs:rate=3" if name in ("2-D", "3-D") else "bcr:rate=4"
    module = prune_module(nn.Sequential(nn.Conv2d(1, 1, 1), layer), spec)[1]
    compiled = compare(zeroed(module, rows=rows), random(*shape))
    assert compiled.layers[0].kernel == "sparse"


# -- sizes that do not divide --------------------------------------------------------------------------------

UNEVEN: dict[str, tuple[nn.Module, tuple[int, ...], str]] = {
    "groups, 2-D": (nn.Conv2d(13, 27, 3, padding=1), (1, 13, 9, 11), "kgs:rate=3"),
    "groups, 3-D": (nn.Conv3d(7, 21, (3, 1, 3)), (2, 7, 5, 9, 11),
                    "kgs:filters=6,channels=5,rate=3"),
    "groups larger than the layer": (nn.Conv3d(5, 6, 3), (1, 5, 5, 9, 11),
                                     "kgs:filters=64,channels=64"),
    "whole groups": (nn.Conv3d(7, 21, 3), (1, 7, 5, 9, 11), "kgs:filters=8,vanilla=true"),
    "groups of a grouped layer": (nn.Conv2d(18, 28, 3, groups=2), (1, 18, 9, 11), "kgs:rate=3"),
    "blocks, 2-D": (nn.Conv2d(13, 27, 3), (1, 13, 9, 11), "bcr:rows=5,columns=7,rate=4"),
    "blocks, 3-D": (nn.Conv3d(7, 21, (3, 1, 3)), (2, 7, 5, 9, 11), "bcr:rows=8,columns=16,rate=4"),
    "blocks with rows cut": (nn.Conv2d(13, 27, 1), (1, 13, 9, 11),
                             "bcr:rows=5,columns=7,rate=6,row_rate=2"),
    "blocks, linear": (nn.Linear(101, 67), (1, 101), "bcr:rows=6,columns=15,rate=7"),
    "blocks, linear, batch": (nn.Linear(101, 67), (5, 101), "bcr:rows=6,columns=15,rate=7,row_rate=3"),
}


@pytest.mark.parametrize("name", UNEVEN)
def test_sizes_that_do_not_divide(name: str) -> None:
    layer, shape, spec = UNEVEN[name]
    torch.manual_seed(0)
    layer.reset_parameters()
    module = prune_module(nn.Sequential(nn.Conv2d(1, 1, 1), layer), spec)[1]
    (record,) = compare(module, random(*shape)).layers
    assert record.sparsity > 0.5
    assert record.kernel == "sparse"


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...], str]:
    """A convolution or linear layer of any size, the shape of its input, and how to prune it."""
    def size(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    rate = draw(st.floats(1, 12))
    shape = [size(1, 2), size(1, 40)]
    if not draw(st.booleans()):
        rows, columns, outputs = size(1, 9), size(1, shape[1]), size(9, 40)
        return nn.Linear(shape[1], outputs), tuple(shape), f"bcr:rows={rows},columns={columns},rate={rate}"
    kernel, stride, dilation = ([size(1, high) for _ in range(3)] for high in (3, 2, 2))
    space = [size(dilation[at] * (kernel[at] - 1) + 1, 12) for at in range(3)]
    rank = draw(st.sampled_from([2, 3]))
    layer = (nn.Conv2d, nn.Conv3d)[rank - 2](shape[1], size(1, 40), kernel[:rank], stride[:rank],
                                             size(0, 1), dilation[:rank])
    spec = (f"kgs:filters={size(1, 12)},channels={size(1, 8)},rate={rate}" if draw(st.booleans())
            else f"bcr:rows={size(1, layer.out_channels)},columns={size(1, shape[1])},rate={rate}")
    return layer, (*shape, *space[:rank]), spec


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(layers())
def test_any_layer(case: tuple[nn.Module, tuple[int, ...], str]) -> None:
    layer, shape, spec = case
    compare(prune_module(nn.Sequential(nn.Conv2d(1, 1, 1), layer), spec)[1], random(*shape))


# -- bad input -----------------------------------------------------------------------------------------------

MODELS = """
    import torch
    from torch import nn
    from torch.nn.utils import prune

    def convolutions():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3)), (torch.randn(1, 3, 9, 9),)

    def nan():
        model = nn.Sequential(nn.Conv3d(3, 8, 3), nn.Conv3d(8, 16, 3))
        model[1].weight.data[3, 2, 1, 0, 1] = float("nan")
        return model, (torch.randn(1, 3, 5, 9, 9),)

    def nan_mask():
        model, inputs = convolutions()
        mask = torch.ones_like(model[1].weight)
        mask[3, 2, 1, 0] = float("nan")
        prune.custom_from_mask(model[1], "weight", mask)
        return model, inputs

    def matrix():
        return nn.Sequential(nn.Linear(6, 5)), (torch.ones(1, 6),)

    def gru(steps=4):
        torch.manual_seed(0)
        x = torch.randn(steps, 3, 5)
        torch._dynamo.mark_dynamic(x, 0)
        return nn.GRU(5, 8), (x, torch.randn(1, 3, 8))

    def gru_nan():
        model, inputs = gru()
        model.weight_ih_l0.data[3, 2] = float("nan")
        return model, inputs

    def gru_nan_mask():
        model, inputs = gru()
        mask = torch.ones_like(model.weight_hh_l0)
        mask[3, 2] = float("nan")
        prune.custom_from_mask(model, "weight_hh_l0", mask)
        return model, inputs

    def no_steps():
        return gru(0)
"""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds models.py, and gru.esp with sequences and states for it, right and wrong."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "models.py").write_text(textwrap.dedent(MODELS))
    x = torch.randn(4, 3, 5)
    torch._dynamo.mark_dynamic(x, 0)
    espalier.compile(nn.GRU(5, 8), (x, torch.zeros(1, 3, 8))).save(folder / "gru.esp")
    for name, shape in {"x": (7, 3, 5), "none": (0, 3, 5), "state": (1, 3, 8), "wide": (1, 3, 9),
                        "flat": (3, 8), "layers": (2, 3, 8), "empty": (0, 3, 8)}.items():
        np.save(folder / f"{name}.npy", np.zeros(shape, np.float32))
    np.save(folder / "double.npy", np.zeros((1, 3, 8)))
    return folder


@pytest.mark.parametrize(("model", "prune", "message"), [
    ("convolutions", "bcr:rows=17,columns=16",
     "layer '1' [16, 8, 3, 3]: blocks of 17 x 16 are larger than the 16 x 72 matrix"),
    ("convolutions", "bcr:rows=4,columns=73", "blocks of 4 x 73 are larger than the 16 x 72 matrix"),
    ("matrix", "bcr:rows=4", "layer '0' [5, 6]: blocks of 4 x 16 are larger than the 5 x 6 matrix"),
    ("gru", "bcr:rows=4,columns=16", "layer 'weight_ih_l0' [24, 5]: blocks of 4 x 16 are larger than the"),
    ("convolutions", "bcr:rows=0", "--prune bcr: rows must be at least 1, found 0"),
    ("convolutions", "bcr:columns=-4", "--prune bcr: columns must be at least 1, found -4"),
    ("convolutions", "bcr:rate=0", "--prune bcr: rate must be at least 1, found 0"),
    ("convolutions", "bcr:rate=nan", "--prune bcr: rate must be at least 1, found nan"),
    ("convolutions", "bcr:rows=2.5", "--prune bcr: rows must be a whole number, found '2.5'"),
    ("convolutions", "bcr:rate=2,row_rate=3", "row_rate must not be above rate, found 3 and 2"),
    ("convolutions", "kgs:filters=0", "--prune kgs: filters must be at least 1, found 0"),
    ("convolutions", "kgs:channels=-1", "channels must be at least 1, found -1"),
    ("convolutions", "kgs:rate=0.5", "--prune kgs: rate must be at least 1, found 0.5"),
    ("convolutions", "kgs:rate=inf", "--prune kgs: rate must be at least 1, found inf"),
    ("convolutions", "kgs:score=max", "score must be rms or l2, found 'max'"),
    ("nan", "kgs", "layer '1' has weights that are NaN or infinite"),
    ("nan", None, "parameter '1.weight' holds NaN or infinity"),
    ("nan_mask", None, "parameter '1.weight' holds NaN or infinity"),
    ("gru_nan", "bcr:rows=4,columns=4", "layer 'weight_ih_l0' has weights that are NaN or infinite"),
    ("gru_nan_mask", None, "parameter 'weight_hh_l0' holds NaN or infinity"),
    ("no_steps", None, "expected at least one time step, found a sequence of length 0"),
])
def test_what_does_not_compile_is_one_line(command: CommandLine, folder: Path, tmp_path: Path, model: str,
                                           prune: str | None, message: str) -> None:
    options = ("--prune", prune) if prune else ()
    result = command("compile", f"{folder / 'models.py'}:{model}", *options, "-o", tmp_path / "out.esp")
    assert one_line(result, message), result.err
    assert list(tmp_path.iterdir()) == []


def test_groups_of_absurd_sizes_are_the_layer(folder: Path) -> None:
    """They take no memory for what is not there."""
    whole, huge = (prune_module(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(8, 16, 3)), spec)[1].weight
                   for spec in ("kgs:filters=16,channels=8", f"kgs:filters={10**20}"
                                                                      f",channels={10**20}"))
    assert whole.count_nonzero() == huge.count_nonzero() == 16 * 8 * 2  # of 9 places, 2.5 at 3.6x


@pytest.mark.parametrize(("files", "message"), [
    (("none", "state"), "expected at least one time step, found a sequence of length 0"),
    (("x", "wide"), "input 'input_1': expected 1x3x8 float32, found 1x3x9 float32"),
    (("x", "flat"), "input 'input_1': expected 1x3x8 float32, found 3x8 float32"),
    (("x", "layers"), "input 'input_1': expected 1x3x8 float32, found 2x3x8 float32"),
    (("x", "empty"), "input 'input_1': expected 1x3x8 float32, found 0x3x8 float32"),
    (("x", "double"), "input 'input_1': expected 1x3x8 float32, found 1x3x8 float64"),
    (("state", "x"), "input 'input_0': expected 1x3x5 float32, found 1x3x8 float32"),
    (("x",), "expected 2 inputs, found 1"),
])
def test_what_does_not_run_is_one_line(command: CommandLine, folder: Path, tmp_path: Path,
                                       files: tuple[str, ...], message: str) -> None:
    inputs = [part for name in files for part in ("--input", folder / f"{name}.npy")]
    outputs = ("--output", tmp_path / "y.npy", "--output", tmp_path / "h.npy")
    result = command("run", folder / "gru.esp", *inputs, *outputs)
    assert one_line(result, message), result.err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(EspalierError, match=message.replace("(", "\\(")):
        espalier.load(str(folder / "gru.esp")).run([np.load(folder / f"{name}.npy") for name in files])


def test_an_initial_state_that_is_not_finite_stays_in_its_sequence(folder: Path) -> None:
    state = np.zeros((1, 3, 8), np.float32)
    state[0, 1, 2] = np.nan
    y, _ = espalier.load(str(folder / "gru.esp")).run([np.ones((7, 3, 5), np.float32), state])
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2]]).all()


@pytest.mark.slow
@pytest.mark.parametrize("pool", [
    nn.AvgPool2d(4, 4, 1), nn.AvgPool2d(4, 1, 2), nn.AvgPool2d(4), nn.AvgPool2d((4, 3), 2, (1, 0)),
    nn.MaxPool2d(4, 2, 1)], ids=str)
def test_pools_with_windows_of_the_image(pool: nn.Module) -> None:
    """With padding they are no mean of the image, and may give more than one number a channel."""
    compare(nn.Sequential(nn.Conv2d(2, 3, 1), pool), random(1, 2, 4, 4))
    compare(pool, random(2, 3, 4, 4))
