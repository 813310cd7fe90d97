"""The arrays of kernel groups, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from espalier.sparse_dialect.errors import EspalierError
from espalier.sparse_dialect.schemes import Kgs
from espalier.sparse_dialect.storage import KgsArrays


def test_storage_lists_the_places_of_each_group_once() -> None:
    weight = np.zeros((4, 2, 1, 3), np.float32)
    weight[:2, :, 0, 1] = [[1, 2], [3, 4]]
    weight[2:, :, 0, [0, 2]] = 5
    packed = KgsArrays().pack(weight, Kgs(2, 2, (1, 3))).arrays
    assert packed["start"].tolist() == [0, 1, 3]
    assert packed["location"].tolist() == [1, 0, 2]
    assert packed["weight"][0].tolist() == [[1, 3], [2, 4]]  # channels, then filters


def test_places_beyond_255_need_wider_locations() -> None:
    weight = np.zeros((2, 2, 7, 7, 7), np.float32)
    weight[..., 6] = 1
    packed = KgsArrays().pack(weight, Kgs(2, 2, (7, 7, 7)))
    assert packed.arrays["location"].dtype == np.int16
    assert np.array_equal(packed.unpack(), weight)
    small = KgsArrays().pack(np.ones((2, 2, 3, 3, 3), np.float32), Kgs(2, 2, (3, 3, 3)))
    assert small.arrays["location"].dtype == np.int8


def test_other_kernels_and_orders_are_refused() -> None:
    weight, scheme = np.ones((8, 8, 5, 5), np.float32), Kgs(8, 4, (3, 3))
    with pytest.raises(EspalierError, match="expected kernels of"):
        KgsArrays().pack(weight, scheme)
    with pytest.raises(EspalierError, match="keeps the filters in their own order"):
        KgsArrays().pack(weight[..., :3, :3], scheme, np.arange(8))
