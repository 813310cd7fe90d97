"""Activations: one entry is enough for import, verifier and kernels; an unknown name is an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import espalier
import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends.torch.import_torch import import_module
from espalier.pipelines.parser import parse_pipeline
from espalier.pipelines.runner import Runner
from espalier.sparse_dialect.activations import (
    TABLE,
    Activation,
    X,
    activation_named,
    add,
    clamp,
    mul,
    register,
)
from espalier.sparse_dialect.dialect import register_dialect
from espalier.sparse_dialect.dialect.ops import ConvOp, LinearOp
from espalier.sparse_dialect.geometry.convolution import Convolution
from espalier.sparse_dialect.ir.mlir import ir
from espalier.sparse_dialect.ir.walk import operations
from espalier.sparse_dialect.transforms.raise_linalg.normal_form import activation_name
from torch import nn
from torch.nn import functional

MODULES: dict[str, nn.Module] = {
    "none": nn.Identity(), "relu": nn.ReLU(), "relu6": nn.ReLU6(), "hardswish": nn.Hardswish(),
    "silu": nn.SiLU()}
LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "conv": (nn.Conv2d(4, 8, 3, padding=1), (1, 4, 9, 11)), "linear": (nn.Linear(20, 37), (3, 20)),
    "depthwise": (nn.Conv2d(8, 8, 3, groups=8), (2, 8, 9, 11)),
    "volume": (nn.Conv3d(2, 4, 3), (1, 2, 4, 5, 6))}


def fused(module: nn.Module, x: torch.Tensor) -> list[str]:
    """The activations of the layers that ``module`` is raised to."""
    program = import_module(module, (x,))
    Runner(parse_pipeline("builtin.module(sparse-raise-linalg)")).run(program.operation)
    return [ir.StringAttr(op.activation).value for op in operations(program.operation, ConvOp, LinearOp)]


def compare(module: nn.Module, x: torch.Tensor) -> None:
    """Compiled, ``module`` computes what PyTorch does, NaN included."""
    with torch.no_grad():
        expected = module(x).numpy()
    (found,) = espalier.compile(module, (x,)).run([x.numpy()])
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    assert np.nanmax(np.abs(found - expected)) <= 1e-5 * np.nanmax(np.abs(expected))


def seeded(module: nn.Module, *shape: int) -> tuple[nn.Module, torch.Tensor]:
    """``module`` with seeded weights, and an input of numbers large enough to reach every bound."""
    torch.manual_seed(0)
    for layer in module.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    return module.eval(), torch.randn(shape) * 8


@pytest.mark.parametrize("name", MODULES)
def test_reference_is_pytorch(name: str) -> None:
    x = np.array([-1e4, -90, -7, -3, -1.5, -0.0, 0, 0.5, 3, 6, 9, 1e4, np.nan], np.float32)
    expected = MODULES[name](torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(activation_named(name)(x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", MODULES)
def test_fused_and_computed_as_in_pytorch(name: str, layer: str) -> None:
    own, shape = LAYERS[layer]
    module, x = seeded(nn.Sequential(own, MODULES[name]), *shape)
    assert fused(module, x) == [name]
    x.view(-1)[0] = torch.nan
    compare(module, x)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_pool_behind_an_activation(name: str) -> None:
    """SiLU and hard-swish fall before they rise: their maximum is not that of their argument."""
    module, x = seeded(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), MODULES[name], nn.MaxPool2d(2)),
                       1, 3, 16, 16)
    x.view(-1)[100] = torch.nan
    compare(module, x)


class Function(nn.Module):
    def __init__(self, function: Any, layer: nn.Module) -> None:
        super().__init__()
        self.function, self.layer = function, layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.layer, x)


WRITTEN: dict[str, tuple[Any, list[str]]] = {
    "x * relu6(x + 3) / 6": (lambda f, x: (y := f(x)) * functional.relu6(y + 3) / 6, ["hardswish"]),
    "x * (relu6(3 + x) * (1/6))": (lambda f, x: (y := f(x)) * (functional.relu6(3 + y) * (1 / 6)),
                                   ["hardswish"]),
    "x * hardsigmoid(x)": (lambda f, x: (y := f(x)) * functional.hardsigmoid(y), ["hardswish"]),
    "x * sigmoid(x)": (lambda f, x: (y := f(x)) * torch.sigmoid(y), ["silu"]),
    "sigmoid(x) * x": (lambda f, x: torch.sigmoid(y := f(x)) * y, ["silu"]),
    "x / (1 + exp(-x))": (lambda f, x: (y := f(x)) / (1 + torch.exp(-y)), ["silu"]),
    "residual, then silu": (lambda f, x: functional.silu(f(x) + x), ["silu"]),
    "clamp in two steps": (lambda f, x: torch.clamp(torch.clamp(f(x), min=0), max=6), ["relu6"]),
    "another bound": (lambda f, x: (y := f(x)) * torch.clamp(y + 3, 0, 5) / 6, ["none"]),
    "another slope": (lambda f, x: (y := f(x)) * torch.sigmoid(1.7 * y), ["none"]),
    "read elsewhere": (lambda f, x: torch.cat([(y := f(x)) * torch.sigmoid(y), y], 1), ["none"]),
    "twice": (lambda f, x: functional.silu(functional.silu(f(x))), ["silu"]),
    "another's gate": (lambda f, x: f(x) * torch.sigmoid(x), ["none"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITTEN)
def test_however_it_is_written(name: str) -> None:
    function, expected = WRITTEN[name]
    module, x = seeded(Function(function, nn.Conv2d(4, 4, 1)), 1, 4, 5, 7)
    assert fused(module, x) == expected
    compare(module, x)


# -- the recipe: one entry, from a plug-in -------------------------------------------------------------------

PLUGINS = {"leaky": (Activation("leaky", add(clamp(X, 0.0), mul(clamp(X, high=0.0), 0.1)), monotone=True),
                     nn.LeakyReLU(0.1)),
           "hardsigmoid": (Activation("hardsigmoid", mul(clamp(add(X, 3.0), 0.0, 6.0), 1 / 6)),
                           nn.Hardsigmoid()),
           "sigmoid": (Activation("sigmoid", ("sigmoid", X)), nn.Sigmoid())}


@pytest.fixture(params=PLUGINS)
def plugin(request: pytest.FixtureRequest) -> Iterator[tuple[Activation, nn.Module]]:
    activation, module = PLUGINS[request.param]
    register(activation)
    yield activation, module
    del TABLE[activation.name]


@pytest.mark.slow
def test_one_entry_is_all_it_takes(plugin: tuple[Activation, nn.Module]) -> None:
    """Recognised, verified, computed by every kind of kernel, before and behind pools."""
    activation, written = plugin
    for own, shape in LAYERS.values():
        module, x = seeded(nn.Sequential(own, written), *shape)
        assert fused(module, x) == [activation.name]
        x.view(-1)[0] = torch.nan
        compare(module, x)
    module, x = seeded(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), written, nn.MaxPool2d(2)), 1, 3, 16, 16)
    compare(module, x)


def test_without_the_entry_it_stays_in_linalg() -> None:
    """But for the part of hard sigmoid that is ReLU6."""
    for name, (_, written) in PLUGINS.items():
        module, x = seeded(nn.Sequential(nn.Conv2d(3, 8, 3), written), 1, 3, 9, 9)
        assert fused(module, x) == ["relu6" if name == "hardsigmoid" else "none"]


def test_a_name_is_taken_once() -> None:
    with pytest.raises(EspalierError, match="activation 'relu' is registered already"):
        register(Activation("relu", X))


# -- unknown ones --------------------------------------------------------------------------------------------


def test_unknown_names_are_errors() -> None:
    with pytest.raises(EspalierError, match=r"expected an activation among none, relu, .* found 'gelu'"):
        activation_named("gelu")
    context = ir.Context()
    register_dialect(context)
    context.emit_error_diagnostics = True
    text = """func.func @main(%x: tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1x1x1xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0],
    dilations = [1, 1], groups = 1, activation = "relu", scheme = #sparse.dense,
    operandSegmentSizes = array<i32: 1, 1, 0, 0>,
    schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
    : (tensor<1x1x4x4xf32>, tensor<1x1x1x1xf32>) -> tensor<1x1x4x4xf32>
  return %y : tensor<1x1x4x4xf32>
}"""
    module = ir.Module.parse(text, context)
    (conv,) = operations(module.operation, ConvOp)
    with context:
        conv.operation.attributes["activation"] = ir.StringAttr.get("gelu")
    with pytest.raises(EspalierError, match=r"3:8: 'sparse.conv' expected an activation among .* 'gelu'"):
        Convolution.of(conv)


def test_formulas_of_nobody_have_no_name() -> None:
    assert activation_name(mul(X, X)) is None
    assert activation_name(clamp(X, 0.0, 5.0)) is None
    assert activation_name(("min", ("number", 6.0), ("max", ("number", 0.0), X))) == "relu6"
    assert activation_name(("max", ("min", X, ("number", 6.0)), ("number", 0.0))) == "relu6"
    assert activation_name(("max", ("min", X, ("number", -1.0)), ("number", 0.0))) is None
