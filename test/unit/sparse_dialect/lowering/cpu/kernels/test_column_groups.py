"""The kernel of shared columns, compiled and run against PyTorch: groups, units, sub-tiles, any geometry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import pytest
from espalier.sparse_dialect.geometry.layouts import LaneGrid, Plain, Three
from espalier.sparse_dialect.geometry.window import Window
from espalier.sparse_dialect.lowering.cpu.kernels.column_groups import (
    ColumnsKernel,
    columns_tables,
    emit_columns_kernel,
    unit_visits,
)
from espalier.sparse_dialect.lowering.cpu.plan.conv_plan import ConvPlan, plan_conv
from espalier.sparse_dialect.schemes import Bcr
from espalier.sparse_dialect.schemes.shared_columns import group_rows, matrix_of
from espalier.sparse_dialect.storage import ColumnGroups
from espalier.sparse_dialect.storage.chunks import thread_chunks
from espalier.sparse_dialect.storage.column_groups import ungrouped
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.conv_harness import POINT, SAME, ConvRun
from support.conv_harness import Case as ConvCase
from support.kernel_harness import Emit, close, random, starting_at_pages
from support.tiers import examples


@dataclass(frozen=True)
class Case(ConvCase):
    """``size`` filters share columns, ``unit`` channels an index byte; ``sub``: lines of a sub-tile."""

    size: int = 4
    unit: int = 1
    sub: Three = (1, 1, 3)
    passes: int = 1
    density: float = 0.4


class Run(ConvRun):
    """A case on weights whose rows share columns; the first group keeps nothing."""

    kernel: ColumnsKernel

    def __init__(self, case: Case, seed: int = 0) -> None:
        self.case = case
        super().__init__(case, seed)

    def pack(self, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
        case, block = self.case, self.case.block or self.case.channels
        weight = shared_weight(case, seed)
        order = group_rows(matrix_of(ungrouped(weight, case.groups)), case.size).ravel()
        storage = ColumnGroups(case.size, case.unit, block, case.groups)
        packed = storage.pack(weight, Bcr(case.size, 1), order)
        assert np.array_equal(packed.unpack(), weight)
        return weight, list(packed.arrays.values())

    def make_kernel(self, common: dict[str, Any]) -> ColumnsKernel:
        case = self.case
        groups = len(group_rows(matrix_of(ungrouped(shared_weight(case, 2), case.groups)), case.size))
        return ColumnsKernel(**common, group_count=groups, size=case.size, unit=case.unit, sub_tile=case.sub,
                             passes=case.passes, chunks=thread_chunks(groups))

    def emitter(self, plan: ConvPlan) -> Emit:
        return lambda *to: emit_columns_kernel(*to[:2], self.kernel, plan, *to[2:])

    def tables(self, plan: ConvPlan) -> list[np.ndarray]:
        return columns_tables(self.kernel, plan)


def shared_weight(case: Case, seed: int) -> np.ndarray:
    """A weight [F, C / groups, *kernel] whose filters keep units in groups of ``size``; the first none."""
    channels, places = case.channels // case.groups, prod(case.window.kernel)
    strips = -(-case.filters // case.size)
    kept = np.random.default_rng(seed).random((strips, -(-channels // case.unit), 1, places)) < case.density
    kept[0] = False
    kept = kept.repeat(case.unit, axis=2).reshape(strips, -1, places)[:, :channels].repeat(case.size, axis=0)
    weight = random(case.filters, channels, *case.window.kernel, seed=seed)
    return weight * kept[: case.filters].reshape(weight.shape)


POINTWISE = Case("bcr", POINT, padding_high=(0, 0), tile=(1, 6))
VOLUME = Case("kgs", Window.of((3, 3, 3), padding=(1, 1, 1)), depth=4, padding_high=(1, 1, 1),
              tile=(2, 2, 3), filters=16, size=8, unit=4, sub=(1, 2, 2))
CASES = {
    "groups of 4": Case("bcr"),
    "groups of 8, units of 4": Case("kgs", size=8, unit=4, filters=16),
    "groups of 3 that do not divide": Case("bcr", size=3, filters=11),
    "more filters a group than there are": Case("bcr", size=8, filters=5),
    "single filters": Case("bcr", size=1, filters=5),
    "nothing is kept": Case("bcr", density=0),
    "everything is kept": Case("bcr", density=1, unit=4),
    "one sub-tile a tile": Case("bcr", tile=(2, 2), sub=(1, 2, 2)),
    "sub-tiles of several shapes": Case("bcr", tile=(3, 3), sub=(1, 2, 2)),
    "in passes": Case("kgs", size=8, filters=16, passes=4),
    "batch": Case("bcr", batch=3),
    "odd image": Case("bcr", height=13, width=11),
    "stride 2": Case("bcr", replace(SAME, strides=(1, 2, 2)), height=16, width=14),
    "stride 3, dilation 2": Case("bcr", Window.of((3, 3), (3, 3), (2, 2), (2, 2)), height=17, width=20),
    "stride beyond the kernel": Case("bcr", Window.of((2, 2), (5, 3)), padding_high=(0, 0), height=20),
    "from planes": Case("bcr", channels=3, source_high=None),
    "input on another grid": Case("bcr", source_high=1, target_high=8),
    "4 lanes": Case("bcr", lanes=4, source_high=2, target_high=1),
    "epilogue": Case("bcr", residual=True, activation="relu6"),
    "fused pool": Case("bcr", height=16, width=16, pool=(1, 2, 2), tile=(2, 4), sub=(1, 2, 2)),
    "fused pool in passes": Case("kgs", size=8, unit=2, height=16, width=16, pool=(1, 2, 2),
                                 tile=(2, 4), sub=(1, 2, 2), passes=2, activation="relu", batch=2),
    "channel blocks": Case("bcr", block=2),
    "channel blocks of units, epilogue": Case("kgs", size=8, unit=4, channels=16, block=4,
                                              residual=True, activation="relu", batch=2),
    "channel blocks, pool": Case("bcr", block=4, height=16, width=16, pool=(1, 2, 2), tile=(2, 2),
                                 sub=(1, 2, 2)),
    "a repeated filter in another pass": Case("bcr", filters=7, size=3, passes=3, block=2),
    "gaps over 255": Case("bcr", POINT, padding_high=(0, 0), channels=700, density=0.002, height=4, width=8,
                          tile=(1, 2)),
    "1 x 1 reads its input in place": POINTWISE,
    "1 x 1 in blocks, batch": replace(POINTWISE, block=2, residual=True, batch=2),
    "1 x 1, stride 2": replace(POINTWISE, window=Window.of((1, 1), (2, 2)), tile=(2, 2)),
    "grouped": Case("bcr", groups=2, size=2),
    "grouped, units": Case("kgs", groups=2, size=4, unit=2, channels=16, filters=12),
    "loads as they come": Case("bcr", level="none"),
    "volume": VOLUME,
    "volume in blocks, batch, epilogue": replace(VOLUME, block=4, batch=2, residual=True, activation="relu"),
    "volume, stride 2": replace(VOLUME, window=Window.of((3, 3, 3), (2, 2, 2), (1, 1, 1)), depth=5),
    "volume, fused pool": replace(VOLUME, height=16, width=16, pool=(2, 2, 2), tile=(2, 2, 2), sub=(2, 2, 2)),
    "volume, 1 x 1 x 1": replace(VOLUME, window=Window.of((1, 1, 1)), padding_high=(0, 0, 0), tile=(1, 1, 5)),
}
ARM = ("groups of 4", "groups of 8, units of 4", "groups of 3 that do not divide", "4 lanes", "epilogue",
       "fused pool in passes", "channel blocks of units, epilogue", "loads as they come", "volume")
CASES |= {f"{name}, for Arm": replace(CASES[name], core="cortex-a76") for name in ARM}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kernel_is_pytorchs_convolution(case: Case) -> None:
    Run(case).check()


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any geometry and any way to cut it."""
    def sides(low: int, high: int) -> Three:
        return tuple(draw(st.integers(low, high)) for _ in range(3))  # type: ignore[return-value]

    volume = draw(st.booleans())
    kernel, strides, dilations, padding, padding_high, tile, sub = (
        sides(*bounds) for bounds in ((1, 3), (1, 3), (1, 2), (0, 2), (0, 2), (1, 4), (1, 3)))
    if not volume:
        kernel, strides, dilations = ((1, *side[1:]) for side in (kernel, strides, dilations))
        padding, padding_high = ((0, *side[1:]) for side in (padding, padding_high))
    unit, units = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    block = draw(st.sampled_from([n for n in range(1, units + 1) if units % n == 0])) * unit
    passes, part = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    lanes = draw(st.sampled_from([4, 8]))
    grids = [high for high in (1, 2, 4, 8) if lanes % high == 0]
    case = Case("any", Window(kernel, strides, padding, dilations), units * unit, draw(st.integers(1, 14)),
                draw(st.integers(1, 12)), draw(st.integers(1, 12)), lanes,
                draw(st.sampled_from([None, *grids])), draw(st.sampled_from(grids)), tile, padding_high,
                draw(st.integers(1, 2)), block, activation=draw(st.sampled_from(["none", "relu"])),
                residual=draw(st.booleans()), depth=draw(st.integers(1, 4)) if volume else 1,
                size=passes * part, unit=unit, sub=sub, passes=passes,
                density=draw(st.sampled_from([0.1, 0.6])))
    assume(min(case.output) > 0)
    return case


