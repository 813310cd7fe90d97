"""Predicted against measured: order and error."""

from __future__ import annotations

import pytest
from espalier.tools.predictions import quality, quality_line


def test_an_order_that_is_right_correlates_whatever_the_scale() -> None:
    assert quality([(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]) == pytest.approx((1.0, 0.5))
    assert quality([(1.0, 1.0), (2.0, 4.0), (3.0, 3.0)]) == pytest.approx((0.5, 0.0))
    assert quality([(3.0, 1.0), (2.0, 2.0), (1.0, 3.0)]) == pytest.approx((-1.0, 2 / 3))


def test_equal_values_share_a_rank() -> None:
    found = quality([(1.0, 1.0), (1.0, 2.0), (2.0, 3.0)])
    assert found is not None
    assert found[0] == pytest.approx(0.866, abs=1e-3)


@pytest.mark.parametrize("pairs", [[], [(1.0, 1.0), (2.0, 2.0)], [(None, 1.0), (1.0, None), (1.0, 0.0)],
                                   [(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]])
def test_too_little_says_nothing(pairs: list[tuple[float | None, float | None]]) -> None:
    assert quality(pairs) is None
    assert quality_line(pairs, True) == ""


def test_the_line_says_whose_figures_they_are() -> None:
    pairs: list[tuple[float | None, float | None]] = [(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]
    assert "calibration: rank correlation 1.00, median error 50%" in quality_line(pairs, True)
    assert "espalier calibrate" in quality_line(pairs, False)
