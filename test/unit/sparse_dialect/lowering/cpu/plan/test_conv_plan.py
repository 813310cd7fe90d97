"""Convolution plans: what a numpy machine computes from the tables alone is PyTorch's conv3d.

Images are volumes of depth 1.

Lanes that hold no pixel are NaN in the input: a plan that lets one reach a pixel of the output fails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
import pytest
import torch
from espalier.sparse_dialect.geometry.layouts import LaneGrid, Layout, Plain, Three, lift, three, unlift
from espalier.sparse_dialect.geometry.window import ONES, Window
from espalier.sparse_dialect.lowering.cpu.plan.border_tables import MOST_RUNS, run_lengths
from espalier.sparse_dialect.lowering.cpu.plan.conv_plan import (
    ConvPlan,
    cut,
    is_flat,
    plan_conv,
    plane_shape,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.tiers import examples


@dataclass(frozen=True)
class Case:
    """A convolution with one channel and one filter, on lanes; ``pool``: the window of a fused max pool."""

    height: int
    width: int
    window: Window
    lanes: int = 16
    source_high: int | None = 4  # lanes_high of the input's grid; None: row-major input
    target_high: int = 4
    tile: tuple[int, ...] = (2, 3)
    padding_high: tuple[int, ...] = (0, 0)
    batch: int = 1
    pool: Three = ONES
    depth: int = 1

    @property
    def source(self) -> Layout:
        if self.source_high is None:
            return Plain(self.height, self.width, self.depth)
        wide = self.lanes // self.source_high
        return LaneGrid(self.source_high, wide, self.height, self.width, self.depth)

    @property
    def output(self) -> list[int]:
        return [
            (size + low + high - d * (k - 1) - 1) // s + 1
            for size, low, high, d, k, s in zip(
                (self.depth, self.height, self.width),
                self.window.padding,
                three(self.padding_high, fill=0),
                self.window.dilations,
                self.window.kernel,
                self.window.strides,
                strict=True,
            )
        ]

    @property
    def target(self) -> LaneGrid:
        return LaneGrid.of(self.target_high, self.lanes // self.target_high, self.output)

    @property
    def stored(self) -> LaneGrid:
        return self.target.over([size // part for size, part in zip(self.output, self.pool, strict=True)])

    def plans(self) -> list[ConvPlan]:
        """One plan for each tile shape."""
        pooled = self.stored if self.pool != ONES else None
        shape = plane_shape(self.source, self.target, self.window, pooled)
        return [
            plan_conv(self.source, self.target, self.window, tile, origins, self.batch, pooled)
            for tile, origins in cut(shape, three(self.tile), self.pool).items()
        ]


def stored_input(x: np.ndarray, source: Layout) -> np.ndarray:
    """[N, D, H, W] as the flat channels that kernels read, NaN where a lane holds no pixel."""
    if isinstance(source, Plain):
        return x.reshape(len(x), -1)
    channel = x[:, None]
    holds = lift(np.ones(channel.shape, np.float32), source)
    return np.where(holds > 0, lift(channel, source), np.nan).reshape(len(x), -1)


def region_lines(plan: ConvPlan, item: np.ndarray, plane: np.ndarray, lanes: int) -> np.ndarray:
    """What the packer makes of an item: [region lines, lanes]."""
    _, source_line, border, *_ = item
    if border < 0:
        codes = [source_line + offset for offset in plan.source_offsets]
    else:
        codes = []
        for code, length in plan.borders[border].tolist():
            codes += range(code, code + length) if code >= 0 else [code]
        assert len(codes) == len(plan.region), "every line is copied once, or gathered"
    lines = []
    for code in codes:
        if code >= 0:
            lines.append(plane[code * lanes : (code + 1) * lanes])
        else:
            places = plan.gathers[-1 - code]
            lines.append(np.where(places >= 0, plane[np.maximum(places, 0)], 0))
    return np.array(lines)


def simulate(case: Case, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The output [N, D', H', W'], and how often each output line was stored [N, lines]."""
    planes, lanes, stored = stored_input(x, case.source), case.lanes, case.stored
    output = np.full((case.batch, stored.lines, lanes), np.nan, np.float64)
    writes = np.zeros((case.batch, stored.lines), int)
    for plan in case.plans():
        for item in plan.items:
            lines = region_lines(plan, item, planes[item[0]], lanes)
            values: dict[int, np.ndarray] = {}
            for accumulator in plan.accumulators:
                value = sum(
                    w * lines[plan.line_read(accumulator, tap)]
                    for w, tap in zip(weight.ravel(), case.window.taps, strict=True)
                )
                spot = (a // part for a, part in zip(accumulator, case.pool, strict=True))
                line = item[3] + stored.line(*spot)
                values[line] = np.maximum(values[line], value) if line in values else value
            for line, value in values.items():
                output[item[0], line] = value
                writes[item[0], line] += 1
    return unlift(output[:, None], stored)[:, 0], writes


def check(case: Case) -> None:
    """Every line of the output's grid is stored once, and the pixels are PyTorch's."""
    random = np.random.default_rng(0)
    x = random.standard_normal((case.batch, case.depth, case.height, case.width))
    weight = random.standard_normal(case.window.kernel)
    got, writes = simulate(case, x, weight)
    sides = zip(case.window.padding, three(case.padding_high, fill=0), strict=True)
    around = [n for side in reversed(list(sides)) for n in side]
    padded = torch.nn.functional.pad(torch.tensor(x)[:, None], around)
    expected = torch.nn.functional.conv3d(
        padded, torch.tensor(weight)[None, None], stride=case.window.strides, dilation=case.window.dilations
    )
    expected = torch.nn.functional.max_pool3d(expected, case.pool)[:, 0].numpy()
    np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=1e-10, atol=1e-12)
    used = np.zeros(case.stored.lines, bool)
    used.reshape(case.stored.depth, -1)[:, : case.stored.rows * case.stored.columns] = True
    if not case.plans()[0].direct:  # a run of lines passes over those between slices
        assert (writes[:, ~used] == 0).all(), "nothing is stored behind a slice"
    assert (writes[:, used] == 1).all(), "every line is stored once"


