"""Our decompositions against PyTorch's own operators, and through the compiler."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import espalier
import pytest
import torch
from espalier.frontends.torch import transposed
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
    (nn.ConstantPad1d((3, -5), 0.5), (2, 3, 5)),
    (nn.ConstantPad2d((0, 0, -2, 1), 0.5), (1, 2, 4, 4)),
    (nn.Sequential(nn.ZeroPad2d((-1, 0, 2, -1)), nn.Conv2d(2, 3, 3, padding=1)), (1, 2, 4, 4)),
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


@pytest.mark.parametrize(("pool", "shape"), [
    (nn.AvgPool2d(2560, ceil_mode=True), (1, 3, 7, 8)),
    (nn.AvgPool2d((100, 3), (100, 2), (2, 1), ceil_mode=True), (1, 2, 7, 8)),
    (nn.MaxPool2d((99, 3), (99, 2), ceil_mode=True), (2, 2, 7, 8)),
    (nn.AvgPool1d(4000, ceil_mode=True), (1, 3, 9)),
], ids=str)
def test_windows_larger_than_the_image(pool: nn.Module, shape: tuple[int, ...]) -> None:
    compiled = espalier.compile(pool.eval(), (torch.randn(shape),))
    assert compiled.check() < 1e-6
    assert compiled.arena_bytes < 1 << 16


def test_pruned_transposed_convolution_stays_pruned() -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(32, 32, 4, 2, 1).eval()
    with torch.no_grad():
        layer.weight *= (torch.rand(32, 32, 1, 1) < 0.3)
    compiled = espalier.compile(layer, (torch.randn(1, 32, 14, 14),))
    assert compiled.check() < 1e-5
    assert {record.scheme for record in compiled.layers} <= {"connectivity", "bcr"}  # 4 rows alike
    assert all(record.macs_packed < 0.4 * record.macs_dense for record in compiled.layers)


class Call(nn.Module):
    """A module that calls a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def overwritten(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Results of scans, of which copies change before others read them."""
    total, ordered = x.cumsum(1), x.sort(1)[0]
    first, second = total.clone(), ordered.clone()
    first[:, 0], second[0] = 0, 7
    return first, total.cumprod(1), second, ordered.cumsum(0), second.sort(0)[0]


def assigned(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Assignments by masks: of numbers, of rows, and added."""
    y = x.clone()
    y[y > 0.5] = -2.0
    y[rows] = torch.arange(7.0)
    y[:, torch.arange(7) > x[0, 0]] = torch.ones(5, 1)
    return y.index_put((rows,), torch.tensor(2.0), accumulate=True)


def diagonals(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Writes to diagonals."""
    y = x.clone()
    y.diagonal().fill_(3)
    y.diagonal(-2).mul_(2)
    return y, y.t().diagonal_scatter(torch.zeros(5), -1), y.view(5, 1, 7).diagonal_scatter(y[:, :3].sum(1)[
        None, :5], 1, 0, 2)


ROWS = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
WITH_NAN = ROWS.clone().index_fill_(1, torch.tensor(3), float("nan"))
TABLE = torch.randn(20, 8, generator=torch.Generator().manual_seed(1))
BAGS = torch.tensor([[1, 2, 2], [19, 0, 3]])
BYTES = torch.tensor([200, 5, 255, 0], dtype=torch.uint8)
SHORTS = torch.tensor([300, -300, 7, 0], dtype=torch.int16)
LONGS = torch.tensor([2**62 + 1, -(2**53) - 1, 7, -7, -1])
def attended(x: torch.Tensor) -> torch.Tensor:
    """Attention of two sequences, whose result PyTorch has with strides of its own."""
    heads = x[:4, :6].reshape(2, 2, 2, 3).transpose(1, 2)
    return nn.functional.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).reshape(2, 2, 6)


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = {
    "roll": (lambda x: torch.roll(x, (1, -9), (0, 1)) + torch.roll(x, 5), (ROWS,)),
    "fmod": (lambda x: (torch.fmod(x, 0.7), torch.fmod(torch.round(x * 6) * 0.7, 0.7),
                        torch.fmod(x.to(torch.int64) * 5, -3)), (ROWS,)),
    "median": (lambda x: (x.median(), x.median(0)[0], x.median(1, keepdim=True)[0]), (ROWS,)),
    "median of NaN": (lambda x: (x.median(), x.median(0)[0]), (WITH_NAN,)),
    "cdist": (lambda x: (torch.cdist(x, x[1:]), torch.cdist(x, x, p=1.5), torch.cdist(x, x, p=0)), (ROWS,)),
    "pdist": (lambda x: nn.functional.pdist(x, p=1), (ROWS,)),
    "embedding_bag": (lambda i: nn.functional.embedding_bag(i, TABLE, mode="mean", padding_idx=2), (BAGS,)),
    "largest of a bag": (lambda i: nn.functional.embedding_bag(
        i.view(-1), TABLE, torch.tensor([0, 4, 4]), mode="max"), (BAGS,)),
    "bags of one size": (lambda i: tuple(nn.functional.embedding_bag(i, TABLE, mode=mode)
                                         for mode in ("sum", "mean", "max")), (BAGS,)),
    "bags with an end": (lambda i: tuple(nn.functional.embedding_bag(
        i.view(-1), TABLE, torch.tensor([0, 2, 5]), mode=mode, include_last_offset=True)
        for mode in ("sum", "mean", "max")), (BAGS,)),
    "scatter_reduce": (lambda x: tuple(x.scatter_reduce(0, (x > 0).long(), 2 * x, how, include_self=itself)
                                       for how in ("sum", "prod", "mean", "amax", "amin")
                                       for itself in (True, False)), (ROWS,)),
    "sums and what overwrites them": (overwritten, (ROWS,)),
    "index_reduce": (lambda x: x.index_reduce(1, torch.tensor([2, 0, 2]), x[:, 2:5], "amax",
                                              include_self=False), (ROWS,)),
    "bits": (lambda x: (x.long() ^ 5, x.long() | 5, 3 ^ x.long(), (x > 0) ^ True), (ROWS,)),
    "whole powers": (lambda x: tuple((9 * x).long() ** power for power in (0, 1, 3, 6)), (ROWS,)),
    "rrelu": (lambda x: nn.functional.rrelu(x), (ROWS,)),
    "adaptive pools": (lambda x: (nn.functional.adaptive_avg_pool1d(x, 3),
                                  *nn.functional.adaptive_max_pool1d(x, 3, return_indices=True),
                                  nn.functional.adaptive_avg_pool2d(x[None], (3, 2)),
                                  *nn.functional.adaptive_max_pool2d(x[None], (2, 9), return_indices=True),
                                  nn.functional.adaptive_max_pool2d(x[None], 1)), (ROWS,)),
    "adaptive pools of NaN": (lambda x: (nn.functional.adaptive_avg_pool1d(x, 3),
                                         nn.functional.adaptive_max_pool1d(x, 3)), (WITH_NAN,)),
    "pools without a batch": (lambda x: (nn.functional.avg_pool2d(x[None], 2), nn.functional.max_pool1d(x, 2),
                                         *nn.functional.max_pool2d(x[None], 2, return_indices=True),
                                         nn.functional.avg_pool3d(x[None, None], (1, 2, 2)),
                                         nn.functional.max_pool3d(x[None, None], (1, 2, 2))), (ROWS,)),
    "bytes": (lambda x: (x.max(), x // 3, x.float() / 255, x > 100, x + x, ~x, x - 7, x.sort()[0]), (BYTES,)),
    "bytes from floats": (lambda x: (x.abs() * 60).to(torch.uint8), (ROWS,)),
    "shorts": (lambda x: (x.min(), x * x, x % 7, x.sum()), (SHORTS,)),
    "large integers": (lambda x: (-x, x // 3, x // -2, x // x.clamp(1, 5), -7 // x.clamp(max=-1),
                                 -7 % x.clamp(1), torch.div(x, 3, rounding_mode="trunc"),
                                 x << (x.abs() % 4)), (LONGS,)),
    "remainders of few": (lambda x, y: (x % y, torch.fmod(x, y), torch.div(x, y, rounding_mode="trunc")),
                          (torch.tensor([7, -7, 8]), torch.tensor([3, -2, -1]))),
    "assigned by a mask": (assigned, (ROWS, ROWS[:, 0] > 0)),
    "diagonals": (diagonals, (ROWS,)),
    "reciprocals": (lambda x: (x.relu().reciprocal(), x.long().reciprocal()), (ROWS,)),
    "gelu by tanh": (lambda x: nn.functional.gelu(x, approximate="tanh"),
                     (torch.tensor([-float("inf"), -1e30, -1e4, -9.0, -3.0, -1.0, 0.0, 1.0, 1e30] * 2),)),
    "hypot": (lambda x, y: (torch.hypot(x, y), torch.hypot(x, x.flip(0)), torch.hypot(x, x[:1])),
              (torch.tensor([3e30, 0.0, -3.0, float("inf"), float("nan")]),
               torch.tensor([4e30, 0.0, 4.0, float("nan"), 1.0]))),
    "all along several": (lambda x: (torch.all(x[None] > -2, (0, -1), True), torch.all(x > 0, (0, 1))),
                          (ROWS,)),
    "filled diagonals": (lambda x: (x.clone().fill_diagonal_(2.0),
                                    (x.t() * 1).fill_diagonal_(3.0, wrap=True)), (ROWS,)),
    "no rows": (lambda x: (x.var(0), *torch.var_mean(x, 0, correction=0), x.sum(0), x.prod(0), x.mean(0),
                           x.all(0), nn.functional.linear(x.t(), torch.zeros(4, 0), torch.ones(4))),
                (torch.zeros(0, 3),)),
    "views behind attention": (lambda x: (attended(x).view(-1, 6), attended(x).view_as(x[:4, :6])), (ROWS,)),
    "scalars": (lambda x: x * torch.tensor(0.5) + torch.tensor([2.0])[0], (ROWS,)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_equal_pytorch(name: str) -> None:
    function, inputs = FUNCTIONS[name]
    compiled = espalier.compile(Call(function).eval(), inputs)
    found, expected = (value if isinstance(value, tuple) else (value,)
                       for value in (compiled(*inputs), function(*inputs)))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, equal_nan=True, atol=1e-5, rtol=1e-5)


def test_unsigned_bytes_are_uint8_for_the_caller() -> None:
    compiled = espalier.compile(Call(lambda x: x // 2).eval(), (BYTES,))
    assert [spec.dtype for spec in (*compiled.inputs, *compiled.outputs)] == ["uint8", "uint8"]
    with pytest.raises(espalier.EspalierError, match="expected 4 uint8, found 4 int8"):
        compiled(BYTES.to(torch.int8))
