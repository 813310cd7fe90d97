"""Dense rows of matrices, lane-major."""

from __future__ import annotations

import numpy as np
from espalier.sparse_dialect.schemes import Dense
from espalier.sparse_dialect.storage import DenseRows
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(1, 200), st.integers(1, 30), st.sampled_from([4, 8, 16]), st.sampled_from([1, 3, 4]))
def test_dense_rows(rows: int, columns: int, lanes: int, vectors: int) -> None:
    """Element [u, k, i, l] is row (u * vectors + i) * lanes + l of column k; zero beyond the last row."""
    weight = np.arange(1, rows * columns + 1, dtype=np.float32).reshape(rows, columns)
    packed = DenseRows(lanes, vectors).pack(weight, Dense()).arrays["weight"]
    width = vectors * lanes
    assert packed.shape == (-(-rows // width), columns, vectors, lanes)
    flat = packed.transpose(0, 2, 3, 1).reshape(-1, columns)
    np.testing.assert_array_equal(flat[:rows], weight)
    assert not flat[rows:].any()
