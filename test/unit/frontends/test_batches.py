"""Models for several batch sizes: right for each, weights once, an error for any other."""

from __future__ import annotations

import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import espalier
import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends.compile import compile_file
from espalier.pipelines.codegen.emit import Products, cross_compiled
from espalier.pipelines.target import Target
from espalier.runtime.batches import checked_batches
from espalier.runtime.compiled_model import CompiledModel
from espalier.runtime.devices import find_device, run_on
from espalier.runtime.model_file import ModelFile
from espalier.tools.commands.common import batches_of
from espalier.tools.commands.compile import _batches, _named
from espalier.tools.emission import Emission
from torch import nn

SIZES = (1, 4, 3)


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten())
        self.top = nn.Linear(16 * 16, 10)

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return self.top(self.body(x)) * scale


class Sequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 32, batch_first=True)
        self.top = nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.top(self.gru(x)[0][:, -1])


def images(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(batch, 3, 8, 8), torch.randn(10)


def dynamic(module: nn.Module, *inputs: torch.Tensor) -> torch.export.ExportedProgram:
    """Of which the first dimension of the first input is the batch."""
    rest = [None] * (len(inputs) - 1)
    batch = torch.export.Dim("batch", min=1, max=8)
    return torch.export.export(module, inputs, dynamic_shapes=({0: batch}, *rest))


@pytest.fixture(scope="module")
def network() -> tuple[nn.Module, CompiledModel]:
    torch.manual_seed(0)
    module = Images().eval()
    return module, espalier.compile(module, images(2), batch=SIZES)


def test_every_batch_is_as_in_pytorch(network: tuple[nn.Module, CompiledModel], tmp_path: Path) -> None:
    module, model = network
    assert model.batches == SIZES
    assert model.check() <= model.tolerance
    model.save(tmp_path / "m")
    for one in (model, CompiledModel.load(tmp_path / "m")):
        for batch in SIZES:
            x, scale = images(batch)
            with torch.no_grad():
                expected = module(x, scale)
            np.testing.assert_allclose(one(x, scale), expected, rtol=1e-4, atol=1e-5)
            (found,) = one.run([x.numpy(), scale.numpy()], 2)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
            assert one.for_batch(batch).outputs[0].shape == (batch, 10)
            assert len(one.profile([x.numpy(), scale.numpy()])) >= 3


def test_weights_are_there_once(network: tuple[nn.Module, CompiledModel]) -> None:
    module, model = network
    parameters = sum(4 * p.numel() for p in module.parameters())
    totals = [part.weights.nbytes for part in model.file.parts]
    assert parameters <= totals[0] <= totals[-1] == model.weight_bytes
    assert totals[-1] < 1.2 * totals[0]
    longest = model.file.weights
    for part in model.file.parts:
        assert np.array_equal(part.weights, longest[: part.weights.nbytes])


def test_another_batch_is_one_line(network: tuple[nn.Module, CompiledModel]) -> None:
    _, model = network
    with pytest.raises(EspalierError, match=r"expected a batch of 1, 4 or 3, found 2; compile the model for"):
        model(*images(2))
    with pytest.raises(EspalierError, match="is compiled for a batch of 1, 4 or 3, found 9"):
        model.for_batch(9)
    with pytest.raises(EspalierError, match=r"input 'input_0': expected 4x3x8x8 float32, found 4x3x8x9"):
        model.run([np.zeros((4, 3, 8, 9), np.float32), np.zeros(10, np.float32)])
    with pytest.raises(EspalierError, match="expected 2 inputs, found 0"):
        model.run([])


@pytest.mark.slow
def test_a_recurrent_program_with_a_dynamic_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Sequences().eval()
    torch.export.save(dynamic(module, torch.randn(2, 6, 8)), tmp_path / "net.pt2")
    with pytest.raises(EspalierError, match=r"dimension 0 is dynamic; .* --batch 1,8 \(batch=\(1, 8\) in P"):
        espalier.compile(tmp_path / "net.pt2")
    model = espalier.compile(tmp_path / "net.pt2", batch=(1, 5))
    assert {layer.name for layer in model.layers} >= {"top"}
    for batch in (1, 5):
        x = torch.randn(batch, 6, 8)
        with torch.no_grad():
            np.testing.assert_allclose(model(x), module(x), rtol=1e-4, atol=1e-5)


class Summed(nn.Module):
    """With a state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total += x.sum(0)
        return x + self.total


BAD: dict[str, tuple[Any, Any, Any, str]] = {
    "zero": (nn.ReLU(), (torch.ones(2),), (0,), "expected different batch sizes of at least 1, found 0"),
    "twice": (nn.ReLU(), (torch.ones(2),), (2, 2), "expected different batch sizes of at least 1, found 2, "),
    "no input": (nn.ReLU(), (torch.tensor(1.0),), 2, "needs an example input whose first dimension"),
    "states": (Summed(), (torch.ones(2, 3),), (1, 2), "a model with states is compiled for one batch size"),
    "onnx": ("net.onnx", (), (1, 2), "a batch is for PyTorch's modules and programs")}


@pytest.mark.parametrize("kind", BAD)
def test_what_has_no_batches_is_one_line(kind: str) -> None:
    model, inputs, batch, message = BAD[kind]
    with pytest.raises(EspalierError, match=message) as caught:
        espalier.compile(model, inputs, batch=batch)
    assert "\n" not in str(caught.value)


def test_programs_without_such_a_batch_are_one_line() -> None:
    fixed = torch.export.export(nn.ReLU(), (torch.ones(2),))
    with pytest.raises(EspalierError, match=r"one dynamic dimension \(torch\.export\.Dim\), found fixed"):
        espalier.compile(fixed, batch=(1, 2))
    with pytest.raises(EspalierError, match="the program takes a batch of 1 to 8, found 9"):
        espalier.compile(dynamic(nn.ReLU(), torch.ones(2)), batch=(1, 9))


def test_a_gpu_takes_one_batch() -> None:
    with pytest.raises(EspalierError, match="--target vulkan compiles for one batch"):
        espalier.compile(nn.ReLU(), (torch.ones(2),), target=Target.vulkan(), batch=(1, 2))


def test_one_batch_is_an_ordinary_model() -> None:
    model = espalier.compile(nn.ReLU(), (torch.ones(2, 3),), batch=5)
    assert model.batches == ()
    assert model.inputs[0].shape == (5, 3)


def test_damaged_parts_are_refused(network: tuple[nn.Module, CompiledModel], tmp_path: Path) -> None:
    """A part's members are checked as the first one's are."""
    file = network[1].file
    manifest = dict(file.variants[0].manifest)
    for change in ({"batch": 1}, {"batch": 7}, {"sizes": {**manifest["sizes"], "arena": 1}}):
        other = replace(file.variants[0], manifest={**manifest, **change})
        replace(file, variants=[other, file.variants[1]]).write(tmp_path / "m")
        with pytest.raises(EspalierError, match=r"compile (it|the model) again"):
            CompiledModel.load(tmp_path / "m").for_batch(4)
    file.write(tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "m") as archive:
        assert {"weights", "code", "1/code", "2/abi", "1/input_0.npy"} <= set(archive.namelist())
        assert "1/weights" not in archive.namelist()
        abi = archive.read("2/abi")
    content = (tmp_path / "m").read_bytes()
    (tmp_path / "m").write_bytes(content.replace(abi, abi[:-1] + b"x"))
    with pytest.raises(EspalierError, match="damaged or truncated"):
        ModelFile.read(tmp_path / "m")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None or os.uname().machine != "x86_64",
                    reason="needs gcc on x86-64")
def test_libraries_of_each_batch_share_the_file(tmp_path: Path) -> None:
    """The C runtime: in this process, and in a program of its own."""
    torch.manual_seed(0)
    module, target = nn.Linear(6, 5).eval(), Target.cross("x86_64-linux-gnu", "native")
    file = compile_file(module, (torch.randn(1, 6),), target, batch=(1, 3))
    model = CompiledModel(cross_compiled(file, target, "net", "gcc"))
    model.save(tmp_path / "m")
    for batch in (1, 3):
        x = torch.randn(batch, 6)
        done = run_on(find_device("local", model.file), tmp_path / "m", model.file, [x.numpy()], check=True)
        for found in (model(x), torch.from_numpy(done.outputs[0])):
            assert torch.allclose(found, module(x), atol=1e-5)
    with pytest.raises(EspalierError, match="expected a batch of 1 or 3, found 2"):
        run_on(find_device("local", model.file), tmp_path / "m", model.file, [np.zeros((2, 6), np.float32)])


def test_code_of_several_batches_is_named(tmp_path: Path) -> None:
    file = ModelFile({"batch": 1, "sizes": {"weights": 4}}, b"", np.zeros(8, np.uint8), "0" * 32)
    file = replace(file, variants=[replace(file, manifest={**file.manifest, "batch": 8})])
    products = Products(file, Target.cross("x86_64-linux-gnu"), "net")
    named = list(_named(products, tmp_path / "net.tar.o"))
    names = [(one.name, path.name) for one, path in named]
    assert names == [("net_b1", "net_b1.tar.o"), ("net_b8", "net_b8.tar.o")]
    assert [one.file.weights.nbytes for one, _ in named] == [4, 8]
    alone = replace(products, file=replace(file, variants=[]))
    assert list(_named(alone, tmp_path / "x")) == [(alone, tmp_path / "x")]


def test_batches_on_the_command_line(tmp_path: Path) -> None:
    assert batches_of("") == []
    assert batches_of("1,8") == [1, 8]
    for text in ("1,", "a", "0", "2,2", "-1"):
        with pytest.raises(EspalierError, match=r"--batch expects sizes such as|different batch sizes"):
            batches_of(text)
    with pytest.raises(EspalierError, match="--batch compiles several codes, so it takes no --emit linalg"):
        _batches("1,2", Emission.of("linalg", tmp_path / "net.mlir"))


def test_sizes_are_whole_numbers() -> None:
    assert checked_batches([]) == []
    assert checked_batches([1, 8]) == [1, 8]
    for bad in ([True], [1.5], [-1]):
        with pytest.raises(EspalierError, match="expected different batch sizes"):
            checked_batches(bad)  # type: ignore[arg-type]
