"""What a convolution is, read off both of its ops; every kind computes what PyTorch does."""

from __future__ import annotations

import espalier
import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.pipelines.parser import parse_pipeline
from espalier.pipelines.runner import Runner
from espalier.sparse_dialect.dialect import register_dialect
from espalier.sparse_dialect.dialect.ops import ConvOp
from espalier.sparse_dialect.dialect.packed import PackedConvOp
from espalier.sparse_dialect.geometry.convolution import Convolution
from espalier.sparse_dialect.geometry.window import Window
from espalier.sparse_dialect.ir.mlir import ir
from espalier.sparse_dialect.ir.walk import operations
from torch import nn

PACK = ("builtin.module(sparse-detect-schemes,sparse-schedule-layers,sparse-compress-weights,"
        "sparse-set-target{lanes=4},sparse-assign-layouts)")


def program(weight: str, source: str, target: str, groups: int) -> ir.Module:
    """One ``sparse.conv`` of 3 x 3 kernels, stride 2, padding 1 below and 0 above."""
    text = f"""func.func @main(%x: tensor<{source}xf32>) -> tensor<{target}xf32> {{
  %w = arith.constant dense<1.0> : tensor<{weight}xf32>
  %y = "sparse.conv"(%x, %w) {{strides = [2, 2], padding_low = [1, 1], padding_high = [0, 0],
    dilations = [1, 1], groups = {groups}, activation = "relu", scheme = #sparse.undetected,
    operandSegmentSizes = array<i32: 1, 1, 0, 0>,
    schedule = #sparse.schedule<{{}}>, record = #sparse.record<{{}}>}}
    : (tensor<{source}xf32>, tensor<{weight}xf32>) -> tensor<{target}xf32>
  return %y : tensor<{target}xf32>
}}"""
    context = ir.Context()
    register_dialect(context)
    return ir.Module.parse(text, context)


@pytest.mark.parametrize(("weight", "groups", "kind"), [
    ("6x6x3x3", 1, "plain"), ("1x1x3x3", 1, "plain"), ("6x3x3x3", 2, "grouped"), ("6x1x3x3", 6, "depthwise"),
    ("12x1x3x3", 6, "grouped"), ("3x2x3x3", 3, "grouped")])
def test_kind_is_the_same_before_and_after_packing(weight: str, groups: int, kind: str) -> None:
    filters, channels = (int(size) for size in weight.split("x")[:2])
    module = program(weight, f"2x{channels * groups}x8x16", f"2x{filters}x4x8", groups)
    (conv,) = operations(module.operation, ConvOp)
    before = Convolution.of(conv)
    assert before == Convolution(2, channels * groups, filters, groups, (3, 3),
                                 Window.of((3, 3), (2, 2), (1, 1)), (1, 8, 16), (1, 4, 8), "relu")
    assert before.kind == kind
    assert before.kernels_a_filter == channels
    Runner(parse_pipeline(PACK)).run(module.operation)
    (packed,) = operations(module.operation, PackedConvOp)
    assert Convolution.of(packed) == before


def test_four_dimensions_are_one_clear_error() -> None:
    module = program("2x2x3x3", "1x2x8x8", "1x2x4x4", 1)
    text = str(module).replace("3x3x", "3x3x1x1x").replace("8x8x", "8x8x1x1x").replace("4x4x", "4x4x1x1x")
    for old, new in (("[2, 2]", "[2, 2, 1, 1]"), ("[1, 1]", "[1, 1, 1, 1]"), ("[0, 0]", "[0, 0, 0, 0]")):
        text = text.replace(old, new)
    text = text.replace("padding_low = [1, 1, 1, 1]", "padding_low = [1, 1, 0, 0]")
    deep = ir.Module.parse(text, module.context)
    with pytest.raises(EspalierError, match="a convolution of one to three dimensions"):
        Runner(parse_pipeline(PACK)).run(deep.operation)


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "one filter a group": (nn.Conv2d(8, 4, 3, padding=1, groups=4), (1, 8, 9, 7)),
    "one filter a group, signal": (nn.Conv1d(8, 4, 3, groups=4), (2, 8, 20)),
    "one filter a group, points": (nn.Conv2d(12, 4, 1, groups=4), (1, 12, 9, 9)),
    "one filter a group, volume": (nn.Conv3d(6, 3, 3, groups=3), (2, 6, 4, 5, 6)),
    "two filters a channel": (nn.Conv2d(4, 8, 3, groups=4), (1, 4, 9, 7)),
    "two filters a channel, signal": (nn.Conv1d(4, 8, 3, groups=4), (1, 4, 20)),
    "three filters, two channels a group": (nn.Conv2d(4, 6, 3, stride=2, groups=2), (2, 4, 9, 7)),
    "depthwise": (nn.Conv2d(4, 4, 3, padding=1, groups=4), (1, 4, 9, 7)),
    "depthwise, signal": (nn.Conv1d(4, 4, 3, groups=4), (3, 4, 20)),
    "pool behind one filter a group": (
        nn.Sequential(nn.Conv2d(8, 4, 3, padding=1, groups=4), nn.ReLU(), nn.MaxPool2d(2)), (1, 8, 8, 8)),
    "one filter a group behind a layer": (
        nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 3, groups=4)), (1, 3, 9, 7)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_computes_what_pytorch_does(name: str) -> None:
    module, shape = LAYERS[name]
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            layer.reset_parameters()
    x = torch.randn(shape)
    with torch.no_grad():
        expected = module.eval()(x).numpy()
    found = espalier.compile(module, (x,)).run([x.numpy()])[0]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
