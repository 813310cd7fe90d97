"""Layouts: lifting and its inverse for any image and grid, where pixels lie, and which grids are offered."""

from __future__ import annotations

import numpy as np
import pytest
from espalier.sparse_dialect.layouts import LaneGrid, Plain, candidate_grids, lift, unlift
from hypothesis import given
from hypothesis import strategies as st

sides = st.integers(1, 40)
grids = st.builds(
    lambda high, wide, height, width: LaneGrid(2**high, 2**wide, height, width),
    st.integers(0, 4),
    st.integers(0, 4),
    sides,
    sides,
)


def image(grid: LaneGrid) -> np.ndarray:
    """Pixels that name their place, no zeros."""
    return np.arange(1, 2 * grid.height * grid.width + 1, dtype=np.float32).reshape(
        1, 2, grid.height, grid.width
    )


@given(grids)
def test_unlift_is_the_inverse_of_lift(grid: LaneGrid) -> None:
    x = image(grid)
    assert lift(x, grid).shape == (1, 2, grid.lines, grid.lanes)
    np.testing.assert_array_equal(unlift(lift(x, grid), grid), x)


@given(grids)
def test_lift_moves_every_pixel_once_and_fills_with_zeros(grid: LaneGrid) -> None:
    x = image(grid)
    lifted = lift(x, grid)
    np.testing.assert_array_equal(np.sort(lifted[lifted != 0]), x.ravel())


@given(grids, st.data())
def test_lift_follows_the_formula(grid: LaneGrid, data: st.DataObject) -> None:
    """lifted[r * columns + q][i * Lw + j] = x[i * rows + r][j * columns + q]."""
    y, x = data.draw(st.integers(0, grid.height - 1)), data.draw(st.integers(0, grid.width - 1))
    i, r = divmod(y, grid.rows)
    j, q = divmod(x, grid.columns)
    lifted = lift(image(grid), grid)
    assert lifted[0, 1, r * grid.columns + q, i * grid.lanes_wide + j] == image(grid)[0, 1, y, x]


@given(grids)
def test_lines_are_odd_and_enough(grid: LaneGrid) -> None:
    assert grid.lines % 2 == 1
    assert grid.rows * grid.columns <= grid.lines <= grid.rows * grid.columns + 1
    assert grid.plane == grid.lines * grid.lanes
    assert 0 <= grid.waste < 1


@given(grids)
def test_places_and_pixels_agree(grid: LaneGrid) -> None:
    r, q = np.indices((grid.rows, grid.columns))
    y, x = grid.pixels(r, q)
    inside = (y < grid.height) & (x < grid.width)
    expected = (r * grid.columns + q)[..., None] * grid.lanes + np.arange(grid.lanes)
    np.testing.assert_array_equal(grid.places(y, x), np.where(inside, expected, -1))


@given(grids, st.integers(1, 3), st.integers(1, 3))
def test_strided_pixels_start_where_windows_start(grid: LaneGrid, down: int, right: int) -> None:
    """Output pixel y of a strided window starts at input pixel y * stride."""
    at, origin = np.zeros((1,), int), np.zeros((1,), int)
    y, x = grid.pixels(at, origin)
    strided = grid.pixels(at, origin, (down, right))
    np.testing.assert_array_equal(strided[0], y * down)
    np.testing.assert_array_equal(strided[1], x * right)


@pytest.mark.parametrize("layout", [Plain(3, 5), LaneGrid(2, 2, 3, 5)])
def test_outside_has_no_place(layout: Plain | LaneGrid) -> None:
    y, x = np.array([-1, 3, 0, 0, 2]), np.array([0, 0, -1, 5, 4])
    places = layout.places(y, x)
    assert (places[:4] == -1).all()
    assert places[4] >= 0


def test_plain_is_row_major() -> None:
    y, x = np.indices((3, 5))
    np.testing.assert_array_equal(Plain(3, 5).places(y, x).ravel(), np.arange(15))
    assert Plain(3, 5).plane == 15


def test_lifting_more_leading_dimensions() -> None:
    x, grid = np.arange(2 * 3 * 4 * 5, dtype=np.int32).reshape(2, 3, 4, 5), LaneGrid(2, 4, 4, 5)
    assert lift(x, grid).dtype == np.int32
    np.testing.assert_array_equal(lift(x, grid)[1, 2], lift(x[1, 2], grid))


@given(sides, sides, st.sampled_from([4, 8, 16]))
def test_candidate_grids_are_all_and_best_first(height: int, width: int, lanes: int) -> None:
    candidates = candidate_grids(height, width, lanes)
    assert {(g.lanes_high, g.lanes_wide) for g in candidates} == {
        (high, lanes // high) for high in range(1, lanes + 1) if lanes % high == 0
    }
    sizes = [g.rows * g.columns for g in candidates]
    assert sizes == sorted(sizes)
    assert candidates[0].waste == min(g.waste for g in candidates)


def test_candidate_grids_of_networks() -> None:
    """56 x 56 fits 4 x 4 tiles exactly; 7 x 7 wastes least where a tile is a run of its pixels."""
    assert candidate_grids(56, 56, 16)[0] == LaneGrid(4, 4, 56, 56)
    assert candidate_grids(56, 56, 16)[0].waste == 0
    assert candidate_grids(7, 7, 16)[0].waste < 0.25
