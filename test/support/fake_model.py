"""The models of ``c/fake_model.c``: their files, and programs built around them with a C compiler."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from espalier.programs import lacking
from espalier.runtime.c import FLAGS, LIBRARIES, RUNNER, SOURCES
from espalier.runtime.model_file import ModelFile

FOLDER = Path(__file__).parent / "c"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SANITIZER_OPTIONS = {"ASAN_OPTIONS": "allocator_may_return_null=1:max_allocation_size_mb=256"}

FINGERPRINT = "0123456789abcdef"
X = np.array([[1, -2, 3], [4, 5, -6]], np.float32)
WEIGHTS = np.arange(1, 7, dtype=np.float32)

needs_gcc = pytest.mark.skipif(bool(lacking("gcc")), reason=lacking("gcc"))


def affine(x: np.ndarray) -> list[np.ndarray]:
    """What the model of that name computes."""
    product = WEIGHTS * x.ravel()
    return [(product + np.roll(product, -1)).reshape(x.shape), (x > 0).sum(1)]


def tensor(name: str, shape: Sequence[int], dtype: str = "float32") -> dict[str, Any]:
    return {"name": name, "shape": list(shape), "dtype": dtype}


def affine_file(outputs: list[np.ndarray] | None = None, runner: bytes = b"",
                target: dict[str, Any] | None = None) -> ModelFile:
    """The affine model with a recorded pair; ``outputs`` stand in for the right ones."""
    manifest = {
        "target": target or {"name": "fake", "triple": "none-linux-fake", "cpu": "fake-a1"},
        "inputs": [tensor("x", [2, 3])],
        "outputs": [tensor("y", [2, 3]), tensor("positivité", [2], "int64")],
        "layers": [], "labels": ["start", "product", "sum"], "messages": ["another", "x is too large"],
        "sizes": {"arena": 24, "scratch": 6, "stamps": 3, "weights": 24}}
    expected = affine(X) if outputs is None else outputs
    return ModelFile(manifest, b"", WEIGHTS, FINGERPRINT * 2, [X], expected, runner)


def sums_file(steps: int) -> ModelFile:
    """The model with a free length, recorded at ``steps``; it is for one thread."""
    x, start = np.arange(2 * steps, dtype=np.float32).reshape(steps, 2), np.array([10, 20], np.float32)
    sums = np.cumsum(x[::-1], 0)[::-1] + start
    manifest = {
        "target": {"name": "fake"}, "inputs": [tensor("x", [-1, 2]), tensor("start", [2])],
        "outputs": [tensor("sums", [-1, 2])], "layers": [], "labels": [], "messages": [],
        "sizes": {"arena": 0, "arena_per_step": 8, "scratch": 0, "stamps": 0, "weights": 0, "sequential": 1}}
    return ModelFile(manifest, b"", np.empty(0, np.float32), FINGERPRINT[::-1] * 2, [x, start],
                     [sums.astype(np.float32)])


def running_file(sums: tuple[float, float] = (1, 2)) -> ModelFile:
    """The model with states; ``sums``: what the recorded first run leaves."""
    states = [tensor("total", [2]), tensor("part.runs", [], "int64")]
    manifest = {
        "target": {"name": "fake"}, "inputs": [tensor("x", [2]), *states],
        "outputs": [tensor("y", [2]), *states],
        "layers": [], "labels": [], "messages": ["x is too large"], "states": 2,
        "sizes": {"arena": 0, "scratch": 0, "stamps": 0, "weights": 0}}
    x, first = np.array([1, 2], np.float32), np.array(sums, np.float32)
    outputs = [first, first, np.array(6), first + x, first + x, np.array(7)]
    return ModelFile(manifest, b"", np.empty(0, np.float32), "1" * 32, [x], outputs,
                     states=[np.zeros(2, np.float32), np.array(5)])


def replay_file(expected: np.ndarray, found: np.ndarray) -> ModelFile:
    """A model of one dimension that gives ``found`` where ``expected`` is recorded."""
    manifest = {
        "target": {"name": "fake"}, "inputs": [tensor("x", [-1], expected.dtype.name)],
        "outputs": [tensor("y", [-1], expected.dtype.name)], "layers": [], "labels": [], "messages": [],
        "sizes": {"arena": 0, "scratch": 0, "stamps": 0, "weights": 8 + found.nbytes}}
    weights = np.frombuffer(np.int64(found.itemsize).tobytes() + found.tobytes(), np.uint8)
    return ModelFile(manifest, b"", weights, "0" * 32, [np.zeros_like(expected)], [expected])


def build(program: Path, sources: Sequence[Path], *flags: str, compiler: Sequence[str] = ("gcc",)) -> Path:
    """``program`` from ``sources``, the runtime and the fake models, with every warning an error."""
    command = [*compiler, *FLAGS, *WARNINGS, *flags, *map(str, (*sources, FOLDER / "fake_model.c", *SOURCES)),
               "-o", str(program), *LIBRARIES]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return program


def build_runner(program: Path, *flags: str, compiler: Sequence[str] = ("gcc",)) -> Path:
    """The runner of the affine model."""
    return build(program, [RUNNER], "-DESPALIER_MODEL=espalier_model_affine", *flags, compiler=compiler)
