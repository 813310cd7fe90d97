"""Our decompositions against PyTorch's own operators, and through the compiler."""

from __future__ import annotations

import random

import espalier
import pytest
import torch
from espalier.frontends.torch import transposed
from espalier.frontends.torch.decompositions import constant_pad
from torch import nn

aten = torch.ops.aten


def drawn(choices: list[int], count: int) -> list[int]:
    return [random.choice(choices) for _ in range(count)]


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_transposed_convolutions_are_ordinary_ones_interleaved(spatial: int) -> None:
    random.seed(spatial)
    compared = 0
    while compared < 60:
        groups = random.choice([1, 1, 2, 4])
        channels, filters = groups * random.choice([1, 2, 3]), groups * random.choice([1, 2])
        kernel, stride = drawn([1, 2, 3, 4, 5], spatial), drawn([1, 2, 3, 4], spatial)
        dilation, padding = drawn([1, 1, 2, 3], spatial), drawn([0, 0, 1, 2], spatial)
        extra = [random.randrange(max(pair)) for pair in zip(stride, dilation, strict=True)]
        x = torch.randn(2, channels, *drawn([1, 3, 4, 6], spatial))
        weight = torch.randn(channels, filters // groups, *kernel)
        bias = random.choice([None, torch.randn(filters)])
        sizes = zip(x.shape[2:], stride, padding, dilation, kernel, extra, strict=True)
        if min((image - 1) * s - 2 * p + d * (k - 1) + e + 1 for image, s, p, d, k, e in sizes) < 1:
            continue
        expected = aten.convolution(x, weight, bias, stride, padding, dilation, True, extra, groups)
        found = transposed.transposed_convolution(x, weight, bias, stride, padding, dilation, extra, groups)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        compared += 1


def test_fold_is_a_sum_of_shifted_images() -> None:
    random.seed(0)
    for _ in range(60):
        kernel, stride = drawn([1, 2, 3, 4], 2), drawn([1, 2, 3], 2)
        dilation, padding = drawn([1, 2], 2), drawn([0, 1, 2], 2)
        size = drawn([7, 8, 9], 2)
        columns = nn.functional.unfold(torch.randn(2, 3, *size), kernel, dilation, padding, stride)
        for x in (columns, columns[0]):
            expected = nn.functional.fold(x, size, kernel, dilation, padding, stride)
            torch.testing.assert_close(transposed.fold(x, size, kernel, dilation, padding, stride), expected)


@pytest.mark.parametrize("amounts", [[-1, 0], [-1, -2, 0, 0], [-1, 2, 1, -1], [3, -5], [0, 0, -2, 1]])
def test_negative_padding_crops(amounts: list[int]) -> None:
    x = torch.arange(1.0, 31).reshape(2, 3, 5)
    torch.testing.assert_close(constant_pad(x, amounts, 0.5), nn.functional.pad(x, amounts, value=0.5))


LAYERS = (
    (nn.ConvTranspose1d(8, 6, 4, 2, 1), (8, 10)),
    (nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, dilation=2, groups=2), (1, 4, 7, 6)),
    (nn.ConvTranspose2d(5, 5, 4, 2, 1, groups=5, bias=False), (2, 5, 6, 6)),
    (nn.ConvTranspose3d(3, 4, 2, 2), (1, 3, 3, 4, 4)),
    (nn.Conv3d(4, 4, 3, groups=4), (1, 4, 5, 6, 7)),
    (nn.Conv3d(4, 8, 3, stride=(2, 1, 2), padding=1, groups=4), (2, 4, 5, 6, 7)),
    (nn.Conv3d(6, 6, (5, 1, 1), dilation=(2, 1, 1), padding=(4, 0, 0), groups=6), (1, 6, 8, 4, 4)),
    (nn.Fold((8, 8), 3, padding=1), (1, 36, 64)),
    (nn.ZeroPad2d((-1, 2, 1, -1)), (1, 2, 4, 4)),
    (nn.Conv2d(3, 4, 3, padding=1, padding_mode="replicate"), (1, 3, 6, 6)),  # constants inside lists
)


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=[str(layer)[:60] for layer, _ in LAYERS])
def test_compiled_layers_equal_pytorch(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape)
    compiled = espalier.compile(layer.eval(), (x,))
    assert compiled.check() < 1e-5
    has_weight = any(True for _ in layer.parameters())
    assert bool(compiled.layers) == has_weight


def test_pruned_transposed_convolution_stays_pruned() -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(32, 32, 4, 2, 1).eval()
    with torch.no_grad():
        layer.weight *= (torch.rand(32, 32, 1, 1) < 0.3)
    compiled = espalier.compile(layer, (torch.randn(1, 32, 14, 14),))
    assert compiled.check() < 1e-5
    assert {record.scheme for record in compiled.layers} <= {"connectivity", "bcr"}  # 4 rows alike
    assert all(record.macs_packed < 0.4 * record.macs_dense for record in compiled.layers)