@pytest.mark.slow
@settings(max_examples=examples(150), deadline=None)
@given(cases())
def test_any_geometry(case: Case) -> None:
    Run(case).check()


@settings(max_examples=examples(12), deadline=None, derandomize=True)
@given(cases())
def test_some_geometries(case: Case) -> None:
    Run(case).check()


@pytest.mark.parametrize("name", ["channel blocks of units, epilogue", "fused pool in passes", "volume"])
def test_units_in_any_pieces_give_the_same_bits(name: str) -> None:
    """Threads get ranges of units; ranges may start and end inside an item, in any order."""
    run = Run(CASES[name])
    whole = run.whole().copy()
    close(whole, run.expected)
    generator = np.random.default_rng(0)
    run.output[:] = np.nan
    for at, kernel in enumerate(run.compiled):
        edges = np.unique([0, *generator.integers(0, run.units(at) + 1, 6), run.units(at)])
        for piece in generator.permutation(len(edges) - 1):
            kernel.run(int(edges[piece]), int(edges[piece + 1]))
    np.testing.assert_array_equal(run.got(), whole)


def test_slices_that_read_only_padding_are_skipped() -> None:
    """An image of depth 1 under kernels of depth 3: what the outer slices hold does not matter."""
    run = Run(replace(VOLUME, depth=1, block=4, residual=True))
    for kernel in run.compiled:
        start, _, _, weight, before = kernel.arrays[-5:]
        assert before[1::3].any()  # middle slices start behind other units
        edges = start[:-1].reshape(-1, 3)
        for low, middle, high, end in zip(*edges.T, start[3::3], strict=True):
            weight[low:middle] = weight[high:end] = np.nan
    close(run.whole(), run.expected)


