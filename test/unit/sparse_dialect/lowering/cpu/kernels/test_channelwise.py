"""Depthwise convolutions, pools, lifting and means, compiled and run against PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest
import torch
from espalier.sparse_dialect.geometry.layouts import LaneGrid, Layout, Plain, lift, three, unlift
from espalier.sparse_dialect.geometry.window import Window
from espalier.sparse_dialect.lowering.cpu.kernels.channelwise import (
    ChannelwiseKernel,
    emit_channelwise_kernel,
    emit_global_average,
    plane_tables,
)
from espalier.sparse_dialect.lowering.cpu.plan.plane_plan import plan_plane
from support.kernel_harness import (
    Compiled,
    aligned,
    close,
    held_as,
    poisoned,
    random,
    starting_at_pages,
    unset,
)


@dataclass(frozen=True)
class Case:
    """One layer of five channels."""

    kind: Literal["depthwise", "max", "average"]
    window: Window
    height: int = 13
    width: int = 14
    lanes: int = 16
    source_high: int | None = 4  # None: row-major input
    target_high: int = 4
    tile: tuple[int, ...] = (2, 3)
    batch: int = 2
    activation: str = "none"
    residual: bool = False
    channels: int = 5
    depth: int = 1
    core: str = "avx512"
    dtype: str = "float32"  # of what lies on lanes, and of weights

    @property
    def image(self) -> list[int]:
        return [self.depth, self.height, self.width]

    @property
    def output(self) -> list[int]:
        """Padding is the same on all sides."""
        w = self.window
        sizes = zip(self.image, w.padding, w.dilations, w.kernel, w.strides, strict=True)
        return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in sizes]


class Run:
    """A case on random data: its kernels (one a tile shape), its output, and what PyTorch gives."""

    def __init__(self, case: Case) -> None:
        source: Layout = Plain.of(case.image)
        if case.source_high is not None:
            source = LaneGrid.of(case.source_high, case.lanes // case.source_high, case.image)
        self.case = case
        self.grid = LaneGrid.of(case.target_high, case.lanes // case.target_high, case.output)
        x = random(case.batch, case.channels, *case.image)
        if case.kind == "max":
            x -= 5  # all below 0: padding must not win
        planes = poisoned(x, source) if isinstance(source, LaneGrid) else aligned(x.reshape(*x.shape[:2], -1))
        weight, bias = random(case.channels, 1, *case.window.kernel, seed=1), random(case.channels, seed=2)
        residual = random(case.batch, case.channels, *case.output, seed=3)
        parameters = [bias, held_as(case.dtype, weight.reshape(case.channels, 1, -1))]
        extra = [held_as(case.dtype, poisoned(residual, self.grid))] if case.residual else []
        self.output = unset(case.batch, case.channels, self.grid.lines, self.grid.lanes, dtype=case.dtype)
        if case.source_high is not None:
            planes = held_as(case.dtype, planes)
        kernel = ChannelwiseKernel(
            case.kind, source, self.grid, case.channels, case.activation, case.residual
        )
        plan = plan_plane(source, self.grid, case.window, three(case.tile))
        compiled = Compiled(
            lambda *to: emit_channelwise_kernel(*to[:2], kernel, plan, *to[2:]),
            [planes, self.output, *extra, *plane_tables(plan),
             *(parameters if case.kind == "depthwise" else [])],
            plan.lines * case.lanes,
            core=case.core,
        )
        self.kernels = [(compiled, case.batch * case.channels)]
        self.expected = reference(case, x, weight, bias, residual)

    def whole(self) -> np.ndarray:
        self.output[:] = np.nan
        for kernel, units in self.kernels:
            kernel.run(0, units)
        return self.got()

    def got(self) -> np.ndarray:
        """The output as it is."""
        return unlift(self.output, self.grid).reshape(self.expected.shape)


def reference(
    case: Case, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, residual: np.ndarray
) -> np.ndarray:
    """What PyTorch computes in f64."""
    wide = [torch.tensor(a, dtype=torch.float64) for a in (x, weight, bias, residual)]
    w = case.window
    if case.kind == "depthwise":
        y = torch.nn.functional.conv3d(
            wide[0], wide[1], wide[2], w.strides, w.padding, w.dilations, case.channels
        )
    elif case.kind == "max":
        y = torch.nn.functional.max_pool3d(wide[0], w.kernel, w.strides, w.padding, w.dilations)
    else:
        y = torch.nn.functional.avg_pool3d(wide[0], w.kernel, w.strides, w.padding)
    if case.residual:
        y = y + wide[3]
    return {"none": y, "relu": y.relu(), "relu6": torch.nn.functional.relu6(y)}[case.activation].numpy()


SAME = Window.of((3, 3), padding=(1, 1))
HALF = Window.of((3, 3), (2, 2), (1, 1))
DEPTHWISE = Case("depthwise", SAME)
VOLUME = Case("max", Window.of((3, 3, 3), padding=(1, 1, 1)), depth=4, tile=(2, 2, 3))
CASES = {
    "depthwise": DEPTHWISE,
    "depthwise, stride 2": replace(DEPTHWISE, window=HALF),
    "depthwise, stride 3": replace(DEPTHWISE, window=replace(SAME, strides=(1, 3, 3))),
    "depthwise, dilation 2": replace(DEPTHWISE, window=Window.of((3, 3), (1, 1), (2, 2), (2, 2))),
    "depthwise 5 x 5": replace(DEPTHWISE, window=Window.of((5, 5), padding=(2, 2)), tile=(4, 4)),
    "depthwise, valid": replace(DEPTHWISE, window=Window.of((3, 3))),
    "depthwise, relu6": replace(DEPTHWISE, activation="relu6"),
    "depthwise, residual, relu": replace(DEPTHWISE, residual=True, activation="relu"),
    "depthwise from planes": replace(DEPTHWISE, source_high=None),
    "depthwise, other grid": replace(DEPTHWISE, source_high=16, target_high=2),
    "depthwise, 8 lanes": replace(DEPTHWISE, lanes=8, source_high=2, target_high=2),
    "depthwise, 4 lanes": replace(DEPTHWISE, lanes=4, source_high=2, target_high=2),
    "depthwise, 7 x 7 image": replace(DEPTHWISE, height=7, width=7, target_high=2),
    "max": Case("max", Window.of((2, 2), (2, 2)), 14, 14),
    "max, padded": Case("max", HALF),
    "max, padded, 8 lanes": Case("max", HALF, lanes=8, source_high=1, target_high=4),
    "max, padded, from planes": Case("max", HALF, source_high=None),
    "max, dilated": Case("max", Window.of((3, 3), (1, 1), (1, 1), (2, 2))),
    "average": Case("average", Window.of((2, 2), (2, 2)), 14, 14),
    "average, padded": Case("average", HALF),
    "average of 7": Case("average", Window.of((7, 7), (7, 7)), 14, 14, target_high=2, tile=(1, 1)),
    "volume, depthwise": replace(VOLUME, kind="depthwise", residual=True, activation="relu"),
    "volume, depthwise, strides": replace(
        VOLUME, kind="depthwise", window=Window((3, 3, 3), (2, 1, 2), (1, 1, 0), (1, 2, 1))
    ),
    "volume, depthwise, 4 lanes": replace(VOLUME, kind="depthwise", lanes=4, source_high=2, target_high=1),
    "volume, max": VOLUME,
    "volume, max, halved": replace(VOLUME, window=Window.of((2, 2, 2), (2, 2, 2)), height=14),
    "volume, max, halved, even slices": replace(
        VOLUME, window=Window.of((2, 2, 2), (2, 2, 2)), height=16, width=16, depth=5
    ),
    "volume, max, padded in slices": replace(VOLUME, window=Window.of((2, 2, 2), (2, 2, 2), (0, 1, 1))),
    "volume, max, half": replace(VOLUME, window=Window.of((3, 3, 3), (2, 2, 2), (1, 1, 1))),
    "volume, max of slices from rows": replace(
        VOLUME, window=Window.of((1, 3, 3), (1, 2, 2), (0, 1, 1)), source_high=None
    ),
    "volume, average": replace(VOLUME, kind="average"),
    "signal, max": Case(
        "max", Window.of((3,), (2,), (1,)), height=1, width=40, source_high=1, target_high=1
    ),
    "lift of a volume": replace(VOLUME, window=Window.of((1,)), source_high=None),
    "lift": Case("max", Window.of((1, 1)), source_high=None),
    "lift, 4 lanes": Case("max", Window.of((1, 1)), source_high=None, lanes=4, target_high=1),
    "change of grid": Case("max", Window.of((1, 1)), source_high=1, target_high=8),
}
ARM = (
    "depthwise, 4 lanes", "depthwise, residual, relu", "depthwise, relu6", "depthwise, other grid",
    "max, padded", "max, padded, from planes", "lift", "volume, depthwise",
)
CASES |= {f"{name}, for Arm": replace(CASES[name], core="cortex-a76") for name in ARM}
HALVES = (
    "depthwise, 8 lanes", "depthwise, residual, relu", "depthwise from planes", "max, padded, 8 lanes",
    "average, padded", "lift", "change of grid", "volume, max, halved",
)
CASES |= {f"{name}, in f16": replace(CASES[name], core="cortex-a76", dtype="float16") for name in HALVES}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kernel_is_pytorchs(case: Case) -> None:
    run = Run(case)
    close(run.whole(), run.expected, 1e-5 if case.dtype == "float32" else 4e-3)


@pytest.mark.parametrize("name", ["depthwise, residual, relu", "max, padded"])
def test_units_in_any_pieces_give_the_same_bits(name: str) -> None:
    run = Run(CASES[name])
    whole = run.whole()
    run.output[:] = np.nan
    for kernel, units in run.kernels:
        for begin in reversed(range(0, units, 3)):
            kernel.run(begin, min(begin + 3, units))
    np.testing.assert_array_equal(run.got(), whole)


def test_a_unit_is_one_channel_of_one_image() -> None:
    run = Run(CASES["depthwise"])
    run.kernels[0][0].run(7, 8)
    stored = ~np.isnan(run.output).all(axis=3)
    image, channel, _ = np.nonzero(stored)
    assert set(zip(image.tolist(), channel.tolist(), strict=True)) == {divmod(7, 5)}


def test_max_keeps_nan_out_of_lanes_without_pixels_only() -> None:
    """A NaN pixel reaches exactly the windows that hold it."""
    run = Run(CASES["lift"])
    run.kernels[0][0].arrays[0][0, 0, 0] = np.nan
    got = run.whole()
    assert np.isnan(got[0, 0, 0, 0, 0])
    assert np.isnan(got).sum() == 1


GRIDS = {
    "13 x 9": LaneGrid(4, 4, 13, 9),
    "8 lanes": LaneGrid(2, 4, 8, 8),
    "4 lanes": LaneGrid(1, 4, 3, 1),
    "volume": LaneGrid(4, 4, 7, 7, 3),
}


@pytest.mark.parametrize("fill", [0.0, np.nan, np.inf])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_global_average(grid: LaneGrid, fill: float) -> None:
    """Lanes without a pixel may hold anything."""
    x = random(2, 3, *grid.image)
    share = lift(np.full((1, 1, *grid.image), 1 / x[0, 0].size, np.float32), grid)[0, 0, : grid.used_lines]
    held = lift(np.ones(x.shape, np.float32), grid) > 0
    output = unset(2, 3, 1)
    kernel = Compiled(
        lambda *to: emit_global_average(*to, grid, 3),
        [aligned(np.where(held, lift(x, grid), np.float32(fill))), output, share],
    )
    kernel.run(0, 5)
    assert np.isnan(output[1, 2, 0]), "units are planes"
    kernel.run(5, 6)
    close(output[..., 0], x.mean(axis=(2, 3, 4), dtype=np.float64))


def test_global_average_of_f16_is_f32() -> None:
    grid = GRIDS["8 lanes"]
    x = random(2, 3, *grid.image).astype(np.float16)
    share = lift(np.full((1, 1, *grid.image), 1 / x[0, 0].size, np.float32), grid)[0, 0, : grid.used_lines]
    output = unset(2, 3, 1)
    Compiled(lambda *to: emit_global_average(*to, grid, 3),
             [held_as("float16", poisoned(x, grid)), output, share]).run(0, 6)
    close(output[..., 0], x.mean(axis=(2, 3, 4), dtype=np.float64))


def test_nothing_before_its_arrays_is_touched() -> None:
    """Behind them neither: all cases run on arrays that end at a page without access."""
    with starting_at_pages():
        for case in ("depthwise, residual, relu", "depthwise from planes", "max, padded", "average, padded",
                     "lift"):
            run = Run(CASES[case])
            close(run.whole(), run.expected)
