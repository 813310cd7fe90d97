"""``espalier compile --target vulkan`` and ``espalier run --device vulkan``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from espalier.runtime.executors.vulkan import GpuProgram
from espalier.runtime.executors.vulkan_program import Dispatch, Kernel, Program, Range
from support.command_line import CommandLine, one_line
from support.fake_model import needs_gcc
from support.vulkan import DRIVERS, lacking, on_each_device, validated

MODEL = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 6, 3, 2, 1))
    return model.eval(), (torch.randn(1, 3, 13, 18),)
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vulkan")
    (folder / "net.py").write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["espalier", "compile", f"{folder / 'net.py'}:net", "--target", "vulkan",
                                   "-o", str(folder / "net.espalier")])
        from espalier.tools.espalier import main

        with pytest.raises(SystemExit) as exit_:
            main()
    assert exit_.value.code in (0, None)
    return folder / "net.espalier"


@pytest.fixture
def espalier(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


@on_each_device
def test_check_and_run(driver: str, compiled: Path, espalier: CommandLine, monkeypatch: pytest.MonkeyPatch,
                       tmp_path: Path) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
    checked = espalier("run", compiled, "--device", "vulkan:0", "--check")
    assert checked.code == 0, checked.err
    assert "check passed" in checked.out
    np.save(tmp_path / "x.npy", np.ones((1, 3, 13, 18), np.float32))
    ran = espalier("run", compiled, "--device", "vulkan", "--input", tmp_path / "x.npy", "--output",
                   tmp_path / "y.npy", "--repeat", "2")
    assert ran.code == 0, ran.err
    assert np.load(tmp_path / "y.npy").shape == (1, 6, 3, 5)


@on_each_device
def test_wrong_uses(driver: str, compiled: Path, espalier: CommandLine, monkeypatch: pytest.MonkeyPatch,
                    tmp_path: Path) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
    np.save(tmp_path / "x.npy", np.ones((1, 3, 13, 17), np.float32))
    for arguments, message in (
            (("--check", "--device", "vulkan:9"), "no Vulkan device 9"),
            (("--check", "--device", f"vulkan:{1 << 32}"), "no Vulkan device 4294967296"),
            (("--check", "--device", "vulkan:one"), "unknown device 'vulkan:one'"),
            (("--check", "--device", "qemu"), "compiled for a GPU"),
            (("--check",), "a GPU (--device vulkan)"),
            (("--check", "--device", "vulkan", "--threads", "2"), "no --threads"),
            (("--input", tmp_path / "x.npy", "--device", "vulkan"), "found 1x3x13x17")):
        assert one_line(espalier("run", compiled, *arguments), message)


@pytest.mark.slow
@on_each_device
def test_a_folder_of_modules(driver: str, espalier: CommandLine, monkeypatch: pytest.MonkeyPatch,
                             tmp_path: Path) -> None:
    """The list and the files beside it are all that a host needs."""
    (tmp_path / "net.py").write_text(MODEL)
    folder, model = tmp_path / "out", f"{tmp_path / 'net.py'}:net"
    for _ in range(2):  # a second time replaces the first
        assert espalier("compile", model, "--target", "vulkan", "--emit", "spirv", "-o", folder).code == 0
    program = program_in(folder)
    namespace: dict[str, Any] = {}
    exec(MODEL, namespace)
    net, (x,) = namespace["net"]()
    with validated(driver) as gpu, GpuProgram(gpu, program) as loaded:
        (found,) = loaded.run([x.numpy()])
    np.testing.assert_allclose(found.view(np.float32), net(x).detach().numpy().ravel(), rtol=1e-4, atol=1e-5)


def program_in(folder: Path) -> Program:
    """The program as another host would read it."""
    known = json.loads((folder / "dispatches.json").read_text())
    ranges = {name: tuple(Range(**one) for one in known[name]) for name in ("inputs", "outputs")}
    kernels = tuple(Kernel(one["name"], (folder / one["file"]).read_bytes(), one["bindings"])
                    for one in known["kernels"])
    dispatches = tuple(Dispatch(one["kernel"], tuple(one["groups"]), tuple(Range(**r) for r in one["ranges"]))
                       for one in known["dispatches"])
    return Program(kernels, dispatches, ranges["inputs"], ranges["outputs"],
                   (folder / known["weights"]).read_bytes(), known["activation_bytes"])


def test_disassembly(espalier: CommandLine, tmp_path: Path) -> None:
    if shutil.which("spirv-dis") is None:
        pytest.skip("spirv-dis is not installed")
    (tmp_path / "net.py").write_text(MODEL)
    model, file = f"{tmp_path / 'net.py'}:net", tmp_path / "net.s"
    assert espalier("compile", model, "--target", "vulkan", "--emit", "asm", "-o", file).code == 0
    assert file.read_text().count("OpEntryPoint GLCompute") == len(program_kernels(file))


def program_kernels(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line.startswith("; kernel_")]


def test_what_is_not_emitted(espalier: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    model = f"{tmp_path / 'net.py'}:net"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    for arguments, message in (
            (("--emit", "obj", "-o", tmp_path / "x"), "--emit expects one of model, spirv, asm"),
            (("--emit", "spirv", "-o", tmp_path / "net.py"), "it is a file"),
            (("--emit", "spirv", "-o", tmp_path / "mine"), "holds something else"),
            (("--precision", "fp8", "-o", tmp_path / "x"), "unknown precision 'fp8'"),
            (("--mcpu", "x", "-o", tmp_path / "x"), "--target vulkan takes none of --mcpu")):
        assert one_line(espalier("compile", model, "--target", "vulkan", *arguments), message)


def test_halves(espalier: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    model, file = f"{tmp_path / 'net.py'}:net", tmp_path / "net.espalier"
    assert espalier("compile", model, "--target", "vulkan", "--precision", "fp16", "-o", file).code == 0
    if not lacking("lavapipe"):
        monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS["lavapipe"]))
        assert espalier("run", file, "--device", "vulkan", "--check").code == 0
    if not lacking("swiftshader"):
        monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS["swiftshader"]))
        assert one_line(espalier("run", file, "--device", "vulkan", "--check"), "shaderFloat16")


def test_a_cpu_model_on_a_gpu(espalier: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    file = tmp_path / "cpu.espalier"
    assert espalier("compile", f"{tmp_path / 'net.py'}:net", "-o", file).code == 0
    result = espalier("run", file, "--device", "vulkan", "--check")
    assert one_line(result, "not for a GPU", "--target vulkan")


def test_report(espalier: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    model, file = f"{tmp_path / 'net.py'}:net", tmp_path / "report.json"
    result = espalier("report", model, "--target", "vulkan", "--gpu-profile", "mali", "--json", file)
    assert result.code == 0, result.err
    assert "2 filters" in result.out
    assert "dense: no scheme fits its zeros" in result.out
    known = json.loads(file.read_text())
    assert known["target"] == "vulkan mali"
    for layer in known["layers"]:
        assert set(layer["gpu"]) == set(known["facts"])
        assert layer["gpu"]["elements_a_multiply_add"] < layer["gpu"]["elements_before"]
        assert layer["gpu"]["accumulators"] <= 16
    for arguments, message in ((("--gpu-profile", "voodoo"), "unknown GPU profile 'voodoo'"),
                               (("--html", tmp_path / "x.html"), "draws no --html")):
        assert one_line(espalier("report", model, "--target", "vulkan", *arguments), message)


def test_profile(compiled: Path, espalier: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    if lacking("lavapipe"):
        pytest.skip(lacking("lavapipe"))
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS["lavapipe"]))
    result = espalier("run", compiled, "--device", "vulkan", "--check", "--profile")
    assert result.code == 0, result.err
    assert [line.split()[0] for line in result.out.splitlines() if line.strip()][-5:] == [
        "input", "0", "2", "3", "output"]


@pytest.mark.slow
@on_each_device
def test_bench(driver: str, espalier: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
    (tmp_path / "net.py").write_text(MODEL)
    model, file = f"{tmp_path / 'net.py'}:net", tmp_path / "bench.json"
    result = espalier("bench", model, "--target", "vulkan", "--layers", "--warmup", "0", "--runs", "2",
                      "--json", file)
    assert result.code == 0, result.err
    engines = json.loads(file.read_text())["engines"]
    assert [(one["engine"], one["variant"]) for one in engines] == [("espalier", "sparse"),
                                                                    ("espalier", "dense")]
    for one in engines:
        assert one["error"] <= 1e-4
        assert len(one["wall_ms"]) == len(one["processor_ms"]) == 2
        assert list(one["layers"]) == ["input", "0", "2", "3", "output"]
    for arguments, message in ((("--against", "mnn"), "unknown peer on a GPU 'mnn'"),
                               (("--threads", "2"), "takes none of --threads"),
                               (("--device", "vulkan:x"), "unknown device 'vulkan:x'")):
        assert one_line(espalier("bench", model, "--target", "vulkan", *arguments), message)


@pytest.fixture
def gpu_phone(phone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A phone whose GPU is lavapipe, and an NDK whose compiler is gcc."""
    compiler = tmp_path / "ndk/toolchains/llvm/prebuilt/linux-x86_64/bin/x86_64-linux-android26-clang"
    compiler.parent.mkdir(parents=True)
    for path, text in ((compiler, 'exec gcc "$@" -O0'), (tmp_path / "bin" / "getprop", "echo x86_64")):
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    for name, value in (("ANDROID_NDK_HOME", tmp_path / "ndk"), ("VK_ICD_FILENAMES", DRIVERS["lavapipe"]),
                        ("XDG_CACHE_HOME", tmp_path / "cache")):
        monkeypatch.setenv(name, str(value))
    return phone


