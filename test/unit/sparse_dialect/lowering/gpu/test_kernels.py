"""Kernels of the GPU against numpy and PyTorch, on software devices under the validation layer."""

from __future__ import annotations

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
from support.vulkan import check_spirv, on_each_device, validated
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


def connectivity_pruned(conv: nn.Conv2d, keep: float) -> nn.Conv2d:
    with torch.no_grad():
        conv.weight *= torch.tensor(np.random.default_rng(1).random((*conv.weight.shape[:2], 1, 1)) < keep)
    return conv


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
    "connectivity": (lambda: connectivity_pruned(nn.Conv2d(16, 12, 3, padding=1), 0.25), (1, 16, 7, 7)),
    "1x1": (lambda: nn.Conv2d(6, 5, 1), (1, 6, 1, 1)),
    "batch": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, 2, 1)), (2, 3, 9, 10)),
    "groups": (lambda: nn.Conv2d(6, 9, 3, padding=1, groups=3), (1, 6, 8, 8)),
    "depthwise": (lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6), (1, 6, 9, 9)),
    "dilated": (lambda: nn.Conv2d(3, 4, 3, padding=6, dilation=6), (1, 3, 15, 15)),
    "uneven": (lambda: nn.Conv2d(3, 4, (1, 5), stride=(2, 1), padding=(0, 2)), (1, 3, 8, 13)),
    "one dimension": (lambda: nn.Conv1d(3, 4, 5, padding=2), (1, 3, 21)),
    "residual": (Residual, (1, 4, 11, 13)),
    "max pool": (lambda: nn.Sequential(nn.Conv2d(2, 3, 1), nn.MaxPool2d(3, 2, 1)), (1, 2, 11, 13)),
    "average pool": (lambda: nn.AvgPool2d(3, 2, 1), (1, 2, 11, 13)),
    "linear": (lambda: nn.Sequential(nn.Linear(33, 70), nn.ReLU(), nn.Linear(70, 5)), (3, 33)),
    "flatten": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 5 * 6, 7)),
                (1, 3, 7, 8)),
}


def compiled(model: nn.Module, x: torch.Tensor) -> Program:
    file = compile_linalg(import_any(model.eval(), (x,)), CompileOptions(), Target.vulkan())
    return decode(file.code, file.weights.tobytes())


QUICK = ("pattern", "residual", "flatten")
each_model = pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in MODELS])


@cache
def case(name: str) -> tuple[Program, np.ndarray, np.ndarray]:
    """Program, input and PyTorch's output of a model."""
    make, shape = MODELS[name]
    torch.manual_seed(0)
    model, x = make(), torch.randn(shape)
    return compiled(model, x), x.numpy(), model(x).detach().numpy()


@on_each_device
@each_model
def test_models(driver: str, name: str) -> None:
    program, x, expected = case(name)
    with validated(driver) as gpu, GpuProgram(gpu, program) as loaded:
        (first,) = loaded.run([x])
        (second,) = loaded.run([x])
    assert first.tobytes() == second.tobytes()
    found = first.view(np.float32).reshape(expected.shape)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@each_model
def test_words_are_valid(name: str, tmp_path: Path) -> None:
    for kernel in case(name)[0].kernels:
        check_spirv(kernel.words, tmp_path)


def test_compiling_twice_gives_the_same_file() -> None:
    torch.manual_seed(0)
    model, x = MODELS["residual"][0](), torch.randn(MODELS["residual"][1])
    files = [compile_linalg(import_any(model.eval(), (x,)), CompileOptions(), Target.vulkan()).to_bytes()
             for _ in range(2)]
    assert files[0] == files[1]


class Softmax(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softmax(x, dim=1)




def pruned_linear() -> nn.Module:
    linear = nn.Linear(64, 64)
    with torch.no_grad():
        linear.weight *= torch.tensor(np.random.default_rng(0).random(linear.weight.shape) < 0.1)
    return linear


UNCOVERED = {
    "3-D": (lambda: nn.Conv3d(2, 2, 3), (1, 2, 4, 4, 4), r"two to four dimensions"),
    "softmax": (Softmax, (1, 4, 5, 5), r"an op without a GPU kernel"),
    "pruned linear": (pruned_linear, (1, 64), r"a dense linear layer, found \w+; there is no GPU kernel"),
}


@pytest.mark.parametrize("name", UNCOVERED)
def test_what_has_no_kernel_is_an_error(name: str) -> None:
    make, shape, message = UNCOVERED[name]
    torch.manual_seed(0)
    with pytest.raises(EspalierError, match=message):
        compiled(make(), torch.randn(shape))


def test_damaged_programs_are_refused() -> None:
    torch.manual_seed(0)
    module = import_any(nn.Conv2d(2, 2, 1).eval(), (torch.randn(1, 2, 3, 3),))
    code = compile_linalg(module, CompileOptions(), Target.vulkan()).code
    for bad in (b"", b"ELF", code[:-4], code + b"1234", code[:4] + b"\xff\xff\xff\xff" + code[8:],
                code.replace(b'"kernel": 0', b'"kernel": 9'),
                code.replace(b'"bindings": 2', b'"bindings": 3')):
        with pytest.raises(EspalierError, match="no GPU program"):
            decode(bad, b"")
