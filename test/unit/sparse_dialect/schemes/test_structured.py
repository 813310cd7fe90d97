"""Whole rows and columns that are cut."""

from __future__ import annotations

import numpy as np
import pytest
from espalier.sparse_dialect.errors import EspalierError
from espalier.sparse_dialect.schedule.detection import detect_scheme
from espalier.sparse_dialect.schemes import Structured
from hypothesis import given
from hypothesis import strategies as st

KINDS = st.sampled_from([(), (1, 1), (3, 3)])


def cut(shape: tuple[int, ...], rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """A random weight of ``shape`` that keeps so many rows and columns."""
    random = np.random.default_rng(seed)
    weight = random.uniform(0.5, 1.5, shape).astype(np.float32)
    weight[random.permutation(shape[0])[rows:]] = 0
    weight[:, random.permutation(shape[1])[columns:]] = 0
    return weight


@given(KINDS, st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_any_rows_and_columns_are_found(kernel: tuple[int, ...], rows: int, columns: int, seed: int) -> None:
    weight = cut((40, 40, *kernel), rows, columns, seed)
    scheme = Structured.detect(weight)
    assert (scheme is None) == (rows == columns == 40) == bool(Structured.why_not(weight))
    if scheme is not None:
        assert scheme.multiply_adds(weight) >= np.count_nonzero(weight)


@pytest.mark.parametrize("kernel", [(), (3, 3)])
def test_it_is_chosen_and_named(kernel: tuple[int, ...]) -> None:
    assert isinstance(detect_scheme(cut((300, 200, *kernel), 150, 160)), Structured)


@pytest.mark.parametrize(("weight", "message"), [
    (np.eye(8, dtype=np.float32), "no filter and no channel is cut whole"),
    (np.pad(np.eye(4, dtype=np.float32), 2), "75.0% of the weights between kept filters and "
     "channels are zero"),
    (np.zeros((4, 4), np.float32), "no weight is left")])
def test_why_not(weight: np.ndarray, message: str) -> None:
    assert Structured.why_not(weight) == message
    assert Structured.detect(weight) is None


def test_projection_keeps_the_strongest_filters() -> None:
    weight = np.arange(1, 5, dtype=np.float32)[:, None] * np.ones((4, 3), np.float32)
    assert Structured.project(weight, rate=2).any(axis=1).tolist() == [False, False, True, True]
    assert Structured.project(weight, rate=100).any(axis=1).tolist() == [False, False, False, True]
    with pytest.raises(EspalierError, match="expected >= 1, found"):
        Structured.project(weight, rate=0.5)
