"""Raised networks against PyTorch: a reference executor of the sparse ops runs what the pass leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from espalier.frontends.models import reference_model
from espalier.frontends.torch.import_torch import import_program
from espalier.sparse_dialect.dialect.schedules import record_of
from espalier.sparse_dialect.errors import PassError
from espalier.sparse_dialect.ir.constants import read_attribute
from espalier.sparse_dialect.ir.mlir import ir
from espalier.sparse_dialect.ir.values import integers
from espalier.sparse_dialect.passes import PassContext
from espalier.sparse_dialect.transforms.raise_linalg.raise_linalg import RaiseLinalgPass
from torch import nn
from torch.nn import functional

CONVOLUTIONS: tuple[Callable[..., torch.Tensor], ...] = (
    functional.conv1d, functional.conv2d, functional.conv3d)
MAXIMA: tuple[Callable[..., torch.Tensor], ...] = (
    functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
AVERAGES: tuple[Callable[..., torch.Tensor], ...] = (
    functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


def raised(module: nn.Module, *inputs: torch.Tensor) -> tuple[ir.Module, Counter[str]]:
    """``module`` imported and raised, with the pass's statistics."""
    result = import_program(torch.export.export(module.eval(), inputs))
    context = PassContext()
    RaiseLinalgPass().run(result.operation, context)
    assert result.operation.verify()
    return result, context.statistics


def operations(module: ir.Module) -> list[ir.Operation]:
    """The operations of the module's only function."""
    return [view.operation for view in module.body.operations[0].regions[0].blocks[0].operations]


def names(module: ir.Module) -> Counter[str]:
    """How often each operation stands in the function."""
    return Counter(op.name for op in operations(module))


def layers(module: ir.Module) -> list[str]:
    """The layer names of the sparse ops, in order."""
    ops = [op for op in operations(module) if op.name.startswith("sparse.")]
    return [record_of(op).layer for op in ops]


def execute(module: ir.Module, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """Runs a completely raised module with PyTorch; any other linalg op fails the test."""
    block = module.body.operations[0].regions[0].blocks[0]
    values: dict[ir.Value, Any] = dict(zip(block.arguments, inputs, strict=True))
    for op in operations(module):
        operands = [values[v] for v in op.operands]
        if op.name == "func.return":
            return operands
        values[op.results[0]] = _result(op, operands)
    raise AssertionError("no return")


def _result(op: ir.Operation, operands: list[torch.Tensor]) -> Any:
    attributes = op.attributes
    if op.name == "arith.constant":
        value = attributes["value"]
        is_tensor = isinstance(value.type, ir.ShapedType)
        return torch.from_numpy(np.array(read_attribute(value))) if is_tensor else None
    if op.name in ("tensor.collapse_shape", "tensor.expand_shape"):
        return operands[0].reshape(ir.RankedTensorType(op.results[0].type).shape)
    if op.name == "tensor.concat":
        return torch.cat(operands, ir.IntegerAttr(attributes["dim"]).value)
    assert op.name.startswith("sparse."), op.name
    if op.name == "sparse.linear":
        return _activated(op, functional.linear(*operands))
    low, high, strides = (integers(attributes[n]) for n in ("padding_low", "padding_high", "strides"))
    sides = [n for pair in zip(reversed(low), reversed(high), strict=True) for n in pair]
    if op.name == "sparse.pool":
        maximum = ir.StringAttr(attributes["kind"]).value == "max"
        padded = functional.pad(operands[0], sides, value=-torch.inf if maximum else 0.0)
        pools = MAXIMA if maximum else AVERAGES
        return pools[len(strides) - 1](padded, integers(attributes["kernel"]), strides)
    _, _, has_bias, has_residual = ir.DenseI32ArrayAttr(attributes["operandSegmentSizes"])
    padded, weight = functional.pad(operands[0], sides), operands[1]
    dilations, groups = integers(attributes["dilations"]), ir.IntegerAttr(attributes["groups"]).value
    bias = operands[2] if has_bias else None
    result = CONVOLUTIONS[weight.ndim - 3](padded, weight, bias, strides, 0, dilations, groups)
    return _activated(op, result + operands[-1] if has_residual else result)


def _activated(op: ir.Operation, result: torch.Tensor) -> torch.Tensor:
    activations: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "none": lambda x: x, "relu": torch.relu, "relu6": functional.relu6}
    return activations[ir.StringAttr(op.attributes["activation"]).value](result)


