"""Recurrent models through the C interface: lengths chosen at run time, on this machine and in qemu."""

from __future__ import annotations

import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from espalier.frontends.compile import compile_file
from espalier.frontends.pruning.project import prune_module
from espalier.pipelines.codegen.emit import emit
from espalier.pipelines.target import Target
from espalier.programs import lacking
from espalier.runtime.c import FLAGS, LIBRARIES
from espalier.runtime.model_file import ModelFile
from support.fake_model import FOLDER, WARNINGS, needs_gcc
from torch import nn

pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra aot)")

TOLERANCE = 1e-4  # max abs error over max abs output
FEATURES, HIDDEN, BATCH = 24, 36, 2
LENGTHS = (1, 7, 3, 150, 2)
SYMBOL = "-DESPALIER_MODEL=espalier_model_net"


@cache
def network(kind: type[nn.RNNBase]) -> nn.RNNBase:
    """Two layers in both directions, every matrix pruned by blocks."""
    torch.manual_seed(0)
    layer = kind(FEATURES, HIDDEN, 2, bidirectional=True).eval()
    prune_module(layer, "bcr:rows=4,columns=16,rate=4")
    return layer


@cache
def compiled(kind: type[nn.RNNBase], triple: str, cpu: str) -> tuple[ModelFile, Target]:
    example = torch.randn(5, BATCH, FEATURES)
    torch._dynamo.mark_dynamic(example, 0)
    target = Target.cross(triple, cpu)
    return compile_file(network(kind), (example,), target), target


def must(*command: str | Path) -> bytes:
    done = subprocess.run([*map(str, command)], capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def check(launcher: list[str], program: Path, model: Path, kind: type[nn.RNNBase]) -> None:
    """Runs the program on one and on three threads: PyTorch's numbers at every length, and the same bits."""
    frames = torch.randn(max(LENGTHS), BATCH, FEATURES, generator=torch.Generator().manual_seed(1))
    (model.parent / "x").write_bytes(frames.numpy().tobytes())
    one, three = (np.frombuffer(must(*launcher, program, model, model.parent / "x", threads,
                                     *map(str, LENGTHS)), np.float32) for threads in ("1", "3"))
    np.testing.assert_array_equal(one, three)
    for steps in LENGTHS:
        with torch.no_grad():
            output, state = network(kind)(frames[:steps])
        for expected in (output, *(state if isinstance(state, tuple) else (state,))):
            found, one = np.split(one, [expected.numel()])
            wanted = expected.numpy().ravel()
            assert np.abs(found - wanted).max() <= TOLERANCE * np.abs(wanted).max()
    assert one.size == 0


@pytest.mark.slow
@needs_gcc
@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an x86-64 processor")
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_shared_library_on_this_machine(kind: type[nn.RNNBase], tmp_path: Path) -> None:
    file, target = compiled(kind, "x86_64-linux-gnu", "native")
    assert file.manifest["sizes"]["arena_per_step"] > 0
    file.write(tmp_path / "net.espalier")
    (tmp_path / "libnet.so").write_bytes(emit("shared", file, target, "net", "libnet.so", "gcc"))
    must("gcc", *FLAGS, *WARNINGS, SYMBOL, FOLDER / "steps.c", tmp_path / "libnet.so",
         f"-Wl,-rpath,{tmp_path}", "-o", tmp_path / "steps", *LIBRARIES)
    check([], tmp_path / "steps", tmp_path / "net.espalier", kind)


@pytest.mark.slow
@pytest.mark.skipif(bool(lacking("qemu-aarch64")),
                    reason=lacking("qemu-aarch64"))
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_static_library_in_qemu(kind: type[nn.RNNBase], tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="ziglang is not installed (extra aot)")
    file, target = compiled(kind, "aarch64-linux-musl", "cortex-a76")
    file.write(tmp_path / "net.espalier")
    (tmp_path / "libnet.a").write_bytes(emit("static", file, target, "net"))
    must(sys.executable, "-m", "ziglang", "cc", "-target", target.triple, "-static", *FLAGS, SYMBOL,
         FOLDER / "steps.c", tmp_path / "libnet.a", "-o", tmp_path / "steps", *LIBRARIES)
    check(["qemu-aarch64", "-cpu", "cortex-a76"], tmp_path / "steps", tmp_path / "net.espalier", kind)
