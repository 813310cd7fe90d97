"""Layers drawn by chance, and what is said of the choices for them."""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest
from espalier.tools.bench.drawn import KINDS, MOST_MACS, NOT_OF, SCHEMES, Judged, draw
from espalier.tools.drawn_layers import summary


def test_a_number_decides_all_about_a_layer() -> None:
    first, again, other = draw(3, 0), draw(3, 0), draw(4, 0)
    assert str(first) == str(again)
    np.testing.assert_array_equal(first.weight, again.weight)
    assert str(first) != str(other)


def test_all_kinds_and_schemes_are_drawn_and_are_small() -> None:
    layers = [draw(number, 1) for number in range(60)]
    assert {layer.kind for layer in layers} == set(KINDS)
    assert {layer.scheme for layer in layers} == set(SCHEMES)
    for layer in layers:
        assert layer.scheme not in NOT_OF.get(layer.kind, ())
        assert layer.weight.size * np.prod(layer.shape[2:]) * layer.shape[0] <= MOST_MACS
        assert 0.01 < layer.kept < 0.75


@pytest.mark.parametrize(("auto", "behind"), [([2.0, 2.0, 9.0], 1.0), ([0.9, 1.0, 1.1], 0.0)])
def test_behind_is_what_the_better_forced_code_saves(auto: list[float], behind: float) -> None:
    judged = Judged(draw(0, 0), "dense", "", {"dense": [1.0, 1.0, 1.0], "sparse": [3.0], "auto": auto})
    assert judged.behind() == pytest.approx(behind)
    assert judged.behind(median) == pytest.approx(behind)


def test_the_summary_counts_late_layers() -> None:
    layer = draw(0, 0)
    judged = [Judged(layer, "dense", "", {"dense": [1.0], "sparse": [2.0], "auto": [time]})
              for time in (1.0, 1.02, 1.05, 1.5)]
    assert summary(judged).splitlines() == [
        f"by {name}: of 4 layers 2 (50.0%) more than 3% behind, 1 more than 10%, at worst 50.0%"
        for name in ("minimum", "median")]
