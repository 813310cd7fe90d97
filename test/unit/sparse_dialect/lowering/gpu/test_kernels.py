"""Kernels of the GPU against numpy and PyTorch, on software devices under the validation layer."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends.compile import import_any
from espalier.pipelines.driver import CompileOptions, compile_linalg
from espalier.pipelines.target import Target
from espalier.runtime.executors.vulkan import GpuProgram
from espalier.runtime.executors.vulkan_program import Program, decode
from espalier.sparse_dialect.lowering.gpu import layers, schedule_gpu_layers
from espalier.sparse_dialect.lowering.gpu.kernels.products import packed_dense, parts
from espalier.sparse_dialect.schemes import NM, Bcr, Connectivity, Kgs, Scheme, Unstructured
from support.vulkan import check_spirv, lacking, on_each_device, validated
from torch import nn

PATTERNS = [(0, 1, 3, 4), (1, 2, 4, 5), (3, 4, 6, 7), (4, 5, 7, 8), (1, 3, 4, 5), (1, 4, 5, 7)]


def pattern_pruned(conv: nn.Conv2d, keep: float, seed: int = 0) -> nn.Conv2d:
    """Every kernel follows one of six patterns or is cut, with a chance of ``1 - keep``; 1 is empty."""
    random = np.random.default_rng(seed)
    with torch.no_grad():
        mask = np.zeros((*conv.weight.shape[:2], 9), np.float32)
        for f, c in np.ndindex(*mask.shape[:2]):
            if random.random() < keep and f != 1:
                mask[f, c, list(PATTERNS[random.integers(len(PATTERNS))])] = 1
        conv.weight *= torch.tensor(mask.reshape(conv.weight.shape))
    return conv


def pruned(layer: nn.Module, scheme: type[Scheme], **options: float) -> nn.Module:
    """The layer with the nearest weight of a scheme."""
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(scheme.project(layer.weight.numpy(), **options)))
    return layer


class Gate(nn.Module):
    """Squeeze and excite, which leaves elementwise linalg between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.silu(self.conv(x))
        return torch.tanh(y) * torch.sigmoid(self.gate(nn.functional.adaptive_avg_pool2d(y, 1))) + 2 * y