def check(module: nn.Module, *inputs: torch.Tensor) -> tuple[ir.Module, Counter[str]]:
    """Raises ``module`` completely and compares it with PyTorch."""
    result, statistics = raised(module, *inputs)
    with torch.no_grad():
        (found,), expected = execute(result, *inputs), module(*inputs)
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    return result, statistics


class Function(nn.Module):
    """A function of named layers and inputs."""

    def __init__(self, function: Callable[..., torch.Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(self, *inputs)


def image(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def settle(norm: nn.modules.batchnorm._BatchNorm) -> nn.modules.batchnorm._BatchNorm:
    """A batch norm with statistics and parameters that matter."""
    generator = torch.Generator().manual_seed(2)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return norm


@pytest.mark.parametrize(("layer", "shape"), [
    (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 9, 7)),
    (nn.Conv2d(3, 8, (3, 2), stride=(2, 1), padding=(2, 0), dilation=(1, 2), bias=False), (1, 3, 9, 8)),
    (nn.Conv2d(8, 12, 3, groups=4, padding=1), (1, 8, 6, 6)),
    (nn.Conv2d(8, 8, 3, groups=8, padding=1), (1, 8, 6, 6)),
    (nn.Conv2d(8, 16, 3, groups=8), (1, 8, 6, 6)),
    (nn.Conv2d(3, 8, 1, stride=2), (1, 3, 9, 8)),
    (nn.Conv1d(4, 6, 3, padding=1), (1, 4, 10)),
    (nn.Conv3d(2, 5, 3, padding=1), (1, 2, 4, 6, 6)),
    (nn.Linear(14, 5), (3, 14)),
    (nn.Linear(14, 5, bias=False), (2, 3, 14)),
    (nn.MaxPool2d(3, 2, 1), (1, 4, 9, 8)),
    (nn.MaxPool2d(3, 2, ceil_mode=True), (1, 4, 8, 8)),
    (nn.AvgPool2d(2), (1, 4, 8, 8)),
    (nn.AvgPool2d(3, 2, 1), (1, 4, 8, 8)),
    (nn.AdaptiveAvgPool2d(1), (1, 4, 7, 5)),
    (nn.Sequential(nn.Conv2d(3, 4, 3), settle(nn.BatchNorm2d(4)), nn.ReLU6()), (1, 3, 6, 6)),
    (nn.Sequential(nn.Conv3d(1, 4, 3), settle(nn.BatchNorm3d(4)), nn.ReLU()), (1, 1, 4, 6, 6)),
    (nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), settle(nn.BatchNorm2d(8)), nn.Hardtanh(0, 6)), (1, 4, 6, 6)),
    (nn.Sequential(nn.ZeroPad2d((1, 2, 3, 0)), nn.Conv2d(3, 4, 3, padding=1)), (1, 3, 6, 6)),
    (nn.Conv1d(4, 4, 3, groups=4), (1, 4, 10)),
    (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 11)),
    (nn.Conv3d(2, 5, (3, 1, 2), stride=(1, 2, 1), padding=(2, 0, 1), dilation=(2, 1, 1)), (2, 2, 4, 6, 7)),
    (nn.Conv3d(4, 6, 3, stride=(1, 2, 2), padding=1, dilation=(1, 1, 2), groups=2), (1, 4, 5, 7, 8)),
    (nn.Conv3d(4, 8, 3, groups=4), (1, 4, 5, 6, 6)),
    (nn.MaxPool1d(3, 2, 1), (1, 4, 11)),
    (nn.AvgPool1d(3, 2, 1), (1, 4, 11)),
    (nn.AdaptiveAvgPool1d(1), (2, 4, 11)),
    (nn.MaxPool3d((1, 2, 2)), (1, 4, 5, 8, 8)),
    (nn.MaxPool3d(2, 2, padding=(0, 1, 1)), (2, 4, 5, 7, 7)),
    (nn.MaxPool3d(3, (2, 1, 2), 1), (1, 4, 5, 8, 8)),
    (nn.AvgPool3d((2, 3, 3), (1, 2, 2)), (1, 4, 5, 8, 8)),
    (nn.AvgPool3d(3, 2, 1), (1, 4, 5, 8, 8)),
    (nn.AvgPool3d((2, 7, 7), 1), (1, 4, 2, 7, 7)),
    (nn.AdaptiveAvgPool3d(1), (2, 4, 3, 7, 5)),
    (Function(lambda s, x: s.conv(x).clamp(0, 6), conv=nn.Conv2d(3, 4, 1)), (1, 3, 6, 6)),
    (Function(lambda s, x: 1 - s.conv(x) / 2, conv=nn.Conv2d(3, 4, 1)), (1, 3, 6, 6)),
    (Function(lambda s, x: s.conv(x) + 1 + x, conv=nn.Conv2d(3, 3, 1)), (1, 3, 6, 6)),
    (Function(lambda s, x: torch.relu(x + s.conv(x)), conv=nn.Conv2d(3, 3, 1)), (2, 3, 6, 6)),
    (nn.Sequential(nn.Linear(6, 4), settle(nn.BatchNorm1d(4)), nn.ReLU()), (3, 6)),
], ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "")
def test_layers_become_one_sparse_op(layer: nn.Module, shape: tuple[int, ...]) -> None:
    module, _ = check(layer, image(*shape))
    left = {n for n in names(module) if not n.startswith("sparse.")}
    assert sum(n for name, n in names(module).items() if name.startswith("sparse.")) == 1
    assert left <= {"arith.constant", "tensor.collapse_shape", "tensor.expand_shape", "func.return"}


