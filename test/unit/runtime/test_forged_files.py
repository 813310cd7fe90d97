"""Model files with right checksums and the right fingerprint that lie: refused in one line, by C and Python.

Each forgery is a real small network's file, written again with something changed. Python loads it for the
just-in-time compiler; the C runtime, under sanitizers, with the object that was compiled for this machine.
"""

from __future__ import annotations

import copy
import os
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends.compile import compile_file
from espalier.pipelines.codegen.emit import emit
from espalier.pipelines.target import Target
from espalier.runtime import model_file
from espalier.runtime.abi import describe
from espalier.runtime.c import FLAGS, LIBRARIES, RUNNER, SOURCES
from espalier.runtime.compiled_model import CompiledModel
from espalier.runtime.model_file import ModelFile
from support.fake_model import SANITIZER_OPTIONS, SANITIZERS
from torch import nn

pytestmark = pytest.mark.slow
needs_compilers = pytest.mark.skipif(shutil.which("gcc") is None or os.uname().machine != "x86_64",
                                     reason="needs gcc on x86-64")
Change = Callable[[dict[str, Any]], None]


class Steps(nn.Module):
    """A GRU of free length beside a pruned convolution: every kind of size and table is more than nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru = nn.Conv2d(3, 8, 3, padding=1), nn.GRU(5, 8)
        kept = torch.arange(24).reshape(8, 3, 1, 1) % 5 < 2
        self.conv.weight.data *= kept & (torch.arange(9).reshape(3, 3) % 2 == 0)

    def forward(self, x: torch.Tensor, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.relu(self.conv(x)), self.gru(steps)[0]


@cache
def network(triple: str, seed: int = 0) -> ModelFile:
    torch.manual_seed(seed)
    x, steps = torch.randn(1, 3, 8, 8), torch.randn(4, 1, 5)
    torch._dynamo.mark_dynamic(steps, 0)
    target = Target.cross(triple) if triple else Target.host()
    file = compile_file(Steps().eval(), (x, steps), target)
    sizes = file.manifest["sizes"]
    assert file.manifest["layers"][0]["index_bytes"] > 0
    assert min(sizes[name] for name in ("arena", "arena_per_step", "scratch", "weights", "stamps")) > 0
    return file


def put(*path: str | int, value: Any) -> Change:
    """``value``, or what it makes of the old one, at ``path``."""
    def change(manifest: dict[str, Any]) -> None:
        *parents, last = path
        at: Any = manifest
        for key in parents:
            at = at[key]
        at[last] = value(at[last]) if callable(value) else value

    return change


def drop(*path: str | int) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        *parents, last = path
        at: Any = manifest
        for key in parents:
            at = at[key]
        del at[last]

    return change


def fewer_stamps(manifest: dict[str, Any]) -> None:
    manifest["labels"] = manifest["labels"][:-1]
    manifest["sizes"]["stamps"] -= 1


def swapped_outputs(manifest: dict[str, Any]) -> None:
    manifest["outputs"].reverse()


def half(size: int) -> int:
    return size // 2


# Lies that the binary description can express, so that C meets them too.
FORGERIES: dict[str, Change] = {
    "no arena": put("sizes", "arena", value=0),
    "half an arena": put("sizes", "arena", value=half),
    "an arena of one byte less": put("sizes", "arena", value=lambda size: size - 1),
    "an absurd arena": put("sizes", "arena", value=1 << 62),
    "no arena a step": put("sizes", "arena_per_step", value=0),
    "an absurd arena a step": put("sizes", "arena_per_step", value=1 << 61),
    "no scratch": put("sizes", "scratch", value=0),
    "half the scratch": put("sizes", "scratch", value=half),
    "absurd scratch": put("sizes", "scratch", value=1 << 61),
    "fewer stamps": fewer_stamps,
    "stamps without labels": put("sizes", "stamps", value=lambda size: size - 1),
    "labels without stamps": put("labels", value=lambda labels: labels[:-1]),
    "fewer weights": put("sizes", "weights", value=half),
    "more weights": put("sizes", "weights", value=lambda size: size + 64),
    "sequential": put("sizes", "sequential", value=1),
    "another message": put("messages", value=lambda messages: [*messages, "more"]),
    "a small input": put("inputs", 0, "shape", value=[1, 3, 4, 4]),
    "a large input": put("inputs", 0, "shape", value=[1, 3, 800, 800]),
    "an input of no elements": put("inputs", 0, "shape", value=[0, 3, 8, 8]),
    "an input of rank 3": put("inputs", 0, "shape", value=[3, 8, 8]),
    "an input of rank 5": put("inputs", 0, "shape", value=lambda shape: [*shape, 1]),
    "a free size more": put("inputs", 0, "shape", value=[-1, 3, 8, 8]),
    "a free size less": put("inputs", 1, "shape", value=[4, 1, 5]),
    "an input of doubles": put("inputs", 0, "dtype", value="float64"),
    "an input of bytes": put("inputs", 0, "dtype", value="uint8"),
    "an input less": drop("inputs", 1),
    "no inputs": put("inputs", value=[]),
    "an input more": put("inputs", value=lambda inputs: [*inputs, inputs[0]]),
    "an output of one element": put("outputs", 0, "shape", value=[1]),
    "a large output": put("outputs", 0, "shape", value=[1, 8, 800, 800]),
    "an output of bytes": put("outputs", 0, "dtype", value="bool"),
    "an output of halves": put("outputs", 0, "dtype", value="float16"),
    "a fixed output": put("outputs", 1, "shape", value=[4, 1, 8]),
    "an output that is free elsewhere": put("outputs", 1, "shape", value=[1, -1, 8]),
    "an output less": drop("outputs", 0),
    "an output more": put("outputs", value=lambda outputs: [*outputs, outputs[0]]),
    "swapped outputs": swapped_outputs,
    "a size that overflows": put("outputs", 0, "shape", value=[1 << 31, 1 << 31, 1 << 31, 1]),
}
# What only JSON can say; the C runtime reads the binary description alone.
IN_JSON: dict[str, Change] = {
    "a negative arena": put("sizes", "arena", value=-64),
    "an arena of text": put("sizes", "arena", value="24"),
    "an arena of 2^64": put("sizes", "arena", value=1 << 64), "no sizes": drop("sizes"),
    "sizes that are a list": put("sizes", value=[1]), "half a byte": put("sizes", "scratch", value=0.5),
    "a shape that is a number": put("inputs", 0, "shape", value=3), "no shape": drop("inputs", 0, "shape"),
    "a negative shape": put("inputs", 0, "shape", value=[1, 3, -8, 8]),
    "a dtype that is none": put("outputs", 0, "dtype", value="float33"),
    "a dtype that C has not": put("outputs", 0, "dtype", value="complex64"),
    "inputs that are text": put("inputs", value="xy"), "labels that are numbers": put("labels", value=[1, 2]),
    "no target": drop("target"), "a target that is text": put("target", value="host"),
    "another precision": put("target", "precision", value="fp8"),
    "a layer that is a number": put("layers", 0, value=7),
    "a layer without a name": drop("layers", 0, "name"),
    "a layer of other fields": put("layers", 0, "colour", value="red"),
    "a layer's bytes as text": put("layers", 0, "bytes_packed", value="many"),
}


def forge(file: ModelFile, change: Change, path: Path) -> None:
    """Writes ``file`` with a changed manifest, everything else as it is and every checksum right."""
    manifest = copy.deepcopy(jsonable(file.manifest))
    change(manifest)
    try:
        abi = describe(manifest, file.fingerprint)
    except (EspalierError, KeyError, TypeError, ValueError, AttributeError, struct.error):
        abi = describe(file.manifest, file.fingerprint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_file, "describe", lambda *_: abi)
        replace(file, manifest=manifest).write(path)


def jsonable(value: Any) -> Any:
    """``value`` with lists for tuples, as JSON gives it back."""
    if isinstance(value, dict):
        return {key: jsonable(entry) for key, entry in value.items()}
    return [jsonable(entry) for entry in value] if isinstance(value, list | tuple) else value


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network's own code with the C runtime under sanitizers."""
    folder = tmp_path_factory.mktemp("forged")
    code = folder / "net.o"
    code.write_bytes(emit("obj", network("x86_64-linux-gnu"), Target.cross("x86_64-linux-gnu"), "net"))
    command = ["gcc", *FLAGS, *SANITIZERS, "-DESPALIER_MODEL=espalier_model_net", str(RUNNER),
               *map(str, SOURCES), str(code), "-o", str(folder / "runner"), *LIBRARIES]
    subprocess.run(command, check=True)
    return folder / "runner"