class Recurrent(nn.Module):
    """The outputs of a recurrent layer, pruned in blocks where asked."""

    def __init__(self, kind: type[nn.RNNBase], blocks: bool = False, **options: bool | int) -> None:
        super().__init__()
        self.rnn = kind(10, 24, **options)
        if blocks:
            with torch.no_grad():
                weight = self.rnn.weight_hh_l0
                weight.copy_(torch.from_numpy(Bcr.project(weight.numpy(), columns=8, rate=4)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x)[0]


class Joined(nn.Module):
    """Slices and a concatenation of channels, padded for the layer behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 5, 1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return self.second(torch.cat([y[:, 1:4], y, ], 1)) + x[:, :3].transpose(2, 3)


class Residual(nn.Module):
    """A layer whose input is added to its result, with a clipped activation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = pattern_pruned(nn.Conv2d(4, 6, 3, padding=1), 0.6)
        self.second = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return nn.functional.relu6(self.second(x) + x)


# A model and its input's shape. Odd sizes: a stray pixel behind a row would be the next row's border.
MODELS = {
    "dense": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 4, 3)),
              (1, 3, 17, 23)),
    "pattern": (lambda: nn.Sequential(pattern_pruned(nn.Conv2d(8, 12, 3, padding=1), 0.4), nn.ReLU(),
                                      pattern_pruned(nn.Conv2d(12, 6, 3, padding=1), 0.4, 1)),
                (1, 8, 17, 23)),
    "pattern, strided": (lambda: pattern_pruned(nn.Conv2d(8, 12, 3, stride=2, padding=1), 0.4),
                         (1, 8, 17, 23)),
    "connectivity": (lambda: pruned(nn.Conv2d(16, 12, 3, padding=1), Connectivity, rate=4), (1, 16, 7, 7)),
    "connectivity of 1x1": (lambda: pruned(nn.Conv2d(16, 13, 1), Connectivity, rate=3), (2, 16, 7, 9)),
    "bcr": (lambda: pruned(nn.Conv2d(16, 12, 3, padding=1), Bcr, rate=4), (1, 16, 9, 14)),
    "bcr of 1x1, strided": (lambda: pruned(nn.Conv2d(32, 16, 1, stride=2), Bcr, rate=4), (1, 32, 9, 9)),
    "kgs": (lambda: pruned(nn.Conv2d(8, 16, 3, padding=1), Kgs, rate=3), (1, 8, 13, 10)),
    "kgs, 3-D": (lambda: nn.Sequential(pruned(nn.Conv3d(8, 16, 3, padding=1), Kgs, rate=3), nn.ReLU(),
                                       nn.MaxPool3d((1, 2, 2)), nn.Conv3d(16, 4, 3, padding=1)),
                 (1, 8, 4, 9, 10)),
    "unstructured": (lambda: pruned(nn.Conv2d(8, 12, 3, padding=1), Unstructured, rate=5), (1, 8, 9, 9)),
    "n_m": (lambda: pruned(nn.Conv2d(8, 12, 3, padding=1), NM), (1, 8, 9, 9)),
    "3-D": (lambda: nn.Conv3d(2, 3, (3, 1, 3), stride=(2, 1, 2), padding=(1, 0, 1)), (2, 2, 5, 4, 9)),
    "3-D pool": (lambda: nn.Sequential(nn.Conv3d(2, 3, 1), nn.MaxPool3d(2, 2, (0, 1, 1))), (1, 2, 4, 7, 7)),
    "grouped bcr": (lambda: pruned(nn.Conv2d(16, 16, 3, padding=1, groups=2), Bcr, rate=4), (1, 16, 7, 7)),
    "strided by three": (lambda: nn.Conv2d(3, 4, 5, stride=3, padding=2), (1, 3, 20, 21)),
    "gate": (Gate, (2, 3, 7, 9)),
    "joined": (Joined, (2, 4, 6, 6)),
    "1x1": (lambda: nn.Conv2d(6, 5, 1), (1, 6, 1, 1)),
    "batch": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, 2, 1)), (2, 3, 9, 10)),
    "groups": (lambda: nn.Conv2d(6, 9, 3, padding=1, groups=3), (1, 6, 8, 8)),
    "depthwise": (lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6), (1, 6, 9, 9)),
    "dilated": (lambda: nn.Conv2d(3, 4, 3, padding=6, dilation=6), (1, 3, 15, 15)),
    "uneven": (lambda: nn.Conv2d(3, 4, (1, 5), stride=(2, 1), padding=(0, 2)), (1, 3, 8, 13)),
    "one dimension": (lambda: nn.Conv1d(3, 4, 5, padding=2), (1, 3, 21)),
    "residual": (Residual, (1, 4, 11, 13)),
    "max pool": (lambda: nn.Sequential(nn.Conv2d(2, 3, 1), nn.MaxPool2d(3, 2, 1)), (1, 2, 11, 13)),
    "fused pool": (lambda: nn.Sequential(pattern_pruned(nn.Conv2d(8, 12, 3, padding=1), 0.6), nn.ReLU(),
                                         nn.MaxPool2d(2), nn.Conv2d(12, 6, 3, padding=1), nn.SiLU(),
                                         nn.MaxPool2d(2), nn.Conv2d(6, 3, 3, padding=1)), (2, 8, 27, 34)),
    "fused pool, falling": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2)),
                            (2, 3, 54, 67)),
    "fused pool, 3-D": (lambda: nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU6(),
                                              nn.MaxPool3d((1, 2, 2))), (1, 2, 3, 8, 10)),
    "global pool": (lambda: nn.Sequential(nn.Conv2d(2, 3, 1), nn.AvgPool2d(7)), (1, 2, 7, 7)),
    "average pool": (lambda: nn.AvgPool2d(3, 2, 1), (1, 2, 11, 13)),
    "linear": (lambda: nn.Sequential(nn.Linear(33, 70), nn.ReLU(), nn.Linear(70, 5)), (3, 33)),
    "gru": (lambda: Recurrent(nn.GRU, blocks=True), (5, 2, 10)),
    "gru of two layers and directions": (lambda: Recurrent(nn.GRU, num_layers=2, bidirectional=True),
                                         (3, 1, 10)),
    "lstm": (lambda: Recurrent(nn.LSTM, blocks=True), (5, 2, 10)),
    "linear, bcr": (lambda: pruned(nn.Linear(64, 70), Bcr, rate=4), (1, 64)),
    "linear, unstructured": (lambda: pruned(nn.Linear(64, 70), Unstructured, rate=4), (2, 64)),
    "linear, n_m": (lambda: pruned(nn.Linear(64, 70), NM), (1, 64)),
    "flatten": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 5 * 6, 7)),
                (1, 3, 7, 8)),
}


