"""Whole networks with ``--precision fp16``: compiled for Arm, run under qemu; and here, where every step is
rounded to f16."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends import load_model
from espalier.frontends.compile import compile_file
from espalier.pipelines.codegen.emit import cross_compiled, emit
from espalier.pipelines.target import Target
from espalier.programs import lacking
from espalier.runtime.compiled_model import CompiledModel
from espalier.runtime.model_file import ModelFile
from espalier.sparse_dialect.schemes import Pattern
from espalier.tools.count.ours import count_ours
from torch import nn

PRUNE = "pattern:entries=4,patterns=8,connectivity=3.6,linear=8"
HALF = replace(Target.host(), precision="fp16", arithmetic="fp16")
QEMU = shutil.which("qemu-aarch64")
CPU = "cortex-a76"


class Branches(nn.Module):
    """Channels that are joined, a gate of each channel, and code that no kernel covers."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.flat = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(8, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.cat([self.wide(x), nn.functional.silu(self.flat(x))], 1)
        return (y * y.mean((2, 3), keepdim=True).sigmoid()).sum((2, 3))


def mobile() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(8, 96, 1), nn.ReLU6(), nn.Conv2d(96, 96, 3, 2, 1, groups=96), nn.ReLU6(),
                         nn.Conv2d(96, 24, 1), nn.AvgPool2d(2, ceil_mode=True), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(24, 10), nn.Softmax(1))


