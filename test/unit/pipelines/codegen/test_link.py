"""Programs and libraries for other machines: linked by zig or a compiler at hand, run under qemu or here."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import espalier
import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends import load_model
from espalier.frontends.compile import compile_file
from espalier.pipelines.codegen.emit import cross_compiled, emit, identifier
from espalier.pipelines.target import Target
from espalier.programs import lacking
from espalier.runtime.model_file import ModelFile
from torch import nn

pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra aot)")

PRUNE = "pattern:entries=4,patterns=8,connectivity=3.6,linear=8"
TOLERANCE = 1e-4  # max abs error over max abs output
QEMU = shutil.which("qemu-aarch64")
CPU = "cortex-a76"

needs_qemu = pytest.mark.skipif(bool(lacking("qemu-aarch64")), reason=lacking("qemu-aarch64"))
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None or platform.machine() != "x86_64",
                               reason="needs gcc on x86-64")


@pytest.fixture
def zig() -> None:
    pytest.importorskip("ziglang", reason="ziglang is not installed (extra aot)")


def network() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Rows that fill no vector, a plane that no lane grid divides, and a scalar function from libm."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                           nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
                           nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10), nn.Softmax(1))
    return module.eval(), (torch.randn(1, 3, 23, 19),)


@cache
def compiled(triple: str, cpu: str = "") -> tuple[ModelFile, Target]:
    target = Target.cross(triple, cpu)
    return compile_file(*network(), target), target


def run(command: list[str], program: bytes, model: ModelFile, folder: Path, *arguments: str) -> list[dict]:
    """What the runner prints, for the model's file beside it."""
    binary = folder / "program"
    binary.write_bytes(program)
    binary.chmod(0o755)
    model.write(folder / "model.esp")
    done = subprocess.run([*command, str(binary), str(folder / "model.esp"), *arguments], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# -- here ---------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_gcc
@pytest.mark.parametrize("cpu", ["native", "x86-64-v3", "x86-64"])
def test_program_for_x86(cpu: str, tmp_path: Path) -> None:
    if cpu == "x86-64-v3" and Target.host().name == "sse":
        pytest.skip("this machine has no AVX2")
    file, target = compiled("x86_64-linux-gnu", cpu)
    program = emit("exe", file, target, "net", linker="gcc")
    check, timing, *labels = run([], program, file, tmp_path, "--check", "--threads", "2", "--profile")
    assert check["check"] <= TOLERANCE
    assert timing["threads"] == 2
    assert sum(label["ms"] for label in labels) > 0


@pytest.mark.slow
@needs_gcc
def test_libraries(tmp_path: Path) -> None:
    file, target = compiled("x86_64-linux-gnu")
    library = tmp_path / "libnet.so"
    library.write_bytes(emit("shared", file, target, "net", library.name, "gcc"))
    listed = subprocess.check_output(["nm", "-D", "--defined-only", library], text=True)
    symbols = {line.split()[2] for line in listed.splitlines()}
    assert {"espalier_model_net", "espalier_run", "espalier_create_from_file"} <= symbols
    assert all(symbol.startswith("espalier_") for symbol in symbols)
    archive = tmp_path / "libnet.a"
    archive.write_bytes(emit("static", file, target, "net", linker="gcc"))
    members = subprocess.check_output(["ar", "t", archive], text=True).split()
    assert {"model.o", "espalier_espalier.o", "espalier_team.o"} <= set(members)


@pytest.mark.slow
def test_code_is_the_same_every_time() -> None:
    first, target = compiled("aarch64-linux-gnu")
    again = compile_file(*network(), target)
    assert first.fingerprint == again.fingerprint
    assert emit("obj", first, target, "net") == emit("obj", again, target, "net")


@pytest.mark.slow
def test_the_python_api_saves_but_does_not_run(zig: None, tmp_path: Path) -> None:
    module, inputs = network()
    model = espalier.compile(module, inputs, target=Target.cross("aarch64-linux-android"))
    model.save(tmp_path / "model")
    loaded = espalier.load(str(tmp_path / "model"))
    assert loaded.layers == model.layers
    with pytest.raises(EspalierError, match="compiled ahead of time for aarch64-linux-android generic"):
        loaded.run([inputs[0].numpy()])


@pytest.mark.slow
def test_android_library_asks_for_the_device_libc(zig: None) -> None:
    file, target = compiled("aarch64-linux-android")
    library = emit("shared", file, target, "net")
    assert b"\0libc.so\0" in library
    assert b"\0espalier_model_net\0" in library
    assert b"GLIBC" not in library


@pytest.mark.slow
def test_a_linker_with_libc_makes_android_libraries_whole(zig: None) -> None:
    file, target = compiled("aarch64-linux-android")
    ndk = f"{sys.executable} -m ziglang cc -target aarch64-linux-musl"  # in the place of an NDK's clang
    for kind in ("shared", "static"):
        assert b"espalier_create_from_file" in emit(kind, file, target, "net", linker=ndk)
        assert b"espalier_create_from_file" not in emit(kind, file, target, "net")


@pytest.mark.parametrize(("text", "expected"), [
    ("vgg16", "vgg16"), ("net.py:small", "net_py_small"), ("3d-net", "d_net"), ("é", "_"), ("12", "model")])
def test_identifier(text: str, expected: str) -> None:
    assert identifier(text) == expected


# -- linkers that do not work -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("linker", "message"), [
    ("no-such-compiler", "linker 'no-such-compiler' cannot be started: No such file or directory"),
    ("false", "linker 'false' failed with exit code 1: no message"),
    ("sh -c 'echo note; echo fatal error: no libc >&2; exit 3'",
     "linker 'sh' failed with exit code 3: fatal error: no libc")])
@pytest.mark.parametrize("kind", ["shared", "static", "exe"])
def test_bad_linkers(linker: str, message: str, kind: str) -> None:
    file, target = compiled("aarch64-linux-gnu")
    with pytest.raises(EspalierError) as caught:
        emit(kind, file, target, "net", linker=linker)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# -- under emulation ----------------------------------------------------------------------------


@pytest.mark.slow
@needs_qemu
@pytest.mark.parametrize("triple", ["aarch64-linux-gnu", "aarch64-linux-musl", "aarch64-linux-android"])
def test_small_network_in_qemu(triple: str, zig: None, tmp_path: Path) -> None:
    file, target = compiled(triple, CPU)
    model = cross_compiled(file, target, "net")
    x = np.random.default_rng(1).standard_normal((1, 3, 23, 19)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    found = []
    for threads in ("1", "3"):
        path = tmp_path / f"y{threads}.npy"
        (check, *_) = run([str(QEMU), "-cpu", CPU], model.runner, model, tmp_path, "--check", "--input",
                          str(tmp_path / "x.npy"), "--output", str(path), "--threads", threads)
        assert check["check"] <= TOLERANCE
        found.append(np.load(path))
    with torch.no_grad():
        expected = network()[0](torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(*found)
    assert np.abs(found[0] - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.slow
@needs_qemu
@pytest.mark.parametrize("prune", [PRUNE, None])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_networks_in_qemu(name: str, prune: str | None, zig: None, tmp_path: Path) -> None:
    module, _ = load_model(name, prune)
    target = Target.cross("aarch64-linux-gnu", CPU)
    file = compile_file(module, (torch.randn(1, 3, 64, 64),), target)
    program = emit("exe", file, target, "net")
    (check, *_) = run([str(QEMU), "-cpu", CPU], program, file, tmp_path, "--check", "--threads", "2")
    assert check["check"] <= TOLERANCE
