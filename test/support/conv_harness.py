"""One convolution kernel on random data, compiled, beside what PyTorch computes: for every kind of kernel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from espalier.sparse_dialect.geometry.layouts import LaneGrid, Layout, Plain, Three, three, unlift
from espalier.sparse_dialect.geometry.window import ONES, Window
from espalier.sparse_dialect.lowering.cpu.kernels.tile import TileKernel
from espalier.sparse_dialect.lowering.cpu.plan.conv_plan import (
    ConvPlan,
    cut,
    plan_conv,
    plane_shape,
    tables,
)

from support.kernel_harness import Compiled, Emit, aligned, close, held_as, poisoned, random, unset

SAME = Window.of((3, 3), padding=(1, 1))
POINT = Window.of((1, 1))


@dataclass(frozen=True)
class Case:
    """One convolution and how it is cut up; ``groups`` share no channels."""

    scheme: str
    window: Window = SAME
    channels: int = 8
    filters: int = 8
    height: int = 12
    width: int = 12
    lanes: int = 16
    source_high: int | None = 4  # None: row-major input
    target_high: int = 4
    tile: tuple[int, ...] = (2, 3)
    padding_high: tuple[int, ...] = (1, 1)
    batch: int = 1
    block: int | None = None
    groups: int = 1
    activation: str = "none"
    residual: bool = False
    pool: Three = ONES
    level: str = "filter"
    core: str = "avx512"
    depth: int = 1
    dtype: str = "float32"  # of what lies on lanes, and of weights

    @property
    def image(self) -> list[int]:
        return [self.depth, self.height, self.width]

    @property
    def output(self) -> list[int]:
        w = self.window
        ends = np.add(self.image, w.padding) + three(self.padding_high, fill=0)
        last: list[int] = (ends - np.multiply(w.dilations, np.subtract(w.kernel, 1)) - 1).tolist()
        return [place // stride + 1 for place, stride in zip(last, w.strides, strict=True)]


class ConvRun(ABC):
    """A case on random data: its kernels (one a tile shape), its output, and what PyTorch gives."""

    def __init__(self, case: Case, seed: int = 0) -> None:
        grid = LaneGrid.of(case.target_high, case.lanes // case.target_high, case.output)
        self.stored = grid.over([size // part for size, part in zip(case.output, case.pool, strict=True)])
        pooled = self.stored if case.pool != ONES else None
        source: Layout = Plain.of(case.image)
        if case.source_high is not None:
            source = LaneGrid.of(case.source_high, case.lanes // case.source_high, case.image)
        x = random(case.batch, case.channels, *case.image, seed=seed)
        planes = poisoned(x, source) if isinstance(source, LaneGrid) else x.reshape(*x.shape[:2], -1)
        bias = random(case.filters, seed=seed + 1)
        weight, arrays = self.pack(seed + 2)
        residual = random(case.batch, case.filters, *self.stored.image, seed=seed + 3)
        self.output = unset(case.batch, case.filters, self.stored.lines, self.stored.lanes, dtype=case.dtype)
        if case.source_high is not None:
            planes = held_as(case.dtype, planes)
        self.kernel = self.make_kernel({
            "source": source, "target": grid, "pooled": pooled, "channels": case.channels,
            "channel_block": case.block or case.channels, "filters": case.filters,
            "activation": case.activation, "residual": case.residual})
        extra = [held_as(case.dtype, poisoned(residual, self.stored))] if case.residual else []
        tiles = cut(plane_shape(source, grid, case.window, pooled), three(case.tile), case.pool)
        self.plans = [plan_conv(source, grid, case.window, shape, origins, case.batch, pooled)
                      for shape, origins in tiles.items()]
        self.compiled = [
            Compiled(self.emitter(plan), [aligned(planes), self.output, *extra, bias, *tables(plan),
                                          *self.tables(plan), *(held_as(case.dtype, a) for a in arrays)],
                     max(1, self.kernel.scratch_lines(plan) * case.lanes), case.level, case.core)
            for plan in self.plans]
        self.expected = reference(case, x, weight, bias, residual)

    @abstractmethod
    def pack(self, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """A random weight [F, C / groups, *kernel] and its storage arrays."""

    @abstractmethod
    def make_kernel(self, common: dict[str, Any]) -> TileKernel:
        """The kernel with the fields that all kinds share."""

    @abstractmethod
    def emitter(self, plan: ConvPlan) -> Emit:
        """What emits the kernel's code for the tiles of ``plan``."""

    def tables(self, plan: ConvPlan) -> list[np.ndarray]:
        """Tables of the kernel's own, behind the plan's."""
        return []

    def units(self, at: int) -> int:
        """Units of work of kernel ``at``."""
        return len(self.plans[at].items) * self.kernel.chunks

    def whole(self) -> np.ndarray:
        """The output, every kernel run on all its units."""
        self.output[:] = np.nan
        for at, kernel in enumerate(self.compiled):
            kernel.run(0, self.units(at))
        return self.got()

    def got(self) -> np.ndarray:
        """The output as it is."""
        return unlift(self.output, self.stored).reshape(self.expected.shape)

    def check(self) -> None:
        close(self.whole(), self.expected, 1e-5 if self.output.dtype == np.float32 else 4e-3)


def reference(
    case: Case, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, residual: np.ndarray
) -> np.ndarray:
    """What PyTorch computes in f64."""
    wide = [torch.tensor(a, dtype=torch.float64) for a in (x, weight, bias, residual)]
    sides = list(zip(case.window.padding, three(case.padding_high, fill=0), strict=True))
    padded = torch.nn.functional.pad(wide[0], [n for side in reversed(sides) for n in side])
    strides, dilations = case.window.strides, case.window.dilations
    y = torch.nn.functional.conv3d(padded, wide[1], wide[2], strides, 0, dilations, case.groups)
    y = torch.nn.functional.max_pool3d(y, case.pool)
    if case.residual:
        y = y + wide[3]
    return {"none": y, "relu": y.relu(), "relu6": torch.nn.functional.relu6(y)}[case.activation].numpy()