class States(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(x)[0]


IMAGE, VOLUME, STEPS = torch.ones(1, 8, 13, 11), torch.ones(1, 8, 4, 7, 7), torch.ones(5, 1, 8)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    "mobile": (mobile, IMAGE),
    "branches": (Branches, IMAGE),
    "volume": (lambda: nn.Sequential(nn.Conv3d(8, 12, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2)), VOLUME),
    "signal": (lambda: nn.Sequential(nn.Conv1d(8, 12, 3), nn.ReLU(), nn.MaxPool1d(2)), torch.ones(1, 8, 50)),
    "many channels": (lambda: nn.Conv2d(1024, 8, 3, padding=1), torch.ones(1, 1024, 6, 6)),
    "gru": (States, STEPS),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_here(name: str) -> None:
    """The same passes and kernels as for Arm, for this machine's lanes."""
    torch.manual_seed(0)
    make, like = NETWORKS[name]
    module, x = make().eval(), torch.randn_like(like)
    model = CompiledModel(compile_file(module, (x,), HALF))
    assert 0 < model.check() <= 5e-3 < model.tolerance
    assert {layer.precision for layer in model.layers} <= {"fp16", "fp16, computed in fp32"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_sums_in_fp32_here(name: str) -> None:
    """Only what is stored is rounded."""
    torch.manual_seed(0)
    make, like = NETWORKS[name]
    module, x = make().eval(), torch.randn_like(like)
    model = CompiledModel(compile_file(module, (x,), replace(HALF, arithmetic="fp32")))
    assert 0 < model.check() <= 1.5e-3
    assert {layer.precision for layer in model.layers} == {"fp16, computed in fp32"}


@pytest.mark.slow
def test_long_sums_keep_more_digits_in_fp32() -> None:
    torch.manual_seed(0)
    module, x = nn.Conv2d(1024, 8, 3), torch.rand(1, 1024, 8, 8)
    sums, wide = (CompiledModel(compile_file(module, (x,), replace(HALF, arithmetic=arithmetic))).check()
                  for arithmetic in ("fp16", "fp32"))
    assert wide < 0.5 * sums


def test_weights_take_half_the_bytes() -> None:
    def size(target: Target) -> int:
        file = compile_file(nn.Conv2d(64, 64, 3), (torch.ones(1, 64, 8, 8),), target)
        return int(file.manifest["layers"][0]["bytes_packed"])

    assert size(HALF) == 64 * 64 * 9 * 2 == size(Target.host()) // 2


def test_weights_beyond_f16_are_an_error() -> None:
    layer = nn.Conv2d(4, 4, 1)
    layer.weight.data[1, 2] = -7e4
    with pytest.raises(EspalierError, match="weights up to 65504, all that f16 holds, found 70000"):
        compile_file(layer, (torch.ones(1, 4, 4, 4),), HALF)


# -- under emulation ----------------------------------------------------------------------------

needs_qemu = pytest.mark.skipif(bool(lacking("qemu-aarch64")), reason=lacking("qemu-aarch64"))


def check_in_qemu(module: nn.Module, x: torch.Tensor, cpu: str, folder: Path,
                  accumulate: str = "fp16") -> tuple[float, ModelFile]:
    """The error that the program itself finds on an emulated ``cpu``, and the model."""
    pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra aot)")
    pytest.importorskip("ziglang", reason="ziglang is not installed (extra aot)")
    target = Target.cross("aarch64-linux-gnu", cpu if cpu != "max" else CPU, "", "fp16", accumulate)
    file = compile_file(module, (x,), target)
    program, model = folder / "program", folder / "model.esp"
    program.write_bytes(emit("exe", file, target, "net"))
    program.chmod(0o755)
    file.write(model)
    done = subprocess.run([str(QEMU), "-cpu", cpu, str(program), str(model), "--check", "--threads", "2"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[0])["check"], file


@pytest.mark.slow
@needs_qemu
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_in_qemu(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, like = NETWORKS[name]
    error, file = check_in_qemu(make().eval(), torch.randn_like(like), CPU, tmp_path)
    assert 0 < error <= 5e-3
    assert file.manifest["target"]["precision"] == "fp16"


@pytest.mark.slow
@needs_qemu
@pytest.mark.parametrize("name", NETWORKS)
def test_sums_in_fp32_need_no_arithmetic_in_fp16(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, like = NETWORKS[name]
    error, file = check_in_qemu(make().eval(), torch.randn_like(like), "cortex-a53", tmp_path, "fp32")
    assert 0 < error <= 1.5e-3
    assert file.manifest["target"]["arithmetic"] == "fp32"


@pytest.mark.slow
@needs_qemu
@pytest.mark.skipif(bool(lacking("gcc")), reason=lacking("gcc"))
def test_a_pruned_layer_takes_half_the_instructions() -> None:
    """256 -> 256 3x3 at 56x56, 8.1 times fewer multiply-adds than dense."""
    pytest.importorskip("ziglang", reason="ziglang is not installed (extra aot)")
    torch.manual_seed(0)
    layer, x = nn.Conv2d(256, 256, 3, padding=1), torch.randn(1, 256, 56, 56)
    kept = Pattern.project(layer.weight.detach().numpy(), entries=4, patterns=8, connectivity=3.6)
    layer.weight.data = torch.from_numpy(kept)

    def instructions(precision: str) -> int:
        target = Target.cross("aarch64-linux-gnu", CPU, precision=precision)
        file = cross_compiled(compile_file(layer, (x,), target), target, "layer")
        return sum(counts.instructions for _, counts in count_ours(file, file.sample_inputs))

    assert instructions("fp16") <= 0.6 * instructions("fp32")


@pytest.mark.slow
@needs_qemu
@pytest.mark.parametrize("prune", [PRUNE, None])
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "vgg16"])
def test_reference_networks_in_qemu(name: str, prune: str | None, tmp_path: Path) -> None:
    """Smaller images than the networks' own: their sums are as long, and emulated f16 is slow."""
    module, _ = load_model(name, prune)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32))
    error, file = check_in_qemu(module, x, "max", tmp_path)
    assert 0 < error <= 2e-2
    dense = sum(layer["bytes_dense"] for layer in file.manifest["layers"])
    assert sum(layer["bytes_packed"] for layer in file.manifest["layers"]) <= 0.51 * dense
