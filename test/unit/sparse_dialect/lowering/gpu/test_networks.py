"""Whole networks on software devices, pruned and dense, against PyTorch (minutes each)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from espalier.frontends.compile import import_any
from espalier.frontends.models import reference_model
from espalier.pipelines.driver import CompileOptions, compile_linalg
from espalier.pipelines.target import Target
from espalier.runtime.executors.vulkan import GpuProgram
from espalier.runtime.executors.vulkan_program import Program, decode
from support.vulkan import on_each_device, validated

pytestmark = pytest.mark.slow
PATTERNS = "pattern:entries=4,patterns=8,connectivity=3.6"
NETWORKS = [("vgg16", None), ("vgg16", PATTERNS), ("resnet50", PATTERNS), ("mobilenet_v2", None),
            ("c3d", "kgs"), ("gru", "bcr")]


@lru_cache(maxsize=1)  # for both devices: cases of one network stand together
def program_of(name: str, prune: str | None, precision: str) -> tuple[Program, np.ndarray, np.ndarray]:
    """Program, input and PyTorch's output."""
    model, (x,) = reference_model(name, prune)
    file = compile_linalg(import_any(model, (x,)), CompileOptions(), Target.vulkan(precision))
    with torch.no_grad():
        expected = model(x).numpy()
    return decode(file.code, file.weights.tobytes()), x.numpy(), expected


def error_on(driver: str, program: Program, x: np.ndarray, expected: np.ndarray) -> float:
    with validated(driver) as gpu, GpuProgram(gpu, program) as loaded:
        (found,) = loaded.run([x])
    found = found.view(np.float32).reshape(expected.shape)
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@on_each_device
@pytest.mark.parametrize(("name", "prune"), NETWORKS)
def test_networks(driver: str, name: str, prune: str | None) -> None:
    assert error_on(driver, *program_of(name, prune, "fp32")) <= 1e-4


@pytest.mark.parametrize(("name", "prune"), NETWORKS)
def test_networks_in_halves(name: str, prune: str | None) -> None:
    assert error_on("lavapipe", *program_of(name, prune, "fp16")) <= 2e-2


def test_memory_and_code_of_vgg16() -> None:
    program, _, _ = program_of("vgg16", PATTERNS, "fp32")
    neighbours = 2 * 64 * 224 * 224 * 4  # the first two layers' outputs
    assert program.activation_bytes <= 1.3 * neighbours
    assert sum(len(kernel.words) for kernel in program.kernels) <= 1 << 20