def run(program: Path, path: Path) -> subprocess.CompletedProcess[str]:
    # an exit on an error leaves memory to the system
    options = {name: f"{value}:detect_leaks=0" for name, value in SANITIZER_OPTIONS.items()}
    return subprocess.run([program, path, "--check", "--threads", "2"], capture_output=True, text=True,
                          timeout=60, env={**os.environ, **options})


def refused(path: Path) -> str:
    """Python's one line."""
    with pytest.raises(EspalierError) as caught:
        CompiledModel.load(path).check(2)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


@needs_compilers
def test_the_true_file_is_taken(program: Path, tmp_path: Path) -> None:
    forge(network("x86_64-linux-gnu"), lambda _: None, tmp_path / "m")
    assert run(program, tmp_path / "m").returncode == 0
    forge(network(""), lambda _: None, tmp_path / "host")
    assert CompiledModel.load(tmp_path / "host").check(2) < 1e-4


@needs_compilers
@pytest.mark.parametrize("name", FORGERIES)
def test_c_refuses(program: Path, tmp_path: Path, name: str) -> None:
    forge(network("x86_64-linux-gnu"), FORGERIES[name], tmp_path / "m")
    result = run(program, tmp_path / "m")
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith("runner: the model file"), result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", {**FORGERIES, **IN_JSON})
def test_python_refuses(tmp_path: Path, name: str) -> None:
    forge(network(""), {**FORGERIES, **IN_JSON}[name], tmp_path / "m")
    refused(tmp_path / "m")


