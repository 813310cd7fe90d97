"""What ``--emit iree`` writes, and that IREE, where it is installed, runs it to PyTorch's answer."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import espalier
import numpy as np
import pytest
import torch
from espalier import EspalierError
from espalier.frontends.compile import Recorded, iree_files
from espalier.pipelines.codegen.iree import IreeModule, safetensors
from espalier.pipelines.driver import CompileOptions, Watch
from espalier.pipelines.target import Target
from support.command_line import CommandLine, one_line
from torch import nn

DEVICES = (["--device=local-sync"], ["--device=local-task", "--task_topology_group_count=1"],
           ["--device=local-task", "--task_topology_group_count=2"])
CPU = {"x86_64": ["--iree-llvmcpu-target-cpu=host"],
       "aarch64": ["--iree-llvmcpu-target-triple=aarch64-linux-gnu", "--iree-llvmcpu-target-cpu=cortex-a76"]}


class Net(nn.Module):
    """Layers with kernels, recurrent ones too, and between them what IREE compiles: a look-up, a gather and a
    softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 3 * 8 * 8)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.gru, self.lstm = nn.GRU(16, 5, bidirectional=True), nn.LSTM(10, 8)
        self.head = nn.Linear(8, 6)

    def forward(self, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.first(self.table(words).reshape(-1, 3, 8, 8)).relu()
        y = nn.functional.max_pool2d((self.second(y) + y).relu(), 2)
        y, (_, cell) = self.lstm(self.gru(y.reshape(8, 1, 16))[0])
        return torch.gather(self.head(y.mean(0)).softmax(1), 1, words[:, None] % 6), cell


def emitted(net: nn.Module, example: torch.Tensor, target: Target) -> tuple[IreeModule, Recorded]:
    return iree_files(net.eval(), (example,), target, CompileOptions(), "net", None, Watch())


TRIPLES = [pytest.param(triple, marks=pytest.mark.slow)
           for triple in ("x86_64-linux-gnu", "aarch64-linux-gnu")]


@pytest.fixture(scope="module", params=TRIPLES)
def made(request: pytest.FixtureRequest) -> tuple[IreeModule, Recorded]:
    torch.manual_seed(0)
    net = Net()
    espalier.prune(net, "pattern:entries=4,patterns=4,connectivity=2", only="second")
    return emitted(net, torch.tensor([3]), Target.cross(request.param))


def tool(name: str) -> str:
    """A tool of IREE's, on PATH or beside this Python; where it is missing the test is skipped, saying so."""
    folders = [os.environ.get("PATH", ""), str(Path(sys.executable).parent)]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        pytest.skip(f"{name} is missing (extra hosts)")
    return found


def must(*command: object, folder: Path | None = None) -> None:
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]


def test_layers_are_dispatches_and_the_rest_is_linalg(made: tuple[IreeModule, Recorded]) -> None:
    text = made[0].text
    assert text.count('"flow.dispatch"') == text.count("hal.executable.export") >= 5
    assert text.count("hal.import.static") == text.count("hal.executable.export")
    assert "tensor.extract" in text
    assert "math.exp" in text
    assert "sparse." not in text
    assert "memref.alloc" not in text
    assert "loc(" not in text
    format_ = {"x86_64": "embedded-elf-x86_64", "aarch64": "embedded-elf-arm_64"}[made[0].architecture]
    assert f'<{{#hal.executable.target<"llvm-cpu", "{format_}"> = [' in text
    assert f'path = "net.{made[0].architecture}.o"' in text


def test_weights_are_parameters(made: tuple[IreeModule, Recorded]) -> None:
    """Of kernels in one block; of IREE's own code each by itself."""
    weights = made[0].parameters
    table = next(array for name, array in weights.items() if name != "weights")
    assert weights["weights"].dtype == np.uint8
    assert table.shape == (40, 192)
    type_ = f'tensor<{weights["weights"].size}xi8>'
    assert f'@weights = #flow.parameter.named<"model"::"weights"> : {type_}' in made[0].text
    assert "dense_resource" not in made[0].text


