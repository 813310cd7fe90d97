"""Convolution plans: what a numpy machine computes from the tables alone is PyTorch's conv2d.

Lanes that hold no pixel are NaN in the input: a plan that lets one reach a pixel of the output fails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from espalier.sparse_dialect.layouts import LaneGrid, Layout, Plain, lift, unlift
from espalier.sparse_dialect.lowering.cpu.conv_plan import (
    ConvPlan,
    Window,
    cut,
    is_flat,
    plan_conv,
    plane_shape,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st


@dataclass(frozen=True)
class Case:
    """A convolution with one channel and one filter, on lanes."""

    height: int
    width: int
    window: Window
    lanes: int = 16
    source_high: int | None = 4  # lanes_high of the input's grid; None: row-major input
    target_high: int = 4
    tile: tuple[int, int] = (2, 3)
    padding_high: tuple[int, int] = (0, 0)
    batch: int = 1
    pooled: bool = False

    @property
    def source(self) -> Layout:
        if self.source_high is None:
            return Plain(self.height, self.width)
        return LaneGrid(self.source_high, self.lanes // self.source_high, self.height, self.width)

    @property
    def output(self) -> tuple[int, int]:
        sizes = [
            (size + low + high - d * (k - 1) - 1) // s + 1
            for size, low, high, d, k, s in zip(
                (self.height, self.width),
                self.window.padding,
                self.padding_high,
                self.window.dilations,
                self.window.kernel,
                self.window.strides,
                strict=True,
            )
        ]
        return sizes[0], sizes[1]

    @property
    def target(self) -> LaneGrid:
        return LaneGrid(self.target_high, self.lanes // self.target_high, *self.output)

    @property
    def stored(self) -> LaneGrid:
        height, width = self.output
        if not self.pooled:
            return self.target
        return LaneGrid(self.target.lanes_high, self.target.lanes_wide, height // 2, width // 2)

    def plans(self) -> list[ConvPlan]:
        """One plan for each tile shape."""
        tiles = cut(plane_shape(self.source, self.target, self.window), self.tile, self.pooled)
        return [
            plan_conv(
                self.source,
                self.target,
                self.window,
                shape,
                origins,
                self.batch,
                self.stored if self.pooled else None,
            )
            for shape, origins in tiles.items()
        ]


def stored_input(x: np.ndarray, source: Layout) -> np.ndarray:
    """[N, H, W] as the flat planes that kernels read, NaN where a lane holds no pixel."""
    if isinstance(source, Plain):
        return x.reshape(len(x), -1)
    holds = lift(np.ones(x.shape, np.float32), source)
    return np.where(holds > 0, lift(x, source), np.nan).reshape(len(x), -1)


def region_lines(plan: ConvPlan, item: np.ndarray, plane: np.ndarray, lanes: int) -> np.ndarray:
    """What the packer makes of an item: [region lines, lanes]."""
    _, source_line, border, _ = item
    if border < 0:
        codes = [source_line + offset for offset in plan.source_offsets]
    else:
        codes = plan.borders[border].tolist()
    lines = []
    for code in codes:
        if code >= 0:
            lines.append(plane[code * lanes : (code + 1) * lanes])
        else:
            places = plan.gathers[-1 - code]
            lines.append(np.where(places >= 0, plane[np.maximum(places, 0)], 0))
    return np.array(lines)


def simulate(case: Case, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The output [N, H', W'], and how often each output line was stored [N, lines]."""
    planes, lanes, stored = stored_input(x, case.source), case.lanes, case.stored
    output = np.full((case.batch, stored.lines, lanes), np.nan, np.float64)
    writes = np.zeros((case.batch, stored.lines), int)
    for plan in case.plans():
        for item in plan.items:
            lines = region_lines(plan, item, planes[item[0]], lanes)
            values = {}
            for row in range(plan.tile[0]):
                for column in range(plan.tile[1]):
                    spot = row * case.window.strides[0], column * case.window.strides[1]
                    values[row, column] = sum(
                        w * lines[plan.line_of[spot[0] + dy, spot[1] + dx]]
                        for w, (dy, dx) in zip(weight.ravel(), case.window.taps, strict=True)
                    )
            if case.pooled:
                values = {
                    (a // 2, b // 2): np.max(
                        [values[a, b], values[a + 1, b], values[a, b + 1], values[a + 1, b + 1]], axis=0
                    )
                    for a, b in values
                    if a % 2 == b % 2 == 0
                }
            for (row, column), value in values.items():
                line = item[3] + row * stored.columns + column
                output[item[0], line] = value
                writes[item[0], line] += 1
    return unlift(output, stored), writes


def check(case: Case) -> None:
    """Every line of the output's grid is stored once, and the pixels are PyTorch's."""
    random = np.random.default_rng(0)
    x = random.standard_normal((case.batch, case.height, case.width))
    weight = random.standard_normal(case.window.kernel)
    got, writes = simulate(case, x, weight)
    (top, left), (bottom, right) = case.window.padding, case.padding_high
    padded = torch.nn.functional.pad(torch.tensor(x)[:, None], (left, right, top, bottom))
    expected = torch.nn.functional.conv2d(
        padded, torch.tensor(weight)[None, None], stride=case.window.strides, dilation=case.window.dilations
    )
    if case.pooled:
        expected = torch.nn.functional.max_pool2d(expected, 2)
    np.testing.assert_allclose(got, expected[:, 0].numpy(), rtol=1e-10, atol=1e-12)
    used = case.stored.rows * case.stored.columns
    assert (writes[:, :used] == 1).all(), "every line is stored once"
    assert (writes[:, used:] == 0).all(), "nothing is stored behind the grid"


