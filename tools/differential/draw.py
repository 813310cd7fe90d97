"""A layer from a number: the same number gives the same layer, so that a fault is named by it.

Shapes are small, odd and lopsided on purpose: what is drawn is what nobody thought of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ...sparse_dialect.schemes import NM, Bcr, Connectivity, Kgs, Pattern, Unstructured

LARGEST = 200_000  # multiply-adds of a dense layer; a run is a matter of milliseconds
Project = Callable[[np.ndarray, np.random.Generator], np.ndarray]
SCHEMES: dict[str, Project] = {
    "dense": lambda weight, _: weight,
    "unstructured": lambda weight, random: Unstructured.project(weight, rate=float(random.uniform(1, 8))),
    "connectivity": lambda weight, random: Connectivity.project(weight, rate=float(random.uniform(1, 5))),
    "pattern": lambda weight, random: Pattern.project(
        weight, entries=int(random.integers(1, max(2, min(5, prod(weight.shape[2:]))))),
        patterns=int(random.integers(1, 9)), connectivity=float(random.choice([1, 1.5, 3.6]))),
    "bcr": lambda weight, random: Bcr.project(
        weight, rows=int(random.integers(1, len(weight) + 1)),
        columns=int(random.integers(1, prod(weight.shape[1:]) + 1)), rate=float(random.uniform(1, 6))),
    "kgs": lambda weight, random: Kgs.project(
        weight, filters=int(random.integers(1, 10)), channels=int(random.integers(1, 6)),
        rate=float(random.uniform(1, 5)), vanilla=bool(random.integers(2))),
    "n_m": lambda weight, random: NM.project(weight, n=int(random.integers(1, 3)), m=4)}
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "none": nn.Identity, "relu": nn.ReLU, "relu6": nn.ReLU6, "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU,
    "hard_swish": nn.Hardswish, "elu": nn.ELU}


@dataclass(frozen=True)
class Drawn:
    """A module of one layer and what surrounds it, its inputs (f32), and words that describe it."""

    module: nn.Module
    inputs: tuple[torch.Tensor, ...]
    words: str


class ConvBlock(nn.Module):
    """Padding, a convolution, normalization, residual, activation and pool, as far as they were drawn."""

    def __init__(self, sides: list[int], conv: nn.Module, norm: nn.Module, activation: nn.Module,
                 pool: nn.Module, residual: str) -> None:
        super().__init__()
        self.conv, self.norm, self.activation, self.pool = conv, norm, activation, pool
        self.sides, self.residual = sides, residual

    def forward(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(functional.pad(x, self.sides) if any(self.sides) else x))
        if self.residual == "before":
            y = y + others[0]
        y = self.activation(y)
        if self.residual == "after":
            y = y + others[0]
        pooled: torch.Tensor = self.pool(y)
        return pooled


def draw(seed: int) -> Drawn:
    """Layer number ``seed``: three in four are convolutions."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    drawn = _convolution(random) if random.random() < 0.75 else _linear(random)
    drawn.module.eval()
    return drawn


