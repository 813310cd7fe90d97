"""Constant folding: what depends on weights alone is evaluated by PyTorch, once and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import espalier
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from espalier.frontends.torch import constants
from espalier.frontends.torch.constants import fold_constants
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

CUT = (torch.rand(16, 16, 1, 1, generator=torch.Generator().manual_seed(0)) < 0.25).float()
IMAGE = torch.randn(1, 16, 12, 12, generator=torch.Generator().manual_seed(1))
ROWS = torch.randn(3, 64, generator=torch.Generator().manual_seed(2))


class Layer(nn.Module):
    """A layer whose weight is computed in ``forward`` from named tensors."""

    def __init__(self, function: Callable[..., torch.Tensor], **tensors: torch.Tensor) -> None:
        super().__init__()
        self.function = function
        self.names = list(tensors)
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, *(self.get_buffer(name) for name in self.names))


class Mask(nn.Module):
    """A parametrization that multiplies with a mask."""

    mask: torch.Tensor

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.mask


def masked_forward() -> nn.Module:
    return Layer(lambda x, w, m: F.conv2d(x, w * m), w=torch.randn(16, 16, 3, 3), m=CUT)


def parametrized() -> nn.Module:
    conv = nn.Conv2d(16, 16, 3)
    parametrize.register_parametrization(conv, "weight", Mask(CUT.expand(16, 16, 3, 3).clone()))
    return conv


def standardised() -> nn.Module:
    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        mean, deviation = w.mean((1, 2, 3), keepdim=True), w.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, (w - mean) / (deviation + 1e-5))

    return Layer(function, w=torch.randn(16, 16, 3, 3))


def blur() -> nn.Module:
    return Layer(lambda x, k: F.conv2d(x, k.expand(16, 1, 3, 3), groups=16), k=torch.rand(3, 3))


def adapted() -> nn.Module:
    return Layer(lambda x, w, a, b: F.linear(x, w + b @ a * 0.5), w=torch.randn(32, 64),
                 a=torch.randn(4, 64), b=torch.randn(32, 4))


def spectral() -> nn.Module:
    return Layer(lambda x, w: F.linear(x, torch.fft.irfft(w, n=64)),
                 w=torch.randn(32, 33, dtype=torch.cfloat))


def quantised() -> nn.Module:
    return Layer(lambda x, q, s: F.linear(x, q.float() * s),
                 q=torch.randint(1, 127, (32, 64), dtype=torch.int8), s=torch.rand(32, 1))


def transposed() -> nn.Module:
    return Layer(lambda x, w: x @ w.t(), w=torch.randn(32, 64))


def joint() -> nn.Module:
    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        query, key = w.chunk(2)
        return F.linear(x, query) + F.linear(x, key)

    return Layer(function, w=torch.randn(64, 64))


CASES: list[tuple[Callable[[], nn.Module], torch.Tensor, list[str]]] = [
    (masked_forward, IMAGE, ["connectivity"]), (parametrized, IMAGE, ["connectivity"]),
    (standardised, IMAGE, ["dense"]), (blur, IMAGE, ["dense"]),
    (lambda: weight_norm(nn.Conv2d(16, 16, 3)), IMAGE, ["dense"]),
    (lambda: spectral_norm(nn.Conv2d(16, 16, 3)), IMAGE, ["dense"]),
    (lambda: nn.utils.weight_norm(nn.Conv2d(16, 16, 3)), IMAGE, ["dense"]),
    (lambda: orthogonal(nn.Linear(64, 64), orthogonal_map="cayley"), ROWS, ["dense"]),
    (spectral, ROWS, ["dense"]), (adapted, ROWS, ["dense"]), (quantised, ROWS, ["dense"]),
    (transposed, ROWS, ["dense"]),
    (joint, ROWS, ["dense", "dense"])]


@pytest.mark.parametrize(("make", "x", "schemes"), CASES)
def test_computed_weights_are_layers(make: Callable[[], nn.Module], x: torch.Tensor,
                                     schemes: list[str]) -> None:
    torch.manual_seed(0)
    compiled = espalier.compile(make().eval(), (x,))
    assert [layer.scheme for layer in compiled.layers] == schemes
    assert compiled.check() < 1e-5


def test_exported_and_dynamo_programs_fold_too() -> None:
    torch.manual_seed(0)
    module = masked_forward().eval()
    with torch.no_grad():
        program = torch.export.export(module, (IMAGE,))
        expected = module(IMAGE).numpy()
        fast = torch.compile(module, backend="espalier")
        np.testing.assert_allclose(fast(IMAGE).numpy(), expected, rtol=0, atol=1e-4)
    assert [layer.scheme for layer in espalier.compile(program).layers] == ["connectivity"]


def program_of(function: Callable[..., Any], inputs: Sequence[torch.Tensor],
               **tensors: torch.Tensor) -> torch.export.ExportedProgram:
    module = Layer(function, **tensors)
    with torch.no_grad():
        return torch.export.export(module, tuple(inputs)).run_decompositions()


def operations(program: torch.export.ExportedProgram) -> list[str]:
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


def test_equal_expressions_are_one_tensor() -> None:
    program = program_of(lambda x, w, m: x * (w * m) + x / (w * m), (torch.rand(8),),
                         w=torch.rand(8), m=torch.rand(8))
    assert len(fold_constants(program)) == 1
    assert "aten.mul.Tensor" in operations(program)
    assert len(operations(program)) == 3


def test_views_of_a_weight_share_it() -> None:
    program = program_of(lambda x, w: (x @ w.t()) @ w, (torch.rand(4, 8),), w=torch.rand(16, 8))
    tensors = fold_constants(program)
    assert [tensor.shape for tensor in tensors.values()] == [(16, 8)]
    assert operations(program).count("aten.permute.default") == 1


def test_random_numbers_are_not_folded() -> None:
    program = program_of(lambda x, w: x + torch.bernoulli(w), (torch.rand(8),), w=torch.full((8,), 0.5))
    fold_constants(program)
    assert any("rand" in name or "bernoulli" in name for name in operations(program))


def test_memory_is_bounded() -> None:
    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return x + (w.expand(64, 64) * 2)

    program = program_of(function, (torch.rand(64, 64),), w=torch.rand(1, 64))
    with mock.patch.object(constants, "SMALL", 100):
        tensors = fold_constants(program)
    assert [tensor.shape for tensor in tensors.values()] == [(1, 64)]
    assert "aten.mul.Tensor" in operations(program)


def test_budget_is_of_all_constants() -> None:
    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.cat([x * (w * k) for k in range(2, 12)])

    program = program_of(function, (torch.rand(64),), w=torch.rand(64))
    with mock.patch.object(constants, "RESERVE", 0):
        tensors = fold_constants(program)
    assert sum(tensor.nbytes for tensor in tensors.values()) <= (constants.BUDGET + 1) * 64 * 4


def test_the_module_stays_as_it_is() -> None:
    module = masked_forward().eval()
    before = {name: tensor.clone() for name, tensor in module.named_buffers()}
    espalier.compile(module, (IMAGE,))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.named_buffers())