def test_weights_that_are_shorter(tmp_path: Path) -> None:
    file = network("")
    replace(file, weights=file.weights[:-1]).write(tmp_path / "m")
    assert "bytes of weights, found" in refused(tmp_path / "m")


def zeros(weights: np.ndarray) -> None:
    weights[:] = 0


def all_bits(weights: np.ndarray) -> None:
    weights[:] = 255


def backwards(weights: np.ndarray) -> None:
    weights[:] = weights[::-1].copy()


def one_bit(weights: np.ndarray) -> None:
    weights[len(weights) // 2] ^= 1


def last_byte(weights: np.ndarray) -> None:
    weights[-1] += 1


def far_indices(weights: np.ndarray) -> None:
    """Every small integer, which an index table may hold, points far away."""
    words = weights[: len(weights) // 4 * 4].view(np.int32)
    words[(words >= 0) & (words < 1 << 16)] = 1 << 28


def negative_indices(weights: np.ndarray) -> None:
    words = weights[: len(weights) // 4 * 4].view(np.int32)
    words[(words >= 0) & (words < 1 << 16)] = -(1 << 28)


def small_bits(weights: np.ndarray) -> None:
    """16-bit tables."""
    words = weights[: len(weights) // 2 * 2].view(np.uint16)
    words[words < 1 << 12] = 65535


WEIGHTS = (zeros, all_bits, backwards, one_bit, last_byte, far_indices, negative_indices, small_bits)


def with_weights(triple: str, change: Callable[[np.ndarray], None]) -> ModelFile:
    """The network with changed weights, index tables among them; every size is right."""
    file = network(triple)
    weights = np.array(file.weights)
    change(weights)
    assert not np.array_equal(weights, file.weights)
    return replace(file, weights=weights)


@needs_compilers
@pytest.mark.parametrize("change", WEIGHTS)
def test_c_refuses_weights(program: Path, tmp_path: Path, change: Callable[[np.ndarray], None]) -> None:
    with_weights("x86_64-linux-gnu", change).write(tmp_path / "m")
    result = run(program, tmp_path / "m")
    assert result.returncode == 1, result.stderr
    assert "weights are not those that the code was compiled with" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("change", WEIGHTS)
def test_python_refuses_weights(tmp_path: Path, change: Callable[[np.ndarray], None]) -> None:
    with_weights("", change).write(tmp_path / "m")
    assert "weights are not those that its code was compiled with" in refused(tmp_path / "m")


def test_weights_of_a_like_network(tmp_path: Path) -> None:
    """The same code but for its weights: sizes, types and layers are equal."""
    other = network("", seed=0), network("", seed=1)
    assert other[0].weights.shape == other[1].weights.shape
    replace(other[0], weights=other[1].weights).write(tmp_path / "m")
    assert "weights are not those that its code was compiled with" in refused(tmp_path / "m")


@pytest.mark.parametrize("change", [
    lambda x, y: (x, [y[0][:, :1], y[1]]), lambda x, y: (x, [y[0].astype(np.float64), y[1]]),
    lambda x, y: (x, y[:1]), lambda x, y: (x[:1], y), lambda x, y: ([x[0][:, :, :1], x[1]], y),
    lambda x, y: (x, [y[1], y[0]])])
def test_a_record_of_another_shape(tmp_path: Path, change: Any) -> None:
    file = network("")
    inputs, outputs = change(file.sample_inputs, file.sample_outputs)
    replace(file, sample_inputs=inputs, sample_outputs=outputs).write(tmp_path / "m")
    message = refused(tmp_path / "m")
    assert "another shape or dtype" in message or "recorded" in message


def moved(data: bytearray, member: str, field: int, by: int) -> None:
    """Adds ``by`` to a 32-bit field of a member's directory entry."""
    at = data.rindex(member.encode()) - 46
    value = struct.unpack_from("<I", data, at + field)[0]
    struct.pack_into("<I", data, at + field, max(value + by, 0))


@needs_compilers
@pytest.mark.parametrize(("field", "by"), [(20, 64), (24, -4), (42, 64), (42, 1 << 30), (42, -64)])
def test_offsets_that_are_wrong(tmp_path: Path, field: int, by: int) -> None:
    network("").write(tmp_path / "m")
    data = bytearray((tmp_path / "m").read_bytes())
    moved(data, "weights", field, by)
    (tmp_path / "m").write_bytes(data)
    refused(tmp_path / "m")


def test_two_members_of_one_name(tmp_path: Path) -> None:
    network("").write(tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "m", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("abi", "ESPA")
    assert "two members of one name" in refused(tmp_path / "m")