def _convolution(random: np.random.Generator) -> Drawn:
    rank = int(random.choice([1, 2, 2, 2, 3]))
    groups = int(random.choice([1, 1, 1, 2, 3, 4, 8]))
    depthwise = random.random() < 0.15
    a_group = 1 if depthwise else int(random.choice([1, 2, 3, 4, 5, 8, 16]))
    channels = groups * a_group
    filters = groups * int(random.choice([1, 2] if depthwise else [1, 2, 3, 4, 7, 8, 16]))
    kernel = [int(random.choice([1, 2, 3, 3, 3, 5])) for _ in range(rank)]
    stride, dilation = ([int(random.choice([1, 1, 2, 3])) for _ in range(rank)] for _ in range(2))
    low = [int(random.integers(0, 4)) for _ in range(rank)]
    even = random.random() < 0.5
    high = low if even else [int(random.integers(0, 4)) for _ in range(rank)]
    most = {1: 40, 2: 18, 3: 7}[rank]
    sizes = [max(int(random.integers(1, most)), span * (taps - 1) + 1 - before - after)
             for taps, span, before, after in zip(kernel, dilation, low, high, strict=True)]
    batch = int(random.choice([1, 1, 2, 3]))
    while channels * filters // groups * prod(kernel) * prod(sizes) * batch > LARGEST and filters > groups:
        filters //= 2
        filters = max(groups, filters // groups * groups)
    inside = even and random.random() < 0.5  # the layer's own padding, or an op before it
    make: type[nn.Module] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    conv = make(channels, filters, kernel, stride, low if inside else 0, dilation, groups,
                bias=bool(random.integers(2)))
    scheme = _prune(conv, random)
    normalized = random.random() < 0.3
    norm = _normalization(rank, filters) if normalized else nn.Identity()
    activation = str(random.choice(list(ACTIVATIONS)))
    residual = str(random.choice(["none", "none", "before", "after"]))
    x = torch.randn(batch, channels, *sizes)
    padded = conv(functional.pad(x, [0, 0] * rank if inside else _sides(low, high)))
    pool, pooled = _pool(random, rank, list(padded.shape[2:]))
    block = ConvBlock([0, 0] * rank if inside else _sides(low, high), conv, norm, ACTIVATIONS[activation](),
                      pool, residual)
    inputs = (x,) if residual == "none" else (x, torch.randn_like(padded))
    words = (f"conv{rank}d {channels}->{filters} groups {groups} kernel {kernel} stride {stride} "
             f"dilation {dilation} padding {low}{high}{' inside' if inside else ''} of {sizes} batch {batch} "
             f"{scheme} {activation} residual {residual} pool {pooled}{' norm' if normalized else ''}")
    return Drawn(block, inputs, words)


def _linear(random: np.random.Generator) -> Drawn:
    rows, columns = (int(random.integers(1, 90)) for _ in range(2))
    linear = nn.Linear(columns, rows, bias=bool(random.integers(2)))
    scheme = _prune(linear, random)
    activation = str(random.choice(list(ACTIVATIONS)))
    shape = [int(random.choice([1, 2, 3, 5, 17])) for _ in range(int(random.integers(1, 3)))]
    words = f"linear {columns}->{rows} of {shape} {scheme} {activation}"
    return Drawn(nn.Sequential(linear, ACTIVATIONS[activation]()), (torch.randn(*shape, columns),), words)


def _prune(layer: Any, random: np.random.Generator) -> str:
    """Prunes the weight of ``layer`` by a scheme that is drawn; its name."""
    weight = layer.weight.detach().numpy()
    names = [name for name in SCHEMES if weight.ndim > 2 or name in ("dense", "unstructured", "bcr", "n_m")]
    if prod(weight.shape[2:]) < 2:
        names = [name for name in names if name != "pattern"]
    name = str(random.choice(names))
    pruned = np.ascontiguousarray(SCHEMES[name](weight, random), np.float32)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(pruned))
    return name


def _normalization(rank: int, filters: int) -> nn.Module:
    """Batch normalization whose statistics are no identity."""
    norm: Any = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[rank - 1](filters)
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_()
    normalization: nn.Module = norm
    return normalization


def _pool(random: np.random.Generator, rank: int, sizes: list[int]) -> tuple[nn.Module, str]:
    """A pool that fits ``sizes``, or none."""
    kind = str(random.choice(["none", "none", "max", "average", "global"]))
    if kind == "global":
        return (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[rank - 1](1), kind
    window = [min(size, int(random.integers(1, 4))) for size in sizes]
    if kind == "none" or prod(window) == 1:
        return nn.Identity(), "none"
    stride = [int(random.integers(1, 4)) for _ in sizes]
    padding = [int(random.integers(0, taps // 2 + 1)) for taps in window]
    family = {"max": (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
              "average": (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)}[kind]
    return family[rank - 1](window, stride, padding), f"{kind} {window}/{stride}+{padding}"


def _sides(low: list[int], high: list[int]) -> list[int]:
    """Padding as ``functional.pad`` takes it: the last dimension first."""
    return [side for pair in zip(reversed(low), reversed(high), strict=True) for side in pair]