@pytest.mark.slow
@pytest.mark.parametrize(("network", "convolutions", "linears", "pools", "norms", "residuals"), [
    pytest.param("vgg16", 13, 3, 5, 0, 0, marks=pytest.mark.slow),
    ("resnet18", 20, 1, 2, 20, 8),
    pytest.param("resnet50", 53, 1, 2, 53, 16, marks=pytest.mark.slow),
    ("mobilenet_v2", 52, 1, 1, 52, 10),
    pytest.param("c3d", 8, 3, 5, 0, 0, marks=pytest.mark.slow),
    pytest.param("r2plus1d_18", 37, 1, 1, 37, 8, marks=pytest.mark.slow),
    pytest.param("s3d", 77, 1, 14, 77, 0, marks=pytest.mark.slow),
])
def test_reference_networks_raise_completely(network: str, convolutions: int, linears: int, pools: int,
                                             norms: int, residuals: int) -> None:
    network_module, inputs = reference_model(network)
    odd = image(2, 3, 97, 65) if inputs[0].ndim == 4 else image(2, 3, 9, 49, 65)
    # VGG's adaptive pool is a pool at its native size only, C3D's linear layers have no other.
    _, statistics = check(network_module, *(inputs if network in ("vgg16", "c3d") else (odd,)))
    assert statistics["convolutions raised"] == convolutions
    assert statistics["matrix products raised"] == linears
    assert statistics["pools raised"] == pools
    assert statistics["batch norms folded"] == norms
    assert statistics["residuals fused"] == residuals


@pytest.mark.parametrize("pool", [nn.MaxPool3d(2, dilation=2), nn.AvgPool3d(5), nn.MaxPool1d(2, dilation=2),
                                  nn.AvgPool3d(3, 2, 1, count_include_pad=False)])
