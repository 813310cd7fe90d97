"""Models on a GPU through the C interface, under sanitizers: ``c/test_gpu.c`` holds the cases."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from espalier.frontends.compile import compile_file
from espalier.pipelines.target import Target
from espalier.runtime.c import INCLUDE, VULKAN_SOURCES
from espalier.runtime.executors.vulkan_program import decode, encode
from espalier.runtime.model_file import ModelFile, fingerprint_of
from support.fake_model import FOLDER, SANITIZER_OPTIONS, SANITIZERS, affine_file, build, needs_gcc
from support.vulkan import DRIVERS, lacking
from torch import nn, ones

pytestmark = [needs_gcc, pytest.mark.skipif(bool(lacking("lavapipe")), reason=lacking("lavapipe") or "-")]
DAMAGED, MISMATCH, UNSUPPORTED = 3, 5, 12


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("c") / "test_gpu", [FOLDER / "test_gpu.c", *VULKAN_SOURCES],
                 *SANITIZERS, "-ldl")


@pytest.fixture(scope="module")
def file() -> ModelFile:
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)).eval()
    return compile_file(net, (ones(1, 2, 6, 10),), Target.vulkan())


def refused(file: ModelFile) -> dict[str, tuple[bytes, int, str]]:
    """Files that no GPU runs: their bytes, the status and a part of the message."""
    whole = file.to_bytes()
    words = whole.index(b"\x03\x02\x23\x07") + 100
    flipped = bytes([*whole[:words], whole[words] ^ 4, *whole[words + 1 :]])
    kernels = decode(file.code, file.weights.tobytes())
    wide = replace(kernels, kernels=(replace(kernels.kernels[0], bindings=3), *kernels.kernels[1:]))

    def with_code(code: bytes) -> bytes:
        return replace(file, code=code, fingerprint=fingerprint_of(code)).to_bytes()

    large = replace(kernels, activation_bytes=1 << 50)
    forged = file.weights.copy()
    forged[-8:] ^= 1
    return {
        "truncated": (whole[:-100], DAMAGED, "damaged or truncated"),
        "flipped": (flipped, DAMAGED, "CRC-32 of member 'code'"),
        "foreign": (b"#!/bin/sh\n" * 100, DAMAGED, "not an Espalier model file"),
        "cpu": (affine_file().to_bytes(), MISMATCH, "not for a GPU; compile it with --target vulkan"),
        "no program": (with_code(b"\x7fELF" + bytes(60)), DAMAGED, "no GPU program"),
        "short program": (with_code(file.code[:-8]), DAMAGED, "no GPU program"),
        "other bindings": (with_code(encode(wide)), DAMAGED, "GPU program"),
        "forged weights": (replace(file, weights=forged).to_bytes(), MISMATCH, "weights are not those"),
        "too large": (with_code(encode(large)), 6, "memory"),
    }


@pytest.mark.slow
def test_models(program: Path, file: ModelFile, tmp_path: Path) -> None:
    file.write(tmp_path / "model.espalier")
    cases = refused(file)
    for number, (data, _, _) in enumerate(cases.values()):
        (tmp_path / str(number)).write_bytes(data)
    driver = json.loads(DRIVERS["lavapipe"].read_text())["ICD"]["library_path"]
    suppressions = tmp_path / "suppressions"
    suppressions.write_text(f"leak:{Path(driver).name.split('.')[0]}\n")
    done = subprocess.run(
        [program, tmp_path / "model.espalier", tmp_path / "cache", *map(str, map(tmp_path.joinpath, map(
            str, range(len(cases)))))], capture_output=True, text=True, timeout=400,
        env={**os.environ, **SANITIZER_OPTIONS, "VK_ICD_FILENAMES": str(DRIVERS["lavapipe"]),
             "ESPALIER_TEST_DRIVER": driver,
             "LSAN_OPTIONS": f"suppressions={suppressions}:print_suppressions=0"})
    assert done.returncode == 0, done.stderr + done.stdout
    *lines, last = done.stdout.splitlines()
    assert last == "ok"
    for line, (name, (_, status, message)) in zip(lines, cases.items(), strict=True):
        assert line.startswith(f"{status} "), (name, line)
        assert message in line, name
    cache = (tmp_path / "cache").read_bytes()
    assert cache[:4] == b"ESPC"
    assert b"damaged" not in cache


def test_a_recorded_run_is_kept(file: ModelFile) -> None:
    assert [array.shape for array in file.sample_outputs] == [(1, 4, 3, 5)]
    assert all(np.isfinite(array).all() for array in file.sample_outputs)


def test_damaged_programs(file: ModelFile, tmp_path: Path) -> None:
    program = decode(file.code, file.weights.tobytes())
    program = replace(program, failures=program.inputs[0], messages=("one", "two"))
    (tmp_path / "code").write_bytes(encode(program))
    fuzz = build(tmp_path / "fuzz", [FOLDER / "fuzz_gpu.c", INCLUDE / "vulkan_code.c"], *SANITIZERS)
    done = subprocess.run([fuzz, tmp_path / "code", "3000"], capture_output=True, text=True, timeout=300,
                          env={**os.environ, **SANITIZER_OPTIONS})
    assert done.returncode == 0, done.stderr
    assert 1000 < int(done.stdout) < 3000
