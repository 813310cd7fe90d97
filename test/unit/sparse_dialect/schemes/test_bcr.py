"""Scheme ``bcr`` (GRIM's BCR): its projection, detection, and the groups of rows behind its kernels."""

import numpy as np
import pytest
from espalier.sparse_dialect import EspalierError
from espalier.sparse_dialect.schedule.detection import detect_scheme
from espalier.sparse_dialect.schemes import Bcr
from espalier.sparse_dialect.schemes.shared_columns import (
    best_groups,
    group_rows,
    natural_size,
    nothing_to_share,
    row_sets,
    shared_columns,
    stored_weights,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.tiers import examples


def random_weight(*shape: int, seed: int = 0) -> np.ndarray:
    """Seeded normal weights, no exact zeros."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def papers_example() -> np.ndarray:
    """papers.md 3.3: rows 0 and 2 keep columns {0, 1, 4}, rows 1 and 3 keep {2, 5}; values say where."""
    weight = np.zeros((4, 6), np.float32)
    for row, columns in enumerate(((0, 1, 4), (2, 5), (0, 1, 4), (2, 5))):
        weight[row, list(columns)] = 10 * (row + 1) + np.array(columns)
    return weight


def kept_in_blocks(weight: np.ndarray, rows: int, columns: int) -> list[tuple[int, int, int]]:
    """(nonzeros, rows, columns) that each block keeps, by plain loops."""
    matrix = weight.reshape(len(weight), -1) != 0
    blocks = [matrix[r : r + rows, c : c + columns] for r in range(0, matrix.shape[0], rows)
              for c in range(0, matrix.shape[1], columns)]
    return [(int(b.sum()), int(b.any(axis=1).sum()), int(b.any(axis=0).sum())) for b in blocks]


MASKS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.sampled_from([0, 0, 1, -2, 0.5])))


@settings(max_examples=examples(200), deadline=None)
@given(MASKS, st.integers(1, 5), st.integers(1, 5))
def test_a_block_fits_where_its_mask_is_an_outer_product(weight: np.ndarray, rows: int, columns: int) -> None:
    exact = all(kept == r * c for kept, r, c in kept_in_blocks(weight, rows, columns))
    assert Bcr(rows, columns).fits(weight) == exact  # so small a matrix has no room for accidental zeros


# -- projection and detection --------------------------------------------------------------------------------


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(1, 20), st.integers(1, 40), st.integers(1, 8), st.integers(1, 20), st.floats(1, 12),
       st.integers(0, 9))
def test_projection_keeps_columns_evenly_and_strips_share_them(
        height: int, width: int, rows: int, columns: int, rate: float, seed: int) -> None:
    weight = random_weight(height, width, seed=seed)
    if rows > height or columns > width:
        with pytest.raises(EspalierError, match="larger than the"):
            Bcr.project(weight, rows=rows, columns=columns, rate=rate)
        return
    pruned = Bcr.project(weight, rows=rows, columns=columns, rate=rate)
    assert np.array_equal(pruned[pruned != 0], weight[pruned != 0])
    assert Bcr(rows, columns).fits(pruned)
    for first in range(0, height, rows):
        strip = pruned[first : first + rows] != 0
        assert (strip == strip[0]).all()
        assert strip[0].sum() == max(1, round(width / rate))
        whole = [int(strip[0, c : c + columns].sum()) for c in range(0, width - columns + 1, columns)]
        assert max(whole) - min(whole) <= 1


def test_projection_is_the_nearest_with_equal_counts() -> None:
    """Of all choices of one column in each 2 x 3 block."""
    weight = random_weight(2, 6, seed=5)
    distances = []
    for a in range(3):
        for b in range(3, 6):
            kept = np.zeros((2, 6), np.float32)
            kept[:, [a, b]] = weight[:, [a, b]]
            distances.append(float(np.square(weight - kept).sum()))
    pruned = Bcr.project(weight, rows=2, columns=3, rate=3)
    assert np.square(weight - pruned).sum() == pytest.approx(min(distances))


def test_rows_inside_blocks_are_cut_where_asked() -> None:
    weight = Bcr.project(random_weight(16, 64), rows=4, columns=16, rate=8, row_rate=2)
    assert set(kept_in_blocks(weight, 4, 16)) == {(8, 2, 4)}
    assert detect_scheme(weight, ["bcr"]) == Bcr(4, 16)


@pytest.mark.parametrize(("shape", "rows", "columns", "found"), [
    ((64, 128), 4, 16, Bcr(4, 16)), ((64, 128, 1, 1), 4, 16, Bcr(4, 16)),
    ((32, 16, 3, 3), 4, 16, Bcr(4, 16)), ((30, 50), 6, 20, Bcr(6, 16)), ((24, 36), 3, 12, Bcr(3, 16)),
    ((64, 64), 16, 8, Bcr(16, 16)), ((31, 47), 8, 16, Bcr(8, 16))])
def test_what_was_projected_is_detected(shape: tuple[int, ...], rows: int, columns: int,
                                        found: Bcr) -> None:
    """Where no rows are cut, any width of bcr fits, and GRIM's 16 is taken."""
    assert detect_scheme(Bcr.project(random_weight(*shape), rows=rows, columns=columns, rate=4)) == found


def outer_products(height: int, width: int, rows: int, columns: int, density: float, seed: int) -> np.ndarray:
    """A weight each of whose blocks keeps some rows and some columns of its own."""
    random = np.random.default_rng(seed)
    kept = np.zeros((height, width), bool)
    for r in range(0, height, rows):
        for c in range(0, width, columns):
            block = kept[r : r + rows, c : c + columns]
            block |= np.outer(*(random.random(size) < density for size in block.shape))
    return random_weight(height, width, seed=seed) * kept


@settings(max_examples=examples(150), deadline=None)
@given(st.integers(2, 70), st.integers(2, 120), st.integers(2, 32), st.integers(2, 34),
       st.sampled_from([0.2, 0.5, 0.8]), st.integers(0, 99))
def test_blocks_of_any_size_are_detected(height: int, width: int, rows: int, columns: int, density: float,
                                         seed: int) -> None:
    """Sizes that divide nothing, and widths that no power of two divides."""
    weight = outer_products(height, width, rows, columns, density, seed)
    assume(not nothing_to_share(weight))
    found = Bcr.detect(weight)
    assert found is not None
    assert found.fits(weight)


def test_accidental_zeros_do_not_hide_a_block() -> None:
    weight = Bcr.project(random_weight(64, 128), rows=4, columns=16, rate=4)
    weight[5, np.flatnonzero(weight[5])[:4]] = 0
    assert detect_scheme(weight) == Bcr(4, 16)


def test_masks_without_blocks_are_not_claimed() -> None:
    random = random_weight(64, 64) * (np.random.default_rng(1).random((64, 64)) < 0.3)
    assert Bcr.detect(random) is None
    assert Bcr.why_not(random) == "no blocks of 2 x 2 or more cut whole rows and columns"
    assert Bcr.why_not(random_weight(4, 4)) == "no weight is zero"
    assert Bcr.why_not(np.zeros((4, 4), np.float32)) == "no weight is left"
    full = random_weight(64, 64)
    full[3, 5] = 0
    assert Bcr.why_not(full) == "only 0.02% of its weights are zero"
    assert Bcr.detect(np.eye(1, 5, dtype=np.float32)) is None


@pytest.mark.slow
def test_a_hundred_million_weights_are_looked_at() -> None:
    weight = np.zeros((4096, 25088), np.float32)
    weight[:, ::9] = 1
    weight[np.arange(4096), np.arange(4096) * 6 % 25088] = 1
    assert Bcr.detect(weight) == Bcr(rows=32, columns=16)


@pytest.mark.parametrize("make", [
    lambda: Bcr(0, 4), lambda: Bcr(4, -1),
    lambda: Bcr.project(random_weight(8, 8), rows=16, columns=4),
    lambda: Bcr.project(random_weight(8, 8), rows=4, columns=9),
    lambda: Bcr.project(random_weight(8, 8), rows=4, columns=4, rate=0.5),
    lambda: Bcr.project(random_weight(8, 8), rows=4, columns=4, rate=2, row_rate=3)])
def test_wrong_use_is_a_clear_error(make: object) -> None:
    with pytest.raises(EspalierError):
        make()  # type: ignore[operator]


# -- groups of rows ------------------------------------------------------------------------------------------


def test_rows_of_equal_sets_come_together_longest_first() -> None:
    weight = papers_example()[[1, 0, 3, 2]]
    assert row_sets(weight).tolist() == [0, 1, 0, 1]
    assert group_rows(weight, 2).tolist() == [[1, 3], [0, 2]]


def test_rows_left_over_join_similar_ones_or_stand_alone() -> None:
    mask = np.zeros((4, 40), np.float32)
    mask[0, :20] = mask[1, 1:21] = mask[2, 30:] = 1  # row 3 is empty: it fits anywhere
    groups = [sorted(set(group)) for group in group_rows(mask, 4).tolist()]
    assert [0, 1] in [[row for row in group if row < 2] for group in groups]
    assert not any({0, 2} <= set(group) for group in groups)


@settings(max_examples=examples(200), deadline=None)
@given(MASKS, st.integers(1, 8))
def test_groups_hold_every_row_and_all_of_its_columns(weight: np.ndarray, size: int) -> None:
    for groups in (group_rows(weight, size), best_groups(weight, size)):
        members = [sorted(set(group)) for group in groups.tolist()]
        assert sorted(row for group in members for row in group) == list(range(len(weight)))
        for group in groups:
            assert set(np.nonzero(weight[group])[1]) == set(shared_columns(weight, group))
    assert stored_weights(weight, group_rows(weight, 1)) == np.count_nonzero(weight)


def test_smaller_groups_where_large_ones_would_store_zeros() -> None:
    even = Bcr.project(random_weight(64, 64), rows=8, columns=16, rate=4)
    assert best_groups(even, 8).shape == (8, 8)
    assert stored_weights(even, best_groups(even, 8)) == np.count_nonzero(even)
    cut = Bcr.project(random_weight(64, 256), rows=8, columns=16, rate=16, row_rate=8)
    assert best_groups(cut, 8).shape[1] == 1


def test_sizes_of_groups_waste_few_places() -> None:
    assert [natural_size(rows) for rows in (1, 3, 8, 9, 10, 12, 16, 32)] == [1, 3, 8, 5, 5, 6, 8, 8]
