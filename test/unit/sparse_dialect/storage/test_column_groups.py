"""Groups of filters that share columns: what the arrays hold, gaps, slices and shares of work."""

from __future__ import annotations

import numpy as np
from espalier.sparse_dialect.schemes import Bcr, Kgs
from espalier.sparse_dialect.schemes.shared_columns import best_groups, matrix_of
from espalier.sparse_dialect.storage import ColumnGroups, Packed
from espalier.sparse_dialect.storage.column_groups import regrouped, ungrouped


def packed_in(weight: np.ndarray, groups: list[list[int]], unit: int, block: int) -> Packed:
    """``weight`` with filters in ``groups``, units of ``unit`` channels, blocks of ``block``."""
    order = np.array(groups).ravel()
    return ColumnGroups(len(groups[0]), unit, block).pack(weight, Bcr(len(groups[0]), 1), order)


def test_storage_is_what_its_description_says() -> None:
    """Two channel blocks; rows 0 and 2 keep (channel 0, place 1) and (channel 3, place 0), row 1 nothing."""
    weight = np.zeros((3, 4, 1, 2), np.float32)
    weight[[0, 2], 0, 0, 1] = 1, 2
    weight[[0, 2], 3, 0, 0] = 3, 4
    packed = packed_in(weight, [[0, 2], [1, 1]], 1, 2).arrays
    assert packed["reorder"].tolist() == [0, 2, 1, 1]
    assert packed["start"].tolist() == [0, 1, 1, 2, 2]
    assert packed["gap"].tolist() == [1, 2]
    assert packed["weight"].tolist() == [[[1, 2]], [[3, 4]]]


def test_slices_of_a_kernel_come_one_after_the_other() -> None:
    """Places (slice, place): 0, 1 and 2, 1 of channel 0; 1, 0 of channel 1. Two places a slice."""
    weight = np.zeros((1, 2, 3, 1, 2), np.float32)
    weight[0, 0, 0, 0, 1], weight[0, 0, 2, 0, 1], weight[0, 1, 1, 0, 0] = 1, 3, 2
    whole = packed_in(weight, [[0]], 1, 2)
    packed = whole.arrays
    assert packed["weight"].ravel().tolist() == [1, 2, 3]
    assert np.cumsum(packed["gap"]).tolist() == [1, 6, 9]
    assert packed["start"].tolist() == [0, 1, 2, 3]
    assert packed["before"].tolist() == [0, 1, 6]
    assert np.array_equal(whole.unpack(), weight)


def test_units_hold_all_their_channels_and_gaps_are_bridged() -> None:
    weight = np.zeros((2, 1200, 1), np.float32)
    weight[0, 5] = weight[1, 1199] = 1
    whole = packed_in(weight, [[0, 1]], 2, 1200)
    packed = whole.arrays
    assert np.cumsum(packed["gap"].view(np.uint8)).tolist() == [2, 89, 344, 599]
    assert packed["weight"].shape == (4, 2, 2)
    assert np.array_equal(whole.unpack(), weight)


def test_threads_get_groups_of_equal_work() -> None:
    weight = np.zeros((8, 100, 1), np.float32)
    for row, length in enumerate((100, 90, 50, 40, 30, 20, 15, 5)):
        weight[row, :length] = 1
    groups = best_groups(matrix_of(weight), 1)
    packed = packed_in(weight, groups.tolist(), 1, 100).arrays
    work = np.diff(packed["start"]).reshape(4, 2).sum(axis=1)
    assert work.tolist() == [105, 105, 70, 70]


def test_index_bytes_are_a_small_share_of_csrs() -> None:
    """One byte for 8 filters x 4 channels, where CSR has 4 bytes for each weight."""
    weight = np.random.default_rng(0).standard_normal((64, 64, 3, 3, 3)).astype(np.float32)
    weight = Kgs.project(weight, filters=8, channels=4, rate=2.5)
    packed = ColumnGroups(8, 4, 16).pack(weight, Kgs(8, 4, (3, 3, 3)))
    assert packed.index_bytes < 4 * np.count_nonzero(weight) / 50


def test_a_grouped_weight_keeps_to_its_own_channels() -> None:
    """Three groups of two filters and two channels: zero elsewhere, and the same again behind both ways."""
    weight = np.random.default_rng(0).standard_normal((6, 2, 1, 3)).astype(np.float32)
    whole = ungrouped(weight, 3)
    for filter_ in range(6):
        own = slice(filter_ // 2 * 2, filter_ // 2 * 2 + 2)
        assert np.array_equal(whole[filter_, own], weight[filter_])
        assert np.count_nonzero(whole[filter_]) == 6
    assert np.array_equal(regrouped(whole, 3), weight)
    assert np.array_equal(ColumnGroups(1, 1, 2, groups=3).pack(weight, Bcr(1, 1)).unpack(), weight)