def compiled(model: nn.Module, x: torch.Tensor, precision: str = "fp32") -> Program:
    with pytest.MonkeyPatch.context() as patch:
        for limit in ("WORTH", "SINGLE_WEIGHTS"):  # sparse kernels, worth it or not
            patch.setattr(schedule_gpu_layers, limit, float("inf"))
        file = compile_linalg(import_any(model.eval(), (x,)), CompileOptions(), Target.vulkan(precision))
    return decode(file.code, file.weights.tobytes())


QUICK = ("pattern", "fused pool", "gru", "lstm", "residual", "flatten", "kgs, 3-D", "linear, bcr", "gate")
each_model = pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in MODELS])


@cache
def case(name: str, precision: str = "fp32") -> tuple[Program, np.ndarray, np.ndarray]:
    """Program, input and PyTorch's output of a model."""
    make, shape = MODELS[name]
    torch.manual_seed(0)
    model, x = make(), torch.randn(shape)
    return compiled(model, x, precision), x.numpy(), model(x).detach().numpy()


@on_each_device
@each_model
def test_models(driver: str, name: str) -> None:
    program, x, expected = case(name)
    with validated(driver) as gpu, GpuProgram(gpu, program) as loaded:
        loaded.run([np.full_like(x, np.nan)])  # what stays of it in memory must not show
        (first,) = loaded.run([x])
        (second,) = loaded.run([x])
    assert first.tobytes() == second.tobytes()
    found = first.view(np.float32).reshape(expected.shape)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.slow
@on_each_device
@each_model
def test_halves(driver: str, name: str) -> None:
    program, x, expected = case(name, "fp16")
    with validated(driver) as gpu:
        if driver == "swiftshader":
            with pytest.raises(EspalierError, match="has no shaderFloat16, which --precision fp16 needs"):
                GpuProgram(gpu, program)
            return
        with GpuProgram(gpu, program) as loaded:
            (found,) = loaded.run([x])
    found = found.view(np.float32).reshape(expected.shape)
    assert np.abs(found - expected).max() <= 5e-3 * np.abs(expected).max()


@each_model
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_words_are_valid(name: str, precision: str, tmp_path: Path) -> None:
    for kernel in case(name, precision)[0].kernels:
        check_spirv(kernel.words, tmp_path)


