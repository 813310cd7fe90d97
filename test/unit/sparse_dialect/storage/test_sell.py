"""Slices of matrix rows: the matrix comes back, lanes walk through the columns together, shares are equal."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from espalier.sparse_dialect.devices.cores import CORES
from espalier.sparse_dialect.schemes import Bcr, Unstructured
from espalier.sparse_dialect.storage import Packed, Sell
from espalier.sparse_dialect.storage.sell import (
    ALIGNMENT,
    GATHERED,
    LARGEST_ADVANCE,
    PERMUTED,
    STREAMED_WINDOW,
    UNIT_ROWS,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiers import examples

KINDS = ("unstructured", "block", "block with cut rows", "banded")
TARGETS = [("avx512", 16), ("avx512", 8), ("avx2", 8), ("cortex-a76", 4)]


def matrix(rows: int, columns: int, density: float, kind: str = "unstructured", seed: int = 0) -> np.ndarray:
    """f32 [rows, columns] with zeros of one kind; no stored weight is zero."""
    random = np.random.default_rng(seed)
    if kind == "unstructured":
        kept = random.random((rows, columns)) < density * 2 * random.random((rows, 1))
    else:
        kept = np.repeat(random.random((-(-rows // 4), columns)) < density, 4, axis=0)[:rows]
        if kind == "block with cut rows":
            kept &= np.repeat(random.random((rows, -(-columns // 16))) < 0.5, 16, axis=1)[:, :columns]
        if kind == "banded":
            kept &= np.abs(np.arange(rows)[:, None] * columns // rows - np.arange(columns)) < 40
    return (random.uniform(0.5, 1.5, (rows, columns)) * kept).astype(np.float32)


def blocks(rows: int, columns: int, rate: int, height: int = 4) -> np.ndarray:
    """What BCR at ``rate`` keeps in blocks of ``height`` rows and 16 columns."""
    weight = np.random.default_rng(0).standard_normal((rows, columns))
    return Bcr.project(weight, rows=height, columns=16, rate=rate)


def packed_for(weight: np.ndarray, core: str = "avx512", lanes: int = 16,
               gates: int = 1, inputs: int = 1) -> Packed:
    return Sell.choose(weight, lanes, CORES[core], gates, inputs).pack(weight, Unstructured())


def sell(packed: Packed) -> Sell:
    assert isinstance(packed.storage, Sell)
    return packed.storage


def columns_of(packed: Packed) -> np.ndarray:
    """The column that every lane reads, [E, L]."""
    start, advance = packed.arrays["start"], packed.arrays["advance"].view(np.uint8).astype(int)
    base = np.concatenate([np.cumsum(advance[first:end]) for first, end in pairwise(start)])
    return base[:, None] + packed.arrays["index"].view(np.uint8)[: start[-1]]


@settings(max_examples=examples(150), deadline=None)
@given(st.integers(1, 150), st.integers(1, 900), st.sampled_from([0.0, 0.002, 0.02, 0.1, 0.5, 1.0]),
       st.sampled_from(KINDS), st.sampled_from(TARGETS), st.sampled_from([1, 3, 4]),
       st.booleans(), st.integers(0, 100))
def test_any_matrix_comes_back(rows: int, columns: int, density: float, kind: str, target: tuple[str, int],
                               gates: int, many: bool, seed: int) -> None:
    weight = matrix(-(-rows // gates) * gates, columns, density, kind, seed)
    packed = packed_for(weight, *target, gates=gates, inputs=64 if many else 1)
    np.testing.assert_array_equal(packed.unpack(), weight)
    if weight.any():  # lanes without a column too read inside the matrix
        assert columns_of(packed).max() < columns


@pytest.mark.parametrize("columns", [PERMUTED - 1, PERMUTED, PERMUTED + 1, 1000, 3001])
def test_windows_stay_inside_the_matrix(columns: int) -> None:
    """Where the matrix is no narrower than a window; and all but the last ones are aligned."""
    packed = packed_for(matrix(40, columns, 0.2))
    start, advance = packed.arrays["start"], packed.arrays["advance"].view(np.uint8).astype(int)
    base = np.concatenate([np.cumsum(advance[first:end]) for first, end in pairwise(start)])
    assert base.max() <= max(columns - PERMUTED, 0)
    assert ((base % ALIGNMENT == 0) | (base == columns - PERMUTED)).all()
    assert packed.arrays["index"].view(np.uint8).max() < PERMUTED


def test_a_known_matrix() -> None:
    weight = np.zeros((3, 400), np.float32)
    weight[0, [1, 300]] = 1, 2
    weight[2, [3, 4, 5]] = 3, 4, 5
    packed = packed_for(weight, "cortex-a76", 4)
    assert (sell(packed).group, sell(packed).window, sell(packed).by_lane) == (1, GATHERED, False)
    arrays = packed.arrays
    np.testing.assert_array_equal(arrays["edges"], [0, 1])
    np.testing.assert_array_equal(arrays["start"], [0, 4, 4, 4, 4])
    np.testing.assert_array_equal(arrays["place"][0], [2, 0, 1, 3])
    np.testing.assert_array_equal(arrays["advance"].view(np.uint8), [0, 0, 0, 400 - GATHERED])
    np.testing.assert_array_equal(arrays["index"].view(np.uint8),
                                  [[3, 1, 0, 0], [4, 0, 0, 0], [5, 0, 0, 0], [0, 300 - 144, 0, 0]])
    np.testing.assert_array_equal(arrays["weight"][:, 0],
                                  [[3, 1, 0, 0], [4, 0, 0, 0], [5, 0, 0, 0], [0, 2, 0, 0]])


@pytest.mark.parametrize("target", TARGETS)
def test_a_column_far_from_the_others_is_reached(target: tuple[str, int]) -> None:
    """Entries without weights move the window as far as a byte cannot."""
    weight = np.zeros((8, 5000), np.float32)
    weight[:4, [0, 1, LARGEST_ADVANCE, 256, 2000, 4998, 4999]] = 1
    weight[4:, 4999] = 2
    packed = packed_for(weight, *target)
    np.testing.assert_array_equal(packed.unpack(), weight)
    assert packed.arrays["start"][-1] > 4600 // LARGEST_ADVANCE


@pytest.mark.parametrize(("rate", "fill"), [(5, 1.04), (10, 1.06), (20, 1.12)])
def test_blocks_of_four_rows_share_columns_with_little_padding(rate: int, fill: float) -> None:
    weight = blocks(128, 4096, rate)
    packed = packed_for(weight)
    assert sell(packed).group == 4
    assert packed.arrays["weight"].size <= fill * np.count_nonzero(weight)


@pytest.mark.parametrize(("rows", "columns", "rate"), [(1024, 1024, 10), (256, 4096, 10), (64, 25088, 10),
                                                       (1024, 1024, 20)])
def test_index_bytes_are_an_eighth_of_csr(rows: int, columns: int, rate: int) -> None:
    weight = blocks(rows, columns, rate)
    arrays = packed_for(weight).arrays
    index_bytes = sum(array.nbytes for name, array in arrays.items() if name != "weight")
    assert 8 * index_bytes <= 4 * np.count_nonzero(weight) + 4 * (rows + 1)


@pytest.mark.parametrize(("height", "group"), [(8, 4), (6, 2), (4, 4), (2, 2)])
def test_groups_follow_the_blocks(height: int, group: int) -> None:
    assert sell(packed_for(blocks(48 * height, 512, 10, height))).group == group


def test_unstructured_rows_are_lanes_of_their_own() -> None:
    weight = matrix(UNIT_ROWS, 2048, 0.05)
    for target in TARGETS:
        packed = packed_for(weight, *target)
        assert sell(packed).group == 1
        assert packed.arrays["weight"].size < 1.6 * np.count_nonzero(weight)


def test_without_vector_loads_weights_lie_lane_by_lane() -> None:
    weight = blocks(32, 300, 10)
    by_row, by_lane = packed_for(weight, "avx2", 4), packed_for(weight, "sse", 4)
    assert not sell(by_row).by_lane
    assert sell(by_lane).by_lane
    np.testing.assert_array_equal(by_lane.arrays["weight"], by_row.arrays["weight"].swapaxes(1, 2))


def test_for_many_inputs_the_weights_of_a_lane_lie_together() -> None:
    weight = blocks(64, 300, 10)
    packed = packed_for(weight, inputs=64)
    assert sell(packed).by_lane
    assert sell(packed).window == GATHERED
    assert packed.arrays["weight"].shape[1:] == (16, 4)
    assert not sell(packed_for(matrix(64, 300, 0.1), inputs=64)).by_lane  # nothing lies together there


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_lanes_are_sorted_by_length_inside_a_unit(lanes: int) -> None:
    weight = matrix(3 * UNIT_ROWS - 5, 500, 0.05)
    packed = packed_for(weight, "avx2", lanes)
    place = packed.arrays["place"].view(np.uint8).reshape(3, -1)
    assert sell(packed).group == 1
    for unit, places in enumerate(place):
        rows = unit * UNIT_ROWS + places.astype(int)
        np.testing.assert_array_equal(np.sort(places), np.arange(UNIT_ROWS))
        lengths = [np.count_nonzero(weight[row]) if row < len(weight) else 0 for row in rows]
        assert (np.diff(lengths) <= 0).all()


@pytest.mark.parametrize(("gates", "rows", "expected"), [(3, 1024 * 3, 192), (4, 1024 * 4, 64), (3, 48, 48)])
def test_units_fill_their_slices(gates: int, rows: int, expected: int) -> None:
    """The gates of 16 hidden units of a GRU are three quarters of a slice, those of 64 fill three."""
    packed = packed_for(blocks(rows, 64, 4), gates=gates)
    assert sell(packed).rows == expected


@pytest.mark.parametrize("target", TARGETS)
def test_an_empty_matrix_has_no_entries(target: tuple[str, int]) -> None:
    packed = packed_for(np.zeros((5, 7), np.float32), *target)
    assert not packed.arrays["start"].any()
    assert len(packed.arrays["weight"]) == 1  # arrays are never empty
    assert not packed.unpack().any()


def test_shares_hold_equal_work() -> None:
    """The second half of the rows is denser: of two halves of the shares the first has more rows."""
    weight = matrix(30 * UNIT_ROWS, 400, 0.5)
    weight[: 15 * UNIT_ROWS] *= matrix(15 * UNIT_ROWS, 400, 0.1, seed=1) != 0
    packed = packed_for(weight)
    edges, start = packed.arrays["edges"], packed.arrays["start"]
    assert edges[0] == 0
    assert edges[-1] == 30
    assert (np.diff(edges) >= 0).all()
    half = edges[len(edges) // 2]
    assert abs(start[half * sell(packed).per_unit] / start[-1] - 0.5) < 0.06
    assert half > 15


def test_large_matrices_of_single_rows_have_a_wider_window() -> None:
    random = np.random.default_rng(0)
    weight = random.uniform(0.5, 1.5, (256, 25088)).astype(np.float32)
    weight *= random.random(weight.shape) < 1 / 8
    packed, part = packed_for(weight), packed_for(weight[:, :2000])
    assert (sell(packed).window, sell(part).window) == (STREAMED_WINDOW, PERMUTED)
    assert np.array_equal(packed.unpack(), weight)
    # with convolutions pruned 8.1 times, VGG-16 then takes a sixth of its dense bytes
    assert sum(array.nbytes for array in packed.arrays.values()) <= 5.45 * np.count_nonzero(weight)
