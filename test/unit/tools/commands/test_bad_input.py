"""Bad input through the real command line: one clear line, an exit code, no half-written file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command_line import take_interrupts

pytestmark = pytest.mark.slow  # every call starts a process that imports PyTorch

MODELS = """
    import torch
    from torch import nn

    X = torch.ones(1, 3, 8, 8)

    def good():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)), (X,)

    def nan():
        model, inputs = good()
        model[0].weight.data[1, 2, 0, 1] = float("nan")
        return model, inputs

    class Eigenvalues(nn.Module):
        def forward(self, x):
            return torch.linalg.eigvalsh(x)

    def unknown_layer():
        return nn.Sequential(Eigenvalues()), (torch.eye(3),)

    def irregular():  # kept weights anywhere: no pattern, no connectivity
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(16, 32, 3))
        model[0].weight.data *= torch.rand_like(model[0].weight) < 0.1
        return model, (torch.ones(1, 16, 8, 8),)

    def endless():
        import time
        print("loading", flush=True)
        time.sleep(60)

    def table():
        return nn.Embedding(5, 3), (torch.tensor([1, 2]),)
"""


DYNAMIC = "func.func @f(%x: tensor<?x3xf32>) -> tensor<?x3xf32> { return %x : tensor<?x3xf32> }"
STATIC = "func.func @f(%x: tensor<2x3xf32>) -> tensor<2x3xf32> { return %x : tensor<2x3xf32> }"


def call(folder: Path, tool: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a console script of this environment in ``folder``."""
    command = [str(Path(sys.executable).parent / tool), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def refused(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Asserts an exit code of 1 and one line on stderr that holds all of ``parts``."""
    lines = result.stderr.splitlines()
    assert (result.returncode, len(lines)) == (1, 1), result.stderr
    assert all(part in lines[0] for part in parts), lines[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models good and bad, inputs, and ``good.esp``, which was compiled from ``models.py:good``."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "models.py").write_text(textwrap.dedent(MODELS))
    program = torch.export.export(torch.nn.ReLU(), (torch.ones(2, 3),))
    torch.export.save(program, folder / "whole.pt2")
    (folder / "truncated.pt2").write_bytes((folder / "whole.pt2").read_bytes()[:2000])
    sizes = ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.ones(2, 3),), dynamic_shapes=sizes),
                      folder / "dynamic.pt2")
    (folder / "dynamic.mlir").write_text(DYNAMIC)
    (folder / "static.mlir").write_text(STATIC)
    (folder / "bfloat.mlir").write_text(STATIC.replace("f32", "bf16"))
    (folder / "typo.mlir").write_text(STATIC.replace("return %x", "return %y"))
    (folder / "binary.mlir").write_bytes(bytes(range(256)))
    (folder / "two.mlir").write_text(STATIC + STATIC.replace("@f", "@g"))
    (folder / "part.mlir").write_text(STATIC + "func.func private @rest()")
    for name, array in {"x": np.ones((1, 3, 8, 8), np.float32), "tall": np.ones((1, 3, 9, 8), np.float32),
                        "double": np.ones((1, 3, 8, 8)), "far": np.array([1, 99])}.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "text.npy").write_text("hello")
    compiled = call(folder, "espalier", "compile", "models.py:good", "-o", "good.esp")
    assert compiled.returncode == 0, compiled.stderr
    (folder / "truncated.esp").write_bytes((folder / "good.esp").read_bytes()[:5000])
    return folder


@pytest.mark.parametrize(("model", "parts"), [
    ("absent.mlir", ["absent.mlir: no such file"]),
    ("vgg17", ["unknown model 'vgg17'", "vgg16"]),
    ("truncated.pt2", ["truncated.pt2: not a torch.export program"]),
    ("dynamic.pt2", ["input 'input'", "dimension 0 is dynamic", "expected static shapes", "--batch 1,8"]),
    ("dynamic.mlir", ["dynamic.mlir", "dynamic shape tensor<?x3xf32>"]),
    ("bfloat.mlir", ["input 0: expected elements of f16, f32", "found tensor<2x3xbf16>"]),
    ("typo.mlir", ["typo.mlir: 1:", "undeclared SSA value"]),
    ("binary.mlir", ["binary.mlir: expected MLIR"]),
    ("two.mlir", ["@f, @g", "make the others private"]),
    ("part.mlir", ["@rest has no body"]),
    ("models.py:nan", ["'0.weight' holds NaN"]),
    ("models.py:unknown_layer", ["layer '0'", "'aten._linalg_eigh' is not supported"]),
    ("models.py:nothing", ["no function 'nothing'"]),
])
def test_models_that_do_not_compile(folder: Path, tmp_path: Path, model: str, parts: list[str]) -> None:
    refused(call(folder, "espalier", "compile", model, "-o", tmp_path / "out.esp"), *parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("file", "given", "parts"), [
    ("good.esp", "tall.npy", ["input 'input_0'", "expected 1x3x8x8 float32, found 1x3x9x8 float32"]),
    ("good.esp", "double.npy", ["expected 1x3x8x8 float32, found 1x3x8x8 float64"]),
    ("good.esp", "text.npy", ["'text.npy' is not a .npy file"]),
    ("good.esp", "absent.npy", ["cannot read 'absent.npy'"]),
    ("truncated.esp", "x.npy", ["'truncated.esp' is damaged or truncated"]),
    ("x.npy", "x.npy", ["'x.npy' is not an Espalier model file"]),
    ("absent.esp", "x.npy", ["cannot read 'absent.esp'"]),
])
def test_runs_that_do_not_start(folder: Path, tmp_path: Path, file: str, given: str,
                                parts: list[str]) -> None:
    refused(call(folder, "espalier", "run", file, "--input", given, "--output", tmp_path / "y.npy"), *parts)
    assert list(tmp_path.iterdir()) == []


def test_index_out_of_range(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "table.esp"
    assert call(folder, "espalier", "compile", "models.py:table", "-o", file).returncode == 0
    result = call(folder, "espalier", "run", file, "--input", "far.npy", "--output", tmp_path / "y.npy")
    refused(result, "index must be smaller than dim size")


def test_debug_shows_the_traceback(folder: Path) -> None:
    result = call(folder, "espalier", "compile", "typo.mlir", "-o", "out.esp", "--debug")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(("arguments", "part"), [
    (["compile", "static.mlir", "-o", "o", "--speed"], "No such option: --speed"),
    (["trim"], "No such command 'trim'"),
])
def test_unknown_words(folder: Path, arguments: list[str], part: str) -> None:
    result = call(folder, "espalier", *arguments)
    assert result.returncode == 2
    assert part in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("arguments", "parts"), [
    (["--pass-pipeline=builtin.module(sparse-detect-scheme)"], ["did you mean sparse-detect-schemes"]),
    (["--pass-pipeline=builtin.module(sparse-assign-layouts{fuse-pool=true})"], ["fuse-pool", "fuse-pools"]),
    (["--sparse-assign-layouts=fuse-pools=two"], ["fuse-pools", "two"]),
    (["--frobnicate"], ["frobnicate"]),
])
def test_unknown_passes_and_options(folder: Path, arguments: list[str], parts: list[str]) -> None:
    result = call(folder, "espalier-opt", "static.mlir", *arguments)
    assert result.returncode != 0
    assert all(part in result.stderr for part in parts), result.stderr
    assert "Traceback" not in result.stderr


def test_mask_that_fits_nothing_compiles_and_says_why(folder: Path, tmp_path: Path) -> None:
    result = call(folder, "espalier", "report", "models.py:irregular", "--json", tmp_path / "report.json")
    assert result.returncode == 0, result.stderr
    (layer,) = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert layer["scheme"] == "unstructured"
    assert "entries" in layer["reason"] or "patterns" in layer["reason"], layer["reason"]


@pytest.mark.parametrize(("path", "part"), [
    ("/dev/full", "No space left on device"), ("/absent/out.esp", "there is no folder '/absent'"),
    (".", "it is a folder")])
def test_places_that_cannot_be_written(folder: Path, path: str, part: str) -> None:
    before = sorted(folder.iterdir())
    refused(call(folder, "espalier", "compile", "static.mlir", "-o", path), f"cannot write '{path}'", part)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("model", ["models.py:endless", "vgg16"])
def test_interrupt_leaves_nothing(folder: Path, tmp_path: Path, model: str) -> None:
    tool = str(Path(sys.executable).parent / "espalier")
    process = subprocess.Popen([tool, "compile", model, "-o", str(tmp_path / "out.esp")], cwd=folder,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=take_interrupts)
    try:
        if model == "vgg16":
            time.sleep(6)  # somewhere in the middle of importing and compiling
        else:
            assert process.stdout is not None
            assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (130, "espalier: interrupted\n")
    assert list(tmp_path.iterdir()) == []