def test_long_sums_of_halves_restart() -> None:
    """Sums of 4608 equal products: halves alone would stop growing at 2048."""
    conv = nn.Conv2d(512, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.fill_(1)
    x = torch.ones(1, 512, 5, 5)
    program = compiled(conv, x, "fp16")
    if lacking("lavapipe"):
        pytest.skip(lacking("lavapipe"))
    with validated("lavapipe") as gpu, GpuProgram(gpu, program) as loaded:
        (found,) = loaded.run([x.numpy()])
    np.testing.assert_allclose(found.view(np.float32).reshape(5, 5)[2, 2], 4608, rtol=1e-3)


@pytest.mark.skipif(bool(lacking("lavapipe")), reason=lacking("lavapipe") or "-")
def test_the_order_of_workgroups_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv2d(3, 5, 3, padding=1), torch.randn(2, 3, 40, 44)
    known, found, groups = layers.schedule_of, [], []
    for first in (False, True):
        monkeypatch.setattr(layers, "schedule_of", lambda op, first=first: replace(
            known(op), tile=(1, 4), filters=1, filters_first=first))
        program = compiled(conv, x)
        groups.append(program.dispatches[1].groups)
        with validated("lavapipe") as gpu, GpuProgram(gpu, program) as loaded:
            found.append(loaded.run([x.numpy()])[0].tobytes())
    assert groups[0] == (*groups[1][1::-1], 2)
    assert groups[0][0] != groups[0][1]
    assert found[0] == found[1]


def test_memory_is_shared_by_lifetimes() -> None:
    """Of a chain of layers no more than two neighbours live together."""
    chain = [nn.Conv2d(8, 8, 3, padding=1) for _ in range(6)]
    program = compiled(nn.Sequential(*chain), torch.randn(1, 8, 32, 32))
    tensor = 8 * 32 * 32 * 4
    inputs_and_outputs = sum(one.bytes for one in (*program.inputs, *program.outputs))
    assert program.activation_bytes - inputs_and_outputs <= 1.5 * 2 * tensor  # margins of small images


@pytest.mark.slow
def test_small_pools_are_fused_where_their_tiles_waste_little() -> None:
    """Of few channels a layer computes the maxima itself; of many, a tile that fits the image gains more."""
    launches = {}
    for channels, size in ((8, 56), (256, 28)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), nn.MaxPool2d(2))
        module = import_any(model.eval(), (torch.randn(1, channels, size, size),))
        file = compile_linalg(module, CompileOptions(), Target.vulkan())
        launches[channels] = len(decode(file.code, file.weights.tobytes()).dispatches)
        mapping = file.manifest["layers"][0]["gpu"]["mapping"]
        assert mapping.endswith("2x2 maxima") == (channels == 8)
    assert launches == {8: 3, 256: 4}
    assert len(case("fused pool, falling")[0].dispatches) == 3


def test_what_gains_nothing_runs_dense() -> None:
    """A single weight saves no load, so few zeros save no time; many do."""
    reasons = {}
    for rate in (2, 30):
        torch.manual_seed(0)
        conv = pruned(nn.Conv2d(32, 32, 3, padding=1), Unstructured, rate=rate)
        module = import_any(conv.eval(), (torch.randn(1, 32, 14, 14),))
        (layer,) = compile_linalg(module, CompileOptions(), Target.vulkan()).manifest["layers"]
        reasons[rate] = layer["kernel"], layer["reason"]
    assert reasons[2][0] == "dense"
    assert "dense: 50.0% of the multiply-adds are left, which pays below 25.0%" in reasons[2][1]
    assert reasons[30][0] == "sparse"


def test_large_weights_are_several_launches() -> None:
    """No kernel may see more than 128 MB of a buffer on every device."""
    arrays = packed_dense(np.random.default_rng(0).random((600, 32), np.float32))
    pieces = parts(arrays, 2 * 64 * 4 * 32 * 4)
    assert [len(piece["row"]) for piece in pieces] == [2, 1]
    assert all(piece["start"][0] == 0 and len(piece["weight"]) == piece["start"][-1] for piece in pieces)
    np.testing.assert_array_equal(np.concatenate([piece["weight"] for piece in pieces]), arrays["weight"])


@pytest.mark.slow
def test_compiling_twice_gives_the_same_file() -> None:
    torch.manual_seed(0)
    model, x = MODELS["residual"][0](), torch.randn(MODELS["residual"][1])
    files = [compile_linalg(import_any(model.eval(), (x,)), CompileOptions(), Target.vulkan()).to_bytes()
             for _ in range(2)]
    assert files[0] == files[1]


def test_damaged_programs_are_refused() -> None:
    torch.manual_seed(0)
    module = import_any(nn.Conv2d(2, 2, 1).eval(), (torch.randn(1, 2, 3, 3),))
    file = compile_linalg(module, CompileOptions(), Target.vulkan())
    code, weights = file.code, file.weights.tobytes()
    for bad in (b"", b"ELF", code[:-4], code + b"1234", code[:4] + b"\xff\xff\xff\xff" + code[8:],
                code[:12] + b"\xff\xff\xff\xff" + code[16:], code[:40], code[:69] + b"\xff" + code[70:]):
        with pytest.raises(EspalierError, match="no GPU program"):
            decode(bad, weights)
    with pytest.raises(EspalierError, match="weights are not those"):
        decode(code, weights[:-1] + b"x")
