"""Strips of matrix rows that share columns: the matrix comes back, classes fit the mask, shares are equal."""

from __future__ import annotations

import numpy as np
import pytest
from espalier.sparse_dialect.schemes.row_blocks import (
    ALL_ROWS,
    CHUNK,
    PIECE,
    REACH,
    STRIP,
    RowBlocks,
    choose_classes,
    pack_row_blocks,
    unpack_row_blocks,
)
from hypothesis import given, settings
from hypothesis import strategies as st

KINDS = ("unstructured", "block", "block with cut rows", "banded")


def matrix(rows: int, columns: int, density: float, kind: str = "unstructured", seed: int = 0) -> np.ndarray:
    """f32 [rows, columns] with zeros of one kind; no stored weight is zero."""
    random = np.random.default_rng(seed)
    strips = -(-rows // STRIP)
    if kind == "unstructured":
        kept = random.random((rows, columns)) < density * 2 * random.random((rows, 1))
    else:
        kept = np.repeat(random.random((strips, columns)) < density, STRIP, axis=0)[:rows]
        if kind == "block with cut rows":
            kept &= np.repeat(random.random((rows, -(-columns // 16))) < 0.5, 16, axis=1)[:, :columns]
        if kind == "banded":
            kept &= np.abs(np.arange(rows)[:, None] * columns // rows - np.arange(columns)) < 40
    return (random.uniform(0.5, 1.5, (rows, columns)) * kept).astype(np.float32)


def blocks(rows: int, columns: int, rate: int) -> np.ndarray:
    """What BCR at ``rate`` with blocks of four rows keeps: one column in ``rate`` of every strip."""
    order = np.random.default_rng(0).random((rows // STRIP, columns)).argsort(axis=1)
    return np.repeat(order < columns // rate, STRIP, axis=0).astype(np.float32)


def columns_of(packed: RowBlocks) -> np.ndarray:
    """The column that every lane reads, [chunks, 16], for a matrix of one class."""
    base, offset = packed.arrays["base"], packed.arrays["offset"].view(np.uint8)
    return base[:, None] + packed.strips.steps[0] * np.arange(CHUNK) + offset


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 70), st.integers(1, 900), st.sampled_from([0.0, 0.002, 0.02, 0.1, 0.5, 1.0]),
       st.sampled_from(KINDS), st.booleans(), st.integers(0, 100))
def test_any_matrix_comes_back(rows: int, columns: int, density: float, kind: str, by_column: bool,
                               seed: int) -> None:
    weight = matrix(rows, columns, density, kind, seed)
    packed = pack_row_blocks(weight, by_column)
    np.testing.assert_array_equal(unpack_row_blocks(packed, weight.shape), weight)
    if len(packed.strips.classes) == 1:  # empty lanes too read inside the matrix
        read = columns_of(packed)
        assert 0 <= read.min()
        assert read.max() < columns


@pytest.mark.parametrize("columns", [PIECE, PIECE + 1, 3 * PIECE + 5])
@pytest.mark.parametrize("kind", ["unstructured", "block"])
def test_wide_matrices(columns: int, kind: str) -> None:
    weight = matrix(20, columns, 0.02, kind)
    weight[3, -1] = weight[4, 0] = weight[5, PIECE - 1] = 7
    packed = pack_row_blocks(weight)
    np.testing.assert_array_equal(unpack_row_blocks(packed, weight.shape), weight)
    assert packed.strips.pieces == (-(-columns // PIECE) if len(packed.strips.classes) > 1 else 1)


def test_a_known_matrix() -> None:
    weight = np.zeros((5, 40), np.float32)
    weight[:4, [0, 7, 39]] = np.arange(1, 13).reshape(4, 3)
    weight[4, 20] = 13
    packed = pack_row_blocks(weight)
    assert (packed.strips.count, packed.strips.classes, packed.strips.steps) == (2, (ALL_ROWS,), (2,))
    arrays = packed.arrays
    np.testing.assert_array_equal(arrays["edges"], [0, 1, 2])
    np.testing.assert_array_equal(arrays["start"], [0, 1, 2])
    lanes = [np.flatnonzero(arrays["weight"][first]) for first in (0, 4)]
    np.testing.assert_array_equal(columns_of(packed)[0, lanes[0]], [0, 7, 39])
    np.testing.assert_array_equal(columns_of(packed)[1, lanes[1]], [20])
    np.testing.assert_array_equal(arrays["weight"][:4, lanes[0]], weight[:4, [0, 7, 39]])
    assert np.count_nonzero(arrays["weight"]) == 13


@pytest.mark.parametrize(("rate", "fill"), [(5, 1.02), (10, 1.03), (20, 1.1), (30, 1.2)])
def test_blocks_of_four_rows_are_one_class_with_little_padding(rate: int, fill: float) -> None:
    weight = blocks(64, 4096, rate)
    packed = pack_row_blocks(weight)
    assert packed.strips.classes == (ALL_ROWS,)
    assert packed.arrays["weight"].size <= fill * np.count_nonzero(weight)


@pytest.mark.parametrize(("rows", "columns", "rate"), [(1024, 1024, 10), (256, 4096, 10), (64, 25088, 10),
                                                       (1024, 1024, 20)])
def test_index_bytes_are_an_eighth_of_csr(rows: int, columns: int, rate: int) -> None:
    weight = blocks(rows, columns, rate)
    arrays = pack_row_blocks(weight).arrays
    index_bytes = sum(array.nbytes for name, array in arrays.items() if name != "weight")
    assert 8 * index_bytes <= 4 * np.count_nonzero(weight) + 4 * (rows + 1)


def test_unstructured_rows_are_stored_row_by_row() -> None:
    weight = matrix(64, 2048, 0.05)
    packed = pack_row_blocks(weight)
    assert set(packed.strips.classes) == {1, 2, 4, 8}
    assert packed.arrays["weight"].size < 1.4 * np.count_nonzero(weight)


def test_blocks_across_strips_get_classes_of_their_own() -> None:
    """Blocks of six rows: every other strip has the end of one block and the beginning of the next."""
    kept = np.repeat(np.random.default_rng(0).random((8, 4096)) < 0.1, 6, axis=0)
    packed = pack_row_blocks(kept.astype(np.float32))
    assert packed.strips.classes == (0b1111, 0b0011, 0b1100)
    assert packed.arrays["weight"].size < 1.12 * np.count_nonzero(kept)


def test_classes_of_columns_that_nothing_keeps() -> None:
    assert choose_classes(np.array([100, *[0] * ALL_ROWS]), 4) == (ALL_ROWS,)
    only_first = np.zeros(ALL_ROWS + 1, np.int64)
    only_first[[0, 1]] = 90, 10
    assert choose_classes(only_first, 4) == (1,)


def test_without_gathers_there_is_one_class() -> None:
    assert pack_row_blocks(matrix(30, 300, 0.1), by_column=True).strips.classes == (ALL_ROWS,)


@pytest.mark.parametrize("by_column", [False, True])
def test_an_empty_matrix_has_no_chunks(by_column: bool) -> None:
    packed = pack_row_blocks(np.zeros((5, 7), np.float32), by_column)
    np.testing.assert_array_equal(packed.arrays["start"], [0, 0, 0])
    assert packed.arrays["base"].size == 1  # arrays are never empty
    assert not unpack_row_blocks(packed, (5, 7)).any()


@pytest.mark.parametrize("group", [1, 3])
def test_shares_hold_equal_work(group: int) -> None:
    """The second half of the rows is denser: of two halves of the shares the first has more rows."""
    weight = matrix(3000, 400, 0.5)
    weight[:1500] *= matrix(1500, 400, 0.1, seed=1) != 0
    packed = pack_row_blocks(weight, group=group)
    edges, strips = packed.arrays["edges"], packed.strips
    assert edges[0] == 0
    assert edges[-1] * group == strips.count
    assert (np.diff(edges) >= 0).all()
    chunks = np.diff(packed.arrays["start"]).reshape(len(strips.classes), -1)
    work = np.array([rows.bit_count() for rows in strips.classes]) @ chunks
    half = edges[len(edges) // 2] * group
    assert abs(work[:half].sum() / work.sum() - 0.5) < 0.06
    assert half > 0.6 * strips.count


def test_a_column_far_from_the_others_is_reached() -> None:
    """Distances beyond a byte, at both ends of the matrix and of a chunk."""
    weight = np.zeros((4, 5000), np.float32)
    weight[:, [0, 1, REACH, REACH + 1, 2000, 4998, 4999]] = 1
    packed = pack_row_blocks(weight)
    np.testing.assert_array_equal(unpack_row_blocks(packed, weight.shape), weight)
    read = columns_of(packed)
    assert 0 <= read.min()
    assert read.max() < 5000