SAME = Window.of((3, 3), padding=(1, 1))

VOLUME = Case(
    14, 14, Window.of((3, 3, 3), padding=(1, 1, 1)), depth=4, padding_high=(1, 1, 1), tile=(2, 2, 3)
)
CASES = {
    "same": Case(14, 14, SAME, padding_high=(1, 1)),
    "odd sizes": Case(13, 9, SAME, padding_high=(1, 1)),
    "valid": Case(11, 12, Window.of((3, 3))),
    "stride 2": Case(28, 26, Window.of((3, 3), (2, 2), (1, 1)), padding_high=(1, 1)),
    "stride 2, one-sided padding": Case(28, 28, Window.of((3, 3), (2, 2), (0, 0)), padding_high=(1, 1)),
    "stride 3": Case(20, 17, Window.of((3, 3), (3, 3), (1, 1)), padding_high=(1, 1)),
    "unequal strides": Case(20, 17, Window.of((3, 3), (1, 2), (1, 0)), padding_high=(0, 1)),
    "dilation": Case(20, 20, Window.of((3, 3), padding=(2, 2), dilations=(2, 2)), padding_high=(2, 2)),
    "padding 3": Case(10, 10, Window.of((7, 7), (2, 2), (3, 3)), padding_high=(3, 3)),
    "padding larger than a tile": Case(5, 5, Window.of((3, 3), padding=(3, 3)), padding_high=(3, 3)),
    "row-major input": Case(15, 18, SAME, source_high=None, padding_high=(1, 1)),
    "row-major input, stride 2": Case(
        30, 30, Window.of((7, 7), (2, 2), (3, 3)), source_high=None, padding_high=(3, 3)
    ),
    "other grid": Case(20, 20, SAME, source_high=16, target_high=2, padding_high=(1, 1)),
    "batch": Case(14, 14, SAME, padding_high=(1, 1), batch=3),
    "kernel 1": Case(14, 14, Window.of((1, 1)), tile=(1, 7)),
    "kernel 1, stride 2": Case(14, 15, Window.of((1, 1), (2, 2)), target_high=2),
    "kernel 1, other grid": Case(14, 14, Window.of((1, 1)), source_high=2),
    "kernel 1, padded": Case(9, 9, Window.of((1, 1), padding=(1, 1)), padding_high=(1, 1)),
    "kernel 1 x 3": Case(12, 12, Window.of((1, 3), padding=(0, 1)), padding_high=(0, 1)),
    "8 lanes": Case(13, 13, SAME, lanes=8, source_high=2, target_high=4, padding_high=(1, 1)),
    "4 lanes": Case(13, 13, SAME, lanes=4, source_high=1, target_high=2, padding_high=(1, 1)),
    "pool": Case(16, 24, SAME, padding_high=(1, 1), pool=(1, 2, 2)),
    "pool of a batch from planes": Case(
        16, 16, SAME, source_high=None, padding_high=(1, 1), pool=(1, 2, 2), batch=2
    ),
    "one pixel": Case(1, 1, SAME, padding_high=(1, 1), tile=(1, 1)),
    "kernel 1, pool": Case(16, 16, Window.of((1, 1)), pool=(1, 2, 2)),
    "signal": Case(1, 37, Window.of((5,), (2,), (2,)), source_high=1, target_high=1, padding_high=(2,)),
    "signal, four rows of lanes": Case(1, 37, Window.of((3,), padding=(1,)), padding_high=(1,)),
    "volume": VOLUME,
    "volume, odd sizes": replace(VOLUME, depth=3, height=13, width=9),
    "volume, valid": Case(9, 9, Window.of((3, 3, 3)), depth=4, tile=(1, 2, 3)),
    "volume, stride 2": replace(VOLUME, window=Window.of((3, 3, 3), (2, 2, 2), (1, 1, 1))),
    "volume, unequal": Case(
        14, 9, Window.of((3, 1, 5), (1, 3, 2), (0, 0, 2), (2, 1, 1)), depth=7, padding_high=(1, 0, 2)
    ),
    "volume, only along the depth": Case(
        12, 12, Window.of((3, 1, 1), padding=(1, 0, 0)), depth=4, padding_high=(1, 0, 0)
    ),
    "volume, only in slices": Case(
        12, 12, Window.of((1, 3, 3), padding=(0, 1, 1)), depth=3, padding_high=(1, 1)
    ),
    "volume, padding deeper than the clip": Case(
        8, 8, Window.of((3, 3, 3), padding=(3, 1, 1)), depth=1, padding_high=(3, 1, 1)
    ),
    "volume from rows": replace(VOLUME, source_high=None),
    "volume, other grid": replace(VOLUME, source_high=16, target_high=2),
    "volume, kernel 1": Case(12, 12, Window.of((1, 1, 1)), depth=3, tile=(1, 7)),
    "volume, kernel 1, even slices": Case(8, 8, Window.of((1, 1, 1)), depth=3, lanes=8, tile=(1, 5)),
    "volume, pool": replace(VOLUME, height=16, width=16, pool=(2, 2, 2), tile=(2, 2, 4)),
    "volume, pool of slices, batch": replace(VOLUME, height=16, width=16, pool=(1, 2, 2), batch=2),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_plan_computes_the_convolution(case: Case) -> None:
    check(case)


def test_border_tiles_know_where_their_input_lies() -> None:
    """On one grid a tile reads from a row and a column before its own on; no item points outside."""
    case = Case(40, 40, SAME, padding_high=(1, 1))
    for plan in case.plans():
        before = plan.items[:, 3] - case.target.columns - 1
        assert plan.border_tiles
        assert (plan.items[:, 1] == np.maximum(before, 0)).all()


@pytest.mark.parametrize("tile", [(1, 1, 1), (1, 1, 4), (2, 4, 1), (3, 3, 2), (9, 9, 9)])
def test_any_tile_covers_every_line_once(tile: Three) -> None:
    check(replace(CASES["odd sizes"], tile=tile))
    check(replace(CASES["stride 2"], tile=tile))
    check(replace(CASES["volume, odd sizes"], tile=tile))


def powers(top: int) -> st.SearchStrategy[int]:
    return st.integers(0, top).map(lambda power: 2**power)


def numbers(low: int, high: int) -> st.SearchStrategy[Three]:
    return st.tuples(*[st.integers(low, high)] * 3)


@settings(max_examples=examples(100), deadline=None)
@given(st.data())
def test_any_geometry(data: st.DataObject) -> None:
    top = data.draw(st.integers(2, 4))
    volume = data.draw(st.booleans())

    def drawn(low: int, high: int, flat: int) -> Three:
        depth, rows, columns = data.draw(numbers(low, high))
        return (depth if volume else flat), rows, columns

    case = Case(
        data.draw(st.integers(1, 14)),
        data.draw(st.integers(1, 14)),
        Window(drawn(1, 3, 1), drawn(1, 3, 1), drawn(0, 3, 0), drawn(1, 3, 1)),
        2**top,
        data.draw(st.none() | powers(top)),
        data.draw(powers(top)),
        drawn(1, 3, 1),
        drawn(0, 3, 0),
        data.draw(st.integers(1, 2)),
        depth=data.draw(st.integers(1, 4)) if volume else 1,
    )
    assume(min(case.output) >= 1)
    check(case)


@given(st.integers(1, 5), st.integers(1, 4), *[st.integers(1, 3)] * 3, st.integers(0, 4))
def test_slices_inside_hold_those_that_read_the_input(depth: int, count: int, size: int, stride: int,
                                                      dilation: int, padding: int) -> None:
    window = Window((size, 1, 1), (stride, 1, 1), (padding, 0, 0), (dilation, 1, 1))
    for first in range(5):
        inside = {at for at in range(size) for output in range(first, first + count)
                  if 0 <= output * stride + at * dilation - padding < depth}
        found = window.slices_inside(depth, first, count)
        assert inside <= set(found) <= set(range(size))
        assert count > 1 or not inside or inside == set(found)


def test_interior_tiles_are_plain_copies() -> None:
    """Away from the borders a region is a rectangle of stored lines, at borders it is gathered."""
    plans = replace(CASES["same"], height=56, width=56, tile=(3, 3)).plans()
    assert any(plan.interior_tiles for plan in plans)
    assert any(plan.border_tiles for plan in plans)


def test_lines_are_copied_in_runs() -> None:
    codes = [[-1, 4, 5, 6, 7, 8], [9, 10, 12, 13, 14, -2], [-1, -2, -3, -4, -5, -6], [3, -1, 4, 5, -2, -3]]
    runs = [[0, 2, 0, 3, 0, 0], [2, 0, 1, 2, 0, 0], [0] * 6, [1, 0, 1, 1, 0, 0]]
    assert run_lengths(np.array(codes), 3).tolist() == runs  # a row of the region is three lines
    whole = [[0, 5, 0, 0, 0, 0], [2, 0, 3, 0, 0, 0], [0] * 6, [1, 0, 2, 0, 0, 0]]
    assert run_lengths(np.array(codes), 6).tolist() == whole


def test_few_lengths_of_runs_are_code() -> None:
    """Rows of 1 to 5 lines; as many lengths as there may be, and one more."""
    codes = np.array([[*range(length), *[-1] * (6 - length)] for length in range(1, MOST_RUNS + 2)])
    assert run_lengths(codes[:-1], 6).max(axis=1).tolist() == [*range(1, MOST_RUNS + 1)]
    np.testing.assert_array_equal(run_lengths(codes, 6), codes >= 0)


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
    assert len(plan.region) == prod(plan.tile)


def test_a_dilated_window_packs_only_what_it_reads() -> None:
    case = Case(14, 14, Window.of((3, 3), (2, 2), dilations=(2, 2)), tile=(2, 2))
    assert {len(plan.region) for plan in case.plans() if plan.tile == (1, 2, 2)} == {4 * 4}


@settings(deadline=None)
@given(numbers(1, 20), numbers(1, 9), st.sampled_from([ONES, (1, 2, 2), (2, 2, 2)]))
def test_cut_is_a_partition_into_few_shapes(shape: Three, tile: Three, unit: Three) -> None:
    shape, tile = (tuple(np.multiply(sides, unit).tolist()) for sides in (shape, tile))
    covered = np.zeros(shape, int)
    tiles = cut(shape, tile, unit)
    assert len(tiles) <= 8
    for sizes, origins in tiles.items():
        assert not np.mod(sizes, unit).any()
        assert (np.array(sizes) <= tile).all()
        for origin in origins:
            assert not np.mod(origin, unit).any()
            covered[tuple(slice(first, first + size) for first, size in zip(origin, sizes, strict=True))] += 1
    assert (covered == 1).all()