SAME = Window((3, 3), padding=(1, 1))

CASES = {
    "same": Case(14, 14, SAME, padding_high=(1, 1)),
    "odd sizes": Case(13, 9, SAME, padding_high=(1, 1)),
    "valid": Case(11, 12, Window((3, 3))),
    "stride 2": Case(28, 26, Window((3, 3), (2, 2), (1, 1)), padding_high=(1, 1)),
    "stride 2, one-sided padding": Case(28, 28, Window((3, 3), (2, 2), (0, 0)), padding_high=(1, 1)),
    "stride 3": Case(20, 17, Window((3, 3), (3, 3), (1, 1)), padding_high=(1, 1)),
    "unequal strides": Case(20, 17, Window((3, 3), (1, 2), (1, 0)), padding_high=(0, 1)),
    "dilation": Case(20, 20, Window((3, 3), padding=(2, 2), dilations=(2, 2)), padding_high=(2, 2)),
    "padding 3": Case(10, 10, Window((7, 7), (2, 2), (3, 3)), padding_high=(3, 3)),
    "padding larger than a tile": Case(5, 5, Window((3, 3), padding=(3, 3)), padding_high=(3, 3)),
    "row-major input": Case(15, 18, SAME, source_high=None, padding_high=(1, 1)),
    "row-major input, stride 2": Case(
        30, 30, Window((7, 7), (2, 2), (3, 3)), source_high=None, padding_high=(3, 3)
    ),
    "other grid": Case(20, 20, SAME, source_high=16, target_high=2, padding_high=(1, 1)),
    "batch": Case(14, 14, SAME, padding_high=(1, 1), batch=3),
    "kernel 1": Case(14, 14, Window((1, 1)), tile=(1, 7)),
    "kernel 1, stride 2": Case(14, 15, Window((1, 1), (2, 2)), target_high=2),
    "kernel 1, other grid": Case(14, 14, Window((1, 1)), source_high=2),
    "kernel 1, padded": Case(9, 9, Window((1, 1), padding=(1, 1)), padding_high=(1, 1)),
    "kernel 1 x 3": Case(12, 12, Window((1, 3), padding=(0, 1)), padding_high=(0, 1)),
    "8 lanes": Case(13, 13, SAME, lanes=8, source_high=2, target_high=4, padding_high=(1, 1)),
    "4 lanes": Case(13, 13, SAME, lanes=4, source_high=1, target_high=2, padding_high=(1, 1)),
    "pool": Case(16, 24, SAME, padding_high=(1, 1), pooled=True),
    "pool of a batch from planes": Case(
        16, 16, SAME, source_high=None, padding_high=(1, 1), pooled=True, batch=2
    ),
    "one pixel": Case(1, 1, SAME, padding_high=(1, 1), tile=(1, 1)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_plan_computes_the_convolution(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("tile", [(1, 1), (1, 4), (4, 1), (3, 2), (9, 9)])
def test_any_tile_covers_every_line_once(tile: tuple[int, int]) -> None:
    check(replace(CASES["odd sizes"], tile=tile))
    check(replace(CASES["stride 2"], tile=tile))


def powers(top: int) -> st.SearchStrategy[int]:
    return st.integers(0, top).map(lambda power: 2**power)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.tuples(st.integers(0, 3), st.integers(0, 3))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_geometry(data: st.DataObject) -> None:
    top = data.draw(st.integers(2, 4))
    window = Window(data.draw(pairs), data.draw(pairs), data.draw(paddings), data.draw(pairs))
    case = Case(
        data.draw(st.integers(1, 14)),
        data.draw(st.integers(1, 14)),
        window,
        2**top,
        data.draw(st.none() | powers(top)),
        data.draw(powers(top)),
        data.draw(pairs),
        data.draw(paddings),
        data.draw(st.integers(1, 2)),
    )
    assume(min(case.output) >= 1)
    check(case)


def test_interior_tiles_are_plain_copies() -> None:
    """Away from the borders a region is a rectangle of stored lines, at borders it is gathered."""
    plans = replace(CASES["same"], height=56, width=56, tile=(3, 3)).plans()
    assert any(plan.interior_tiles for plan in plans)
    assert any(plan.border_tiles for plan in plans)


def test_flat_plans_read_the_input_itself() -> None:
    case = CASES["kernel 1"]
    assert is_flat(case.source, case.target, case.window)
    assert all(plan.direct and not plan.border_tiles for plan in case.plans())
    for name in ("kernel 1, stride 2", "kernel 1, other grid", "kernel 1, padded", "same"):
        case = CASES[name]
        assert not is_flat(case.source, case.target, case.window), name
        assert not any(plan.direct for plan in case.plans()), name


def test_a_strided_1x1_window_packs_only_what_it_reads() -> None:
    plan = CASES["kernel 1, stride 2"].plans()[0]
    assert len(plan.region) == plan.tile[0] * plan.tile[1]


@given(st.integers(1, 40), st.integers(1, 40), pairs, st.booleans())
def test_cut_is_a_partition_into_few_shapes(
    rows: int, columns: int, tile: tuple[int, int], even: bool
) -> None:
    if even:
        rows, columns, tile = 2 * rows, 2 * columns, (2 * tile[0], 2 * tile[1])
    covered = np.zeros((rows, columns), int)
    tiles = cut((rows, columns), tile, even)
    assert len(tiles) <= 4
    for (height, width), origins in tiles.items():
        assert not even or height % 2 == width % 2 == 0
        assert height <= tile[0]
        assert width <= tile[1]
        for row, column in origins:
            assert not even or row % 2 == column % 2 == 0
            covered[row : row + height, column : column + width] += 1
    assert (covered == 1).all()