def test_the_object_needs_no_symbol_from_elsewhere(made: tuple[IreeModule, Recorded], tmp_path: Path) -> None:
    if shutil.which("nm") is None:
        pytest.skip("nm is missing")
    (tmp_path / "net.o").write_bytes(made[0].code)
    symbols = subprocess.run(["nm", tmp_path / "net.o"], capture_output=True, text=True, check=True).stdout
    assert " U " not in symbols
    assert symbols.count(" T espalier_") == made[0].text.count("hal.executable.export")


def test_iree_runs_it(made: tuple[IreeModule, Recorded], tmp_path: Path) -> None:
    """Within 1e-5 of PyTorch on every device, and the same bits on all; for AArch64 it links."""
    compiler = tool("iree-compile")
    module, (inputs, outputs) = made
    module.write(tmp_path, inputs, outputs)
    must(compiler, tmp_path / "net.mlir", "--iree-hal-target-device=local", "-o", tmp_path / "net.vmfb",
         "--iree-hal-local-target-device-backends=llvm-cpu",
         f"--iree-hal-executable-object-search-path={tmp_path}", *CPU[module.architecture])
    if module.architecture != "x86_64":
        return
    answers = set()
    for device in DEVICES:
        must(tool("iree-run-module"), f"--module={tmp_path / 'net.vmfb'}", *device,
             f"--parameters=model={tmp_path / 'net.safetensors'}", f"--input=@{tmp_path / 'net.input_0.npy'}",
             *(f"--output=@{tmp_path / f'{number}.npy'}" for number in range(len(outputs))))
        answer = [np.load(tmp_path / f"{number}.npy") for number in range(len(outputs))]
        for found, wanted in zip(answer, outputs, strict=True):
            assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
        answers.add(tuple(found.tobytes() for found in answer))
    assert len(answers) == 1


def test_safetensors_are_aligned_and_whole() -> None:
    arrays = {"a": np.arange(3, dtype=np.float32), "b": np.arange(4, dtype=np.int64).reshape(2, 2)}
    data = safetensors(arrays)
    size = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:size])
    ends = [0]
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        assert begin == ends[-1]
        assert (name not in arrays or (size + begin) % 64 == 0)
        ends.append(end)
    assert len(data) == size + ends[-1]
    begin, end = header["b"]["data_offsets"]
    assert np.array_equal(np.frombuffer(data[size + begin : size + end], np.int64).reshape(2, 2), arrays["b"])


def test_what_cannot_be_said_to_iree_is_refused() -> None:
    with pytest.raises(EspalierError, match="expected a target of x86_64, aarch64, found ''"):
        emitted(nn.Linear(4, 4), torch.zeros(1, 4), Target.host())


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                      capsys: pytest.CaptureFixture[str]) -> None:
    """A folder by itself, which holds a recorded run as well; for this machine where no target is named."""
    espalier_ = CommandLine(monkeypatch, capsys)
    source, out = tmp_path / "small.py", tmp_path / "out"
    source.write_text("from torch import nn, ones\ndef net():\n    return nn.Linear(4, 3), (ones(1, 4),)\n")
    result = espalier_("compile", f"{source}:net", "--emit", "iree", "--name", "net", "-o", out)
    assert result.code == 0
    assert str(out) in result.out
    assert sorted(path.name.replace("aarch64", "x86_64") for path in out.iterdir()) == [
        "net.input_0.npy", "net.mlir", "net.output_0.npy", "net.safetensors", "net.x86_64.o"]
    text = (out / "net.mlir").read_text()
    assert text.count('"flow.dispatch"') == text.count("hal.executable.export") == 1
    assert one_line(espalier_("compile", f"{source}:net", "--emit", "iree", "-o", source), "it is a file")
    assert one_line(espalier_("compile", f"{source}:net", "--emit", "iree,obj", "-o", out), "for it alone")


@pytest.mark.slow
def test_the_page(tmp_path: Path) -> None:
    """docs/iree.md does what it says: its file is written, its commands run, in their order."""
    page = (Path(espalier.__file__).parent / "docs" / "iree.md").read_text()
    blocks = re.findall(r"```(python|sh)\n(.*?)```", page, re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "sh"]
    (tmp_path / "net.py").write_text(blocks[0][1])
    for line in blocks[1][1].replace("\\\n", " ").splitlines():
        name, *arguments = line.split()
        espalier_ = [sys.executable, "-m", "espalier.tools.espalier"]
        must(*(espalier_ if name == "espalier" else [tool(name)]), *arguments, folder=tmp_path)
