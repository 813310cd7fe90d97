"""What kernels read for a multiply-add: the bars of the design, and that the shared pass counts the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from espalier.frontends.compile import import_any
from espalier.pipelines.driver import CompileOptions, compile_linalg
from espalier.pipelines.target import Target
from espalier.runtime.executors.vulkan_program import decode
from espalier.sparse_dialect.lowering.gpu.kernels.convolution import Tap, Tile, reads_of
from espalier.sparse_dialect.schemes import Bcr, Kgs, Scheme
from torch import nn

# The four corner squares and the four ELoG patterns, taps of a 3x3 kernel.
PATTERNS = ((0, 1, 3, 4), (1, 2, 4, 5), (3, 4, 6, 7), (4, 5, 7, 8), (1, 3, 4, 5), (3, 4, 5, 7), (1, 4, 5, 7),
            (1, 3, 4, 7))


@pytest.mark.parametrize(("tile", "elements", "loads"), [(Tile(4, 2), 0.38, 0.13), (Tile(7, 2), 0.34, 0.13)])
def test_patterns(tile: Tile, elements: float, loads: float) -> None:
    read = []
    for pattern in PATTERNS:
        taps = [Tap(0, tap // 3 - 1, tap % 3 - 1) for tap in pattern]
        products = len(taps) * tile.rows * tile.vectors * 4
        read.append([count / products for count in reads_of(taps, tile, (1, 1, 1))])
    mean = np.mean(read, axis=0)
    assert mean[0] <= elements + 0.005  # 0.342 for 7x8
    assert mean[1] <= loads


def layer_of(conv: nn.Module, shape: tuple[int, ...], lre: bool = True) -> dict[str, Any]:
    options = CompileOptions(eliminate_redundant_loads=lre)
    file = compile_linalg(import_any(conv.eval(), (torch.randn(shape),)), options, Target.vulkan())
    (layer,) = file.manifest["layers"]
    return layer


@pytest.mark.parametrize(("scheme", "size", "options"), [
    (Kgs, 3, {"filters": 8, "channels": 4, "rate": 3.6}), (Bcr, 1, {"rows": 4, "columns": 16, "rate": 4})])
def test_shared_columns(scheme: type[Scheme], size: int, options: dict[str, float]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 32, size, padding=size // 2)
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(scheme.project(conv.weight.numpy(), **options)))
    facts = layer_of(conv, (1, 32, 28, 28))["gpu"]
    assert facts["elements_a_multiply_add"] <= 0.30
    assert facts["elements_before"] >= 1


def test_the_pass_can_be_switched_off() -> None:
    torch.manual_seed(0)
    conv, shape = nn.Conv2d(4, 4, 3, padding=1), (1, 4, 14, 14)
    shared = layer_of(conv, shape)
    each = layer_of(conv, shape, lre=False)
    assert shared["loads_before"] == each["loads_before"] == each["loads_after"]
    assert shared["loads_after"] < shared["loads_before"] / 5
    assert each["gpu"]["elements_a_multiply_add"] == each["gpu"]["elements_before"]


def test_code_without_it_has_more_loads() -> None:
    torch.manual_seed(0)
    words = []
    for options in (CompileOptions(), CompileOptions(eliminate_redundant_loads=False)):
        module = import_any(nn.Conv2d(4, 4, 3, padding=1).eval(), (torch.randn(1, 4, 14, 14),))
        file = compile_linalg(module, options, Target.vulkan())
        program = decode(file.code, file.weights.tobytes())
        words.append(max(len(kernel.words) for kernel in program.kernels))
    assert words[1] > 1.5 * words[0]