def test_visits_count_the_units_of_the_slices_inside() -> None:
    """A volume of 4 slices, one slice a sub-tile: the first and the last leave out a slice of the kernel."""
    run = Run(replace(VOLUME, tile=(2, 3, 3), sub=(1, 3, 3)))
    (plan,), start = run.plans, run.compiled[0].arrays[-5]
    first, middle, last = np.diff(start).reshape(-1, 3).sum(axis=0)
    assert len(plan.items) == 2
    assert unit_visits(run.kernel, plan, start) == [3 * first + 4 * middle + 3 * last]


@pytest.mark.slow
def test_levels_of_load_elimination_give_the_same_bits_and_share_loads() -> None:
    """A column's line is loaded once for the group's filters; kernels alone share nothing here."""
    levels = ("none", "kernel", "filter")
    runs = {level: Run(Case("kgs", size=8, unit=4, level=level)) for level in levels}
    whole = {level: run.whole().copy() for level, run in runs.items()}
    np.testing.assert_array_equal(whole["none"], whole["filter"])
    before = runs["filter"].compiled[0].loads["loads before"]
    after = {level: run.compiled[0].loads["loads after"] for level, run in runs.items()}
    assert after["none"] == after["kernel"] == before
    assert after["filter"] < before / 5  # the loops' loads by 8; packing loads each line once anyway


def test_a_region_is_evenly_spaced_whatever_stride_and_dilation() -> None:
    """Columns are addressed by sums: the plan adds lines where the strided taps would leave uneven gaps."""
    window = Window.of((3, 3), (3, 3), (0, 0), (2, 2))
    assert window.reads((1, 1, 2))[2] == list(range(8))
    assert Window.of((3, 3), (2, 2)).reads((1, 1, 2))[2] == list(range(5))
    assert Window.of((1, 1), (2, 2)).reads((1, 1, 3))[2] == [0, 2, 4]
    source, grid = Plain(9, 12), LaneGrid(1, 4, 2, 3)
    plan = plan_conv(source, grid, window, (1, 2, 1), [(0, 0, 0)], 1)
    at = plan.line_read((0, 1, 0), (0, 0, 0))
    assert all(plan.line_read((0, 1, 0), tap) == at + plan.line_of[tap] for tap in window.taps)


def test_nothing_before_its_arrays_is_touched() -> None:
    """Behind them neither: all cases run on arrays that end at a page without access."""
    with starting_at_pages():
        for case in ("fused pool in passes", "volume"):
            Run(CASES[case]).check()