@pytest.mark.slow
@needs_gcc
@pytest.mark.skipif(bool(lacking("lavapipe")), reason=lacking("lavapipe") or "-")
def test_a_phone(gpu_phone: Path, compiled: Path, espalier: CommandLine, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1, 3, 13, 18), np.float32))
    here, there = tmp_path / "here.npy", tmp_path / "there.npy"
    given = ("run", compiled, "--input", tmp_path / "x.npy", "--output")
    assert espalier(*given, here, "--device", "vulkan").code == 0
    done = espalier(*given, there, "--device", "adb:R58+vulkan:0", "--check", "--profile", "--repeat", "3")
    assert done.code == 0, done.err
    assert "check passed" in done.out
    assert "adb:R58+vulkan:0" in done.out
    assert "output" in done.out  # of the profile
    np.testing.assert_array_equal(np.load(here), np.load(there))
    assert not list(gpu_phone.iterdir()), "the folder on the phone is gone"
    assert one_line(espalier(*given, there, "--device", "adb:R58+vulkan:7"), "no Vulkan device 7")


@pytest.mark.parametrize(("device", "changes", "message"), [
    ("adb:R58+vulkan", {"ANDROID_NDK_HOME": ""}, "needs Android's NDK"),
    ("adb:R58+vulkan", {"ANDROID_NDK_HOME": "/nothing"}, "which has no x86_64-linux-android26-clang"),
    ("adb:S99+vulkan", {}, "adb:S99: cannot be reached: adb: device 'S99' not found"),
    ("ssh:board+vulkan", {}, "expected adb:SERIAL+vulkan or adb:SERIAL+vulkan:NUMBER"),
    ("adb:R58+vulkan:x", {}, "unknown device"),
    ("adb:R58", {}, "give --device vulkan, or adb:SERIAL+vulkan"),
])
@pytest.mark.usefixtures("gpu_phone")
def test_phones_that_do_not_serve(compiled: Path, espalier: CommandLine, device: str,
                                  changes: dict[str, str], message: str,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    assert one_line(espalier("run", compiled, "--device", device, "--check"), message)
