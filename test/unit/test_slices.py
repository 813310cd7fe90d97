"""Slices of matrix rows: the matrix comes back, rows are sorted by length, wide gaps are bridged."""

from __future__ import annotations

import numpy as np
import pytest
from espalier.sparse_dialect.schemes.slices import (
    CHUNK_SLICES,
    COLUMN_BLOCK,
    LARGEST_GAP,
    column_blocks,
    pack_slices,
    slice_count,
    unpack_slices,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def matrix(rows: int, columns: int, density: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    kept = random.random((rows, columns)) < density * 2 * random.random((rows, 1))
    return (random.uniform(0.5, 1.5, (rows, columns)) * kept).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 900),
    st.sampled_from([0.0, 0.002, 0.1, 0.5, 1.0]),
    st.sampled_from([4, 8, 16]),
    st.integers(0, 100),
)
def test_any_matrix_comes_back(rows: int, columns: int, density: float, lanes: int, seed: int) -> None:
    weight = matrix(rows, columns, density, seed)
    np.testing.assert_array_equal(unpack_slices(pack_slices(weight, lanes), weight.shape), weight)


@pytest.mark.parametrize("columns", [COLUMN_BLOCK, COLUMN_BLOCK + 1, 2 * COLUMN_BLOCK + 3])
def test_column_blocks(columns: int) -> None:
    weight = matrix(20, columns, 0.01)
    weight[3, -1] = weight[4, 0] = weight[5, COLUMN_BLOCK - 1] = 7
    arrays = pack_slices(weight, 16)
    assert len(arrays["rows"]) == column_blocks(columns) * slice_count(20, 16)
    np.testing.assert_array_equal(unpack_slices(arrays, weight.shape), weight)


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_every_row_is_stored_once_a_column_block(lanes: int) -> None:
    arrays = pack_slices(matrix(50, COLUMN_BLOCK + 5, 0.01), lanes)
    stored = arrays["rows"].reshape(2, -1)
    np.testing.assert_array_equal(np.sort(stored, axis=1), [np.arange(slice_count(50, lanes) * lanes)] * 2)


def test_rows_are_sorted_by_length_inside_a_chunk() -> None:
    """A thread owns a chunk: its rows stay in it in every column block."""
    lanes, width = 4, 4 * CHUNK_SLICES
    weight = matrix(3 * width, COLUMN_BLOCK + 500, 0.05)
    arrays = pack_slices(weight, lanes)
    for block, stored in enumerate(arrays["rows"].reshape(2, 3, width)):
        part = weight[:, block * COLUMN_BLOCK : (block + 1) * COLUMN_BLOCK]
        for chunk, members in enumerate(stored):
            assert set(members) == set(range(chunk * width, (chunk + 1) * width))
            lengths = np.count_nonzero(part[members], axis=1)
            assert (np.diff(lengths) <= 0).all()


def test_a_known_matrix() -> None:
    weight = np.array([[0, 1, 0, 2], [0, 0, 0, 0], [3, 4, 5, 0]], np.float32)
    arrays = pack_slices(weight, 4)
    np.testing.assert_array_equal(arrays["start"], [0, 3])
    np.testing.assert_array_equal(arrays["rows"], [[2, 0, 1, 3]])
    np.testing.assert_array_equal(arrays["gap"], [[0, 1, 0, 0], [1, 2, 0, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(arrays["weight"], [[3, 1, 0, 0], [4, 2, 0, 0], [5, 0, 0, 0]])


@pytest.mark.parametrize("gap", [LARGEST_GAP, LARGEST_GAP + 1, 2 * LARGEST_GAP, 2 * LARGEST_GAP + 1, 1000])
@pytest.mark.parametrize("first", [0, 300])
def test_wide_gaps_are_bridged_by_zeros(gap: int, first: int) -> None:
    weight = np.zeros((2, 1500), np.float32)
    weight[0, [first, first + gap]] = 1, 2
    weight[1, :5] = 3
    arrays = pack_slices(weight, 4)
    assert arrays["gap"].dtype == np.int8
    np.testing.assert_array_equal(unpack_slices(arrays, weight.shape), weight)
    assert np.count_nonzero(arrays["weight"]) == 7


def test_an_empty_matrix_stores_no_entries() -> None:
    arrays = pack_slices(np.zeros((5, 7), np.float32), 4)
    assert arrays["weight"].shape == (0, 4)
    np.testing.assert_array_equal(arrays["start"], [0, 0, 0])