def test_pools_without_a_kernel_of_ours_stay_in_linalg(pool: nn.Module) -> None:
    """Dilated ones, ones of 125 places, ones that divide by what lies inside."""
    _, statistics = raised(pool, image(1, 2, 9) if isinstance(pool, nn.MaxPool1d) else image(1, 2, 9, 9, 9))
    assert not statistics["pools raised"]


def test_residual_goes_to_the_later_convolution() -> None:
    two = Function(lambda s, x: torch.relu(s.first(x) + s.second(x)),
                   first=nn.Conv2d(3, 4, 1), second=nn.Conv2d(3, 4, 3, 1, 1))
    module, statistics = check(two, image(1, 3, 6, 6))
    first, second = (op for op in operations(module) if op.name == "sparse.conv")
    assert second.operands[3] == first.results[0]
    assert layers(module) == ["first", "second"]
    assert statistics["activations fused"] == 1


def test_activation_before_the_sum_is_not_moved_behind_it() -> None:
    block = Function(lambda s, x: torch.relu(s.conv(x)) + x, conv=nn.Conv2d(3, 3, 1))
    module, statistics = raised(block, image(1, 3, 6, 6))
    assert statistics["residuals fused"] == 0
    assert names(module)["linalg.generic"] == 1


def test_norm_behind_a_residual_stays() -> None:
    block = Function(lambda s, x: s.norm(s.conv(x) + x), conv=nn.Conv2d(3, 3, 1),
                     norm=settle(nn.BatchNorm2d(3)))
    module, statistics = raised(block, image(1, 3, 6, 6))
    assert statistics["residuals fused"] == 1
    assert statistics["batch norms folded"] == 0
    assert names(module)["linalg.generic"] > 0


def test_result_with_two_readers_keeps_its_activation_apart() -> None:
    block = Function(lambda s, x: torch.cat([y := s.conv(x), torch.relu(y)], 1), conv=nn.Conv2d(3, 3, 1))
    _, statistics = raised(block, image(1, 3, 6, 6))
    assert statistics["convolutions raised"] == 1
    assert statistics["activations fused"] == 0


def test_norm_keeps_zeros_and_unscaled_weights_are_not_copied() -> None:
    conv, plain = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)
    conv.weight.data[:, ::2] = 0.0
    module, _ = raised(nn.Sequential(conv, settle(nn.BatchNorm2d(8)), plain), image(1, 8, 9, 9))
    folded, untouched = (op.operands[1].owner.attributes["value"]
                         for op in operations(module) if op.name == "sparse.conv")
    assert np.array_equal(read_attribute(folded) == 0, conv.weight.detach().numpy() == 0)
    assert np.shares_memory(read_attribute(untouched), plain.weight.detach().numpy())


def test_weights_computed_at_run_time_stay_in_linalg() -> None:
    convolution = Function(lambda s, x, w: functional.conv2d(x, w))
    module, statistics = raised(convolution, image(1, 3, 6, 6), image(4, 3, 3, 3))
    assert not statistics
    assert names(module)["linalg.conv_2d_nchw_fchw"] == 1


def test_weight_with_nan_is_an_error() -> None:
    text = """func.func @main(%x: tensor<1x1x4x4xf32>) -> tensor<1x1x2x2xf32> {
      %w = arith.constant dense<0x7FC00000> : tensor<1x1x3x3xf32>
      %zero = arith.constant 0.0 : f32
      %e = tensor.empty() : tensor<1x1x2x2xf32>
      %f = linalg.fill ins(%zero : f32) outs(%e : tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32>
      %y = linalg.conv_2d_nchw_fchw ins(%x, %w : tensor<1x1x4x4xf32>, tensor<1x1x3x3xf32>)
             outs(%f : tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32>
      return %y : tensor<1x1x2x2xf32>
    }"""
    with ir.Context(), pytest.raises(PassError, match=r"finite weights in layer 'conv1', found NaN"):
        RaiseLinalgPass().run(ir.Module.parse(text).operation, PassContext())
