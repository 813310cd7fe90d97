"""Blocks, kernel groups, 3-D and recurrent layers on AArch64, run under emulation and held to PyTorch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from espalier.frontends.compile import compile_file
from espalier.frontends.models import reference_model
from espalier.frontends.pruning.project import prune_module
from espalier.pipelines.codegen.emit import emit
from espalier.pipelines.target import Target
from espalier.programs import lacking
from espalier.runtime.devices import find_device, run_on
from espalier.runtime.model_file import ModelFile
from torch import nn

pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra aot)")
pytest.importorskip("ziglang", reason="ziglang is not installed (extra aot)")
pytestmark = pytest.mark.skipif(bool(lacking("qemu-aarch64")),
                                reason=lacking("qemu-aarch64"))

TOLERANCES = {"fp32": 1e-4, "fp16": 5e-3}  # max abs error over max abs output
BLOCKS = "bcr:rows=4,columns=16,rate=4"
GROUPS = "kgs:filters=8,channels=4,rate=3"


def check(module: nn.Module, inputs: tuple[torch.Tensor, ...], folder: Path,
          precision: str = "fp32") -> ModelFile:
    """The compiled ``module``, once 1 and 3 threads gave the same bits and the recorded PyTorch numbers."""
    target = Target.cross("aarch64-linux-gnu", "cortex-a76", precision=precision)
    file = compile_file(module.eval(), inputs, target)
    file = replace(file, runner=emit("exe", file, target, "net"))
    file.write(folder / "net.espalier")
    one, three = (run_on(find_device("qemu", file), folder / "net.espalier", file,
                         [x.numpy() for x in inputs], check=True, threads=threads) for threads in (1, 3))
    assert one.error is not None
    assert one.error <= TOLERANCES[precision]
    for ours, others in zip(one.outputs, three.outputs, strict=True):
        np.testing.assert_array_equal(ours, others)
    return file


class Parts(nn.Module):
    """Every part on an input of its own."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, *inputs: torch.Tensor) -> tuple[Any, ...]:
        """All outputs, those of recurrent layers nested."""
        return tuple(part(x) for part, x in zip(self.parts, inputs, strict=True))


def layers() -> tuple[Parts, tuple[torch.Tensor, ...]]:
    """Every kind of layer, of sizes that nothing divides; the first convolution is never pruned."""
    torch.manual_seed(0)
    parts = [
        (nn.Conv2d(3, 8, 3), (1, 3, 9, 11)), (nn.Conv2d(13, 27, 3, padding=1), (1, 13, 9, 11)),
        (nn.Conv2d(34, 22, 1, stride=2), (2, 34, 9, 11)), (nn.Conv3d(7, 21, 3, padding=1), (1, 7, 4, 9, 11)),
        (nn.Conv3d(9, 18, (1, 3, 3), (1, 2, 2), dilation=(1, 2, 1)), (2, 9, 3, 9, 11)),
        (nn.Linear(101, 67), (1, 101)), (nn.Linear(101, 67), (5, 101)),
        (nn.GRU(24, 36, 2, bidirectional=True), (7, 2, 24)), (nn.LSTM(24, 21), (6, 1, 24)),
        (nn.LSTM(17, 20, 2, bidirectional=True, batch_first=True), (2, 5, 17))]
    return Parts(*(part for part, _ in parts)), tuple(torch.randn(shape) for _, shape in parts)


@pytest.mark.slow
@pytest.mark.parametrize("prune", [
    BLOCKS, pytest.param(f"{BLOCKS},row_rate=2", marks=pytest.mark.slow), GROUPS,
    pytest.param(f"{GROUPS},vanilla=true", marks=pytest.mark.slow)])
def test_layers(prune: str, tmp_path: Path) -> None:
    module, inputs = layers()
    records = check(prune_module(module, prune), inputs, tmp_path).manifest["layers"]
    pruned = [record for record in records if record["sparsity"] > 0.5]
    assert len(pruned) == (24 if "bcr" in prune else 4)
    assert {record["kernel"] for record in pruned} == {"sparse"}


@pytest.mark.slow
@pytest.mark.parametrize("prune", [BLOCKS, GROUPS])
def test_layers_in_f16(prune: str, tmp_path: Path) -> None:
    module, inputs = layers()
    records = check(prune_module(module, prune), inputs, tmp_path, "fp16").manifest["layers"]
    computed = {record["op"]: record["precision"] for record in records}
    assert computed.pop("conv") == "fp16"
    assert set(computed.values()) == {"fp16, computed in fp32"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "prune", "shape"), [
    ("gru", "bcr:rows=4,columns=16,rate=10", (7, 2, 153)),
    ("lstm", "bcr:rows=4,columns=16,rate=10", (7, 1, 153)),
    ("resnet50", f"{BLOCKS},layers=pointwise+pattern:entries=4,patterns=8,connectivity=3.6", (1, 3, 64, 64)),
    ("r2plus1d_18", "kgs:filters=8,channels=4,rate=3.2", (1, 3, 4, 32, 32)),
    ("s3d", "kgs:filters=8,channels=4,rate=2.1", (1, 3, 8, 64, 48)),
])
def test_networks(name: str, prune: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """At small sizes; C3D, whose linear layers fit clips of 16 x 112 x 112 alone, takes 8 minutes and was run
    by hand."""
    module, _ = reference_model(name, prune)
    check(module, (torch.randn(shape, generator=torch.Generator().manual_seed(1)),), tmp_path)
