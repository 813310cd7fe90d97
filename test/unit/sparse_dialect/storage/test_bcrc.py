"""BCRC: GRIM's example, and columns in 16 bits where they fit."""

from __future__ import annotations

import numpy as np
from espalier.sparse_dialect.schemes import Bcr
from espalier.sparse_dialect.storage import Bcrc


def papers_example() -> np.ndarray:
    """papers.md 3.3: rows 0 and 2 keep columns {0, 1, 4}, rows 1 and 3 keep {2, 5}; values say where."""
    weight = np.zeros((4, 6), np.float32)
    for row, columns in enumerate(((0, 1, 4), (2, 5), (0, 1, 4), (2, 5))):
        weight[row, list(columns)] = 10 * (row + 1) + np.array(columns)
    return weight


def test_bcrc_reproduces_the_papers_example() -> None:
    packed = Bcrc().pack(papers_example(), Bcr(2, 3)).arrays
    assert list(packed) == ["reorder", "offset", "occurrence", "stride", "column", "weight"]
    assert packed["reorder"].tolist() == [0, 2, 1, 3]
    assert packed["offset"].tolist() == [0, 3, 6, 8, 10]
    assert packed["occurrence"].tolist() == [0, 2, 4]
    assert packed["stride"].tolist() == [0, 3, 5]
    assert packed["column"].tolist() == [0, 1, 4, 2, 5]
    assert packed["weight"].tolist() == [10, 11, 14, 30, 31, 34, 22, 25, 42, 45]


def test_columns_are_stored_once_a_group_and_narrow_where_they_can_be() -> None:
    wide = np.zeros((2, 70000), np.float32)
    wide[:, 69999] = 1
    packed = Bcrc().pack(wide, Bcr(2, 16)).arrays
    assert packed["column"].tolist() == [69999]
    assert packed["column"].dtype == np.int32
    narrow = Bcrc().pack(wide[:, 4464:], Bcr(2, 16))
    assert narrow.arrays["column"].view(np.uint16).tolist() == [65535]
    assert np.array_equal(narrow.unpack(), wide[:, 4464:])
