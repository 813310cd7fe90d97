"""Layouts: lifting and its inverse for any image and grid, where pixels lie, and which grids are offered."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from espalier.sparse_dialect.geometry.layouts import LaneGrid, Plain, candidate_grids, lift, three, unlift
from hypothesis import given
from hypothesis import strategies as st

sides = st.integers(1, 40)
grids = st.builds(
    lambda high, wide, height, width, depth: LaneGrid(2**high, 2**wide, height, width, depth),
    st.integers(0, 4),
    st.integers(0, 4),
    sides,
    sides,
    st.integers(1, 4),
)


def image(grid: LaneGrid) -> np.ndarray:
    """Pixels that name their place, no zeros."""
    shape = (1, 2, *grid.image[grid.depth == 1 :])
    return np.arange(1, 2 * prod(grid.image) + 1, dtype=np.float32).reshape(shape)


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
    """lifted[d * slice_lines + r * columns + q][i * Lw + j] = x[d][i * rows + r][j * columns + q]."""
    z, y, x = (data.draw(st.integers(0, size - 1)) for size in grid.image)
    i, r = divmod(y, grid.rows)
    j, q = divmod(x, grid.columns)
    lifted, pixels = lift(image(grid), grid), image(grid).reshape(2, *grid.image)
    line = z * grid.slice_lines + r * grid.columns + q
    assert line == grid.line(z, r, q)
    assert lifted[0, 1, line, i * grid.lanes_wide + j] == pixels[1, z, y, x]


@given(grids)
def test_lines_are_odd_and_enough(grid: LaneGrid) -> None:
    assert grid.slice_lines % 2 == 1
    assert grid.rows * grid.columns <= grid.slice_lines <= grid.rows * grid.columns + 1
    assert grid.lines == grid.depth * grid.slice_lines
    assert grid.plane == grid.lines * grid.lanes
    assert grid.used_lines == grid.line(grid.depth - 1, grid.rows - 1, grid.columns - 1) + 1
    assert 0 <= grid.waste < 1


@given(grids)
def test_places_and_pixels_agree(grid: LaneGrid) -> None:
    z, r, q = np.indices(grid.shape)
    y, x = grid.pixels(r, q)
    inside = (y < grid.height) & (x < grid.width)
    expected = grid.line(z, r, q)[..., None] * grid.lanes + np.arange(grid.lanes)
    np.testing.assert_array_equal(grid.places(z[..., None], y, x), np.where(inside, expected, -1))


@given(grids, st.integers(1, 3), st.integers(1, 3))
def test_strided_pixels_start_where_windows_start(grid: LaneGrid, down: int, right: int) -> None:
    """Output pixel y of a strided window starts at input pixel y * stride."""
    at, origin = np.zeros((1,), int), np.zeros((1,), int)
    y, x = grid.pixels(at, origin)
    strided = grid.pixels(at, origin, (down, right))
    np.testing.assert_array_equal(strided[0], y * down)
    np.testing.assert_array_equal(strided[1], x * right)


@pytest.mark.parametrize("layout", [Plain(3, 5, 2), LaneGrid(2, 2, 3, 5, 2)])
def test_outside_has_no_place(layout: Plain | LaneGrid) -> None:
    z, y, x = np.array([[0, -1, 0], [0, 3, 0], [1, 0, -1], [1, 0, 5], [-1, 0, 0], [2, 0, 0], [1, 2, 4]]).T
    places = layout.places(z, y, x)
    assert (places[:6] == -1).all()
    assert places[6] >= 0


def test_plain_is_row_major() -> None:
    np.testing.assert_array_equal(Plain(3, 5, 2).places(*np.indices((2, 3, 5))).ravel(), np.arange(30))
    assert Plain(3, 5, 2).plane == 30


def test_lifting_keeps_dtype_images_and_channels_apart() -> None:
    x, grid = np.arange(2 * 3 * 4 * 5, dtype=np.int32).reshape(2, 3, 4, 5), LaneGrid(2, 4, 4, 5)
    assert lift(x, grid).dtype == np.int32
    np.testing.assert_array_equal(lift(x, grid)[1:, 2:], lift(x[1:, 2:], grid))


@pytest.mark.parametrize(("sizes", "expected"), [
    ((5,), (1, 1, 5)), ((4, 5), (1, 4, 5)), ((3, 4, 5), (3, 4, 5))])
def test_images_and_signals_are_volumes(sizes: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert three(sizes) == expected
    assert LaneGrid.of(2, 2, sizes).image == expected
    assert LaneGrid(2, 2, 9, 9, 9).over(sizes) == LaneGrid.of(2, 2, sizes)
    layout = Plain.of(sizes)
    assert (layout.depth, layout.height, layout.width) == expected


@given(sides, sides, st.sampled_from([4, 8, 16]))
def test_candidate_grids_are_all_and_best_first(height: int, width: int, lanes: int) -> None:
    candidates = candidate_grids((height, width), lanes)
    assert {(g.lanes_high, g.lanes_wide) for g in candidates} == {
        (high, lanes // high) for high in range(1, lanes + 1) if lanes % high == 0
    }
    sizes = [g.rows * g.columns for g in candidates]
    assert sizes == sorted(sizes)
    assert candidates[0].waste == min(g.waste for g in candidates)


def test_candidate_grids_of_networks() -> None:
    """56 x 56 fits 4 x 4 tiles exactly; 7 x 7 wastes least where a tile is a run of its pixels."""
    assert candidate_grids((56, 56), 16)[0] == LaneGrid(4, 4, 56, 56)
    assert candidate_grids((56, 56), 16)[0].waste == 0
    assert candidate_grids((7, 7), 16)[0].waste < 0.25
