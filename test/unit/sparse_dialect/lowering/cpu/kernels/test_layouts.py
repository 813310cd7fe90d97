"""Changes of layout, compiled and run: row-major to a lane grid and back."""

from __future__ import annotations

import numpy as np
import pytest
from espalier.sparse_dialect.geometry.layouts import LaneGrid, lift
from espalier.sparse_dialect.lowering.cpu.kernels.layouts import emit_lift, emit_unlift, transposes
from support.kernel_harness import Compiled, aligned, held_as, poisoned, random, starting_at_pages, unset

TRANSPOSED = {
    "2 x 2": LaneGrid(2, 2, 16, 16),
    "columns that reach back": LaneGrid(2, 2, 6, 14),
    "tall lanes": LaneGrid(4, 1, 8, 5),
    "wide lanes": LaneGrid(1, 4, 3, 16),
    "even volume": LaneGrid(2, 2, 8, 8, 3),
    "odd volume": LaneGrid(2, 2, 6, 10, 3),
    "8 lanes that reach back": LaneGrid(4, 2, 8, 22),
    "16 lanes that reach back": LaneGrid(4, 4, 8, 76, 2),
}
GATHERED = {
    "13 x 9": LaneGrid(4, 4, 13, 9),
    "8 lanes": LaneGrid(2, 4, 8, 8),
    "6 lanes": LaneGrid(2, 3, 8, 36),
    "4 lanes": LaneGrid(1, 4, 3, 1),
    "lanes without pixels": LaneGrid(2, 2, 7, 16),
    "few columns": LaneGrid(2, 2, 16, 6),
    "more lanes than rows": LaneGrid(4, 1, 1, 3),
    "volume": LaneGrid(4, 4, 7, 7, 3),
    "volume of even slices": LaneGrid(2, 4, 8, 8, 5),
}


def test_where_pixels_are_transposed() -> None:
    assert all(transposes(grid) for grid in TRANSPOSED.values())
    assert not any(transposes(grid) for grid in GATHERED.values())


@pytest.mark.parametrize("core", ["avx512", "cortex-a76"])
@pytest.mark.parametrize("grid", [*TRANSPOSED.values(), *GATHERED.values()], ids=[*TRANSPOSED, *GATHERED])
def test_unlift(grid: LaneGrid, core: str) -> None:
    x = random(2, 3, *grid.image)
    places = grid.places(*np.indices(grid.image)).reshape(-1).astype(np.int32)
    output = unset(2, 3, places.size)
    kernel = Compiled(
        lambda *to: emit_unlift(*to, grid, 3),
        [poisoned(x, grid), output, *([] if transposes(grid) else [places])],
        core=core,
    )
    kernel.run(0, 4)
    assert np.isnan(output.reshape(6, -1)[4:]).all(), "units are planes"
    kernel.run(4, 6)
    np.testing.assert_array_equal(output.reshape(x.shape), x)


@pytest.mark.parametrize("core", ["avx512", "cortex-a76"])
@pytest.mark.parametrize("grid", TRANSPOSED.values(), ids=TRANSPOSED)
def test_lift(grid: LaneGrid, core: str) -> None:
    x = random(2, 3, *grid.image)
    output = unset(2, 3, grid.lines, grid.lanes)
    kernel = Compiled(
        lambda *to: emit_lift(*to, grid, 3), [aligned(x.reshape(2, 3, -1)), output], core=core
    )
    kernel.run(0, 4)
    assert np.isnan(output.reshape(6, -1)[4:]).all(), "units are planes"
    kernel.run(4, 6)
    where = grid.places(*np.indices(grid.image)).reshape(-1)
    np.testing.assert_array_equal(output.reshape(6, -1)[:, where], lift(x, grid).reshape(6, -1)[:, where])


@pytest.mark.parametrize("core", ["avx512", "cortex-a76"])
@pytest.mark.parametrize("name", ["2 x 2", "8 lanes that reach back", "8 lanes", "4 lanes"])
def test_f16_lanes_and_f32_pixels(name: str, core: str) -> None:
    grid = (TRANSPOSED | GATHERED)[name]
    x = random(2, 3, *grid.image).astype(np.float16)
    lanes = held_as("float16", poisoned(x, grid))
    where = grid.places(*np.indices(grid.image)).reshape(-1)
    pixels, lifted = unset(2, 3, where.size), unset(*lanes.shape, dtype="float16")
    tables = [] if transposes(grid) else [where.astype(np.int32)]
    Compiled(lambda *to: emit_unlift(*to, grid, 3), [lanes, pixels, *tables], core=core).run(0, 6)
    np.testing.assert_array_equal(pixels.reshape(x.shape), x)
    if transposes(grid):
        Compiled(lambda *to: emit_lift(*to, grid, 3), [pixels, lifted], core=core).run(0, 6)
        np.testing.assert_array_equal(lifted.reshape(6, -1)[:, where], lanes.reshape(6, -1)[:, where])


@pytest.mark.slow
def test_nothing_before_its_arrays_is_touched() -> None:
    """Behind them neither: all cases run on arrays that end at a page without access."""
    with starting_at_pages():
        for grid in TRANSPOSED.values():
            test_unlift(grid, "avx512")
            test_lift(grid, "avx512")
        for grid in GATHERED.values():
            test_unlift(grid, "avx512")
