"""Register tiles: what fits each core's registers, and what its costs choose."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest
from espalier.errors import EspalierError
from espalier.sparse_dialect.devices.cores import CORES, Core, core_named
from espalier.sparse_dialect.geometry.layouts import LaneGrid, Three
from espalier.sparse_dialect.geometry.window import Window
from espalier.sparse_dialect.lowering.cpu.kernels.column_groups import ColumnsKernel
from espalier.sparse_dialect.lowering.cpu.kernels.kernel_classes import ConvKernel, KernelClass
from espalier.sparse_dialect.lowering.cpu.plan.tiles import (
    columns_candidates,
    columns_cost,
    tile_candidates,
    tile_cost,
)

SAME, POINT = Window.of((3, 3), padding=(1, 1)), Window.of((1, 1))
PATTERN = tuple(KernelClass(tuple((0, place) for place in places))
                for places in ((0, 1, 3, 4), (1, 2, 4, 5), (3, 4, 6, 7), (1, 3, 4, 5)))
DENSE = (KernelClass(tuple((f, place) for place in range(9) for f in range(4))),)
ONE = (KernelClass(((0, 0),)),)


def kernel(classes: tuple[KernelClass, ...], core: str, pool: int = 1) -> ConvKernel:
    """A layer of 256 channels at 56x56 on the core's lanes; each class once a filter and channel."""
    lanes = 4 if core.startswith("cortex") else 16
    grid = LaneGrid(lanes // 2, 2, 56, 56)
    pooled = LaneGrid(lanes // 2, 2, 56 // pool, 56 // pool) if pool > 1 else None
    group = 1 + max(f for f, _ in classes[0].terms)
    return ConvKernel(source=grid, target=grid, pooled=pooled, channels=256, channel_block=256, filters=256,
                      activation="none", residual=False, group=group, classes=classes, dense=group > 1)


def choose_tile(layer: ConvKernel, window: Window, stored: int, core: Core) -> Three:
    """The tile of least cost."""
    return min(tile_candidates(layer, window, core),
               key=lambda tile: tile_cost(layer, window, stored, tile, core))


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(("classes", "window"), [(PATTERN, SAME), (DENSE, SAME), (ONE, POINT)])
def test_accumulators_weights_and_a_line_fit_the_registers(
        classes: tuple[KernelClass, ...], window: Window, core: str) -> None:
    layer = kernel(classes, core)
    tile = choose_tile(layer, window, 256 * 71, CORES[core])
    terms = len(classes[0].terms)
    weights = -(-terms // 4) if CORES[core].lane_weights else min(terms, 4)
    assert prod(tile) * layer.group + weights < CORES[core].registers


@pytest.mark.parametrize("core", [name for name in CORES if name.startswith("cortex")])
def test_arm_holds_28_accumulators_of_a_pattern(core: str) -> None:
    """One register holds the four weights, and three are left for lines."""
    tile = choose_tile(kernel(PATTERN, core), SAME, 256 * 71, CORES[core])
    assert sorted(tile) == [1, 4, 7]


def test_costs_decide() -> None:
    """Dear lines want the tile that reads the fewest for each multiply: many accumulators, near square."""
    layer = kernel(PATTERN, "avx512")
    core = replace(CORES["avx512"], kernel=0, store=0, pack=0)
    assert min(choose_tile(layer, SAME, 256 * 71, replace(core, line=100))[1:]) >= 3
    few = replace(core, line=100, registers=8)
    assert prod(choose_tile(layer, SAME, 256 * 71, few)) <= 2
    dear_visits = replace(core, line=0, kernel=100)
    assert prod(choose_tile(layer, SAME, 256 * 71, dear_visits)) >= 20


def test_tiles_of_a_fused_pool_hold_whole_windows() -> None:
    for core in CORES:
        _, rows, columns = choose_tile(kernel(PATTERN, core, pool=2), SAME, 256 * 71, CORES[core])
        assert rows % 2 == columns % 2 == 0


def test_shared_columns_take_slices_one_by_one_where_that_skips_padding() -> None:
    """Kernels of depth 3; 7 x 7 lines are cut into parts of 3, 2 and 2, 8 slices into 3, 3 and 2."""
    assert columns_tile(28, padding=1)[0] == (1, 1, 3)
    assert columns_tile(28, padding=0)[0] == (3, 1, 1)


def test_shared_columns_read_long_pieces_of_slices() -> None:
    """Many slices and few lines of each would read the fewest lines, but from a page for every two."""
    _, (depth, rows, columns) = columns_tile(56, padding=1, channels=144)
    assert depth <= 4
    assert rows * columns >= 7


def columns_tile(side: int, padding: int, channels: int = 64) -> tuple[Three, Three]:
    """Sub-tile and tile of 8 groups of 8 filters that share columns, 9 of 10 weights pruned; 8 slices of
    ``side`` x ``side``."""
    source, target = (LaneGrid(4, 4, side, side, depth) for depth in (10 - 2 * padding, 8))
    layer = ColumnsKernel(source=source, target=target, pooled=None, channels=channels, filters=64,
                          channel_block=channels, activation="none", residual=False, group_count=8, size=8,
                          unit=4, sub_tile=(1, 1, 1))
    window = Window.of((3, 1, 1), padding=(padding, 0, 0))
    units, core = channels // 4 * 3 * 8 // 10, CORES["avx512"]
    part, _, tile = min(columns_candidates(layer, window, core),
                        key=lambda choice: columns_cost(layer, window, units, choice, core))
    return part, tile


def test_an_unknown_core_is_an_error() -> None:
    with pytest.raises(EspalierError, match=r"unknown core 'z80': .*known are avx512, .*cortex-x1"):
        core_named("z80")
