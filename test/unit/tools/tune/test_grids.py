"""Grids of a network's images are chosen together, over measured times: elimination finds the least sum."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
from espalier.tools.tune.grids import Classes, Times, cheapest

CHAIN = ((0,), (0,), (1, 0), (1,), (2, 1), (2,))
CYCLE = ((1, 0), (2, 1), (3, 2), (0, 3), (3, 1), (2,))  # a network that enlarges images again


@pytest.mark.parametrize("scopes", [CHAIN, CYCLE, ((0,),), ((2, 0, 1), (1, 2))])
def test_elimination_finds_the_least_sum(scopes: tuple[tuple[int, ...], ...]) -> None:
    random_ = np.random.default_rng(0)
    sizes = [3, 2, 4, 3][: 1 + max(map(max, scopes))]
    factors = [(scope, random_.random([sizes[v] for v in scope])) for scope in scopes]
    sums = {places: sum(table[tuple(places[v] for v in scope)] for scope, table in factors)
            for places in product(*map(range, sizes))}
    places, least = cheapest(sizes, factors)
    assert least == pytest.approx(min(sums.values()))
    assert sums[places] == pytest.approx(least)


CLASSES = Classes(((None, (4, 4), (2, 8)), (None, (16, 1))), {"a": (0,), "b": (1, 0), "c": (1,)},
                  (("a",), ("b", "c")))


def seconds(assignment: tuple[int, ...]) -> dict[str, float]:
    """The second grid suits ``a`` best, but ``b`` gathers from it unless its own changes, too."""
    large, small = assignment
    return {"a": 3.0 - large, "b": 2.0 if bool(large) == bool(small) else 4.5, "c": 1.0 + 0.5 * small}


def test_what_a_change_costs_its_readers_is_part_of_the_choice() -> None:
    times, random_ = Times(CLASSES), random.Random(0)
    times.tell((0, 0), seconds((0, 0)))
    tried = 1
    while asked := times.several(random_, 2):
        for assignment in asked:
            times.tell(assignment, seconds(assignment))
            tried += 1
    assert tried == 6
    assert times.best() == ((2, 1), 1.0 + 2.0 + 1.5)
    assert CLASSES.chosen((2, 0)) == {"a": (2, 8)}
    assert CLASSES.chosen((2, 1)) == {"a": (2, 8), "b": (16, 1), "c": (16, 1)}


def test_only_what_was_measured_is_chosen() -> None:
    times = Times(CLASSES)
    times.tell((0, 0), seconds((0, 0)))
    times.tell((1, 0), seconds((1, 0)))
    assert times.best() == ((0, 0), 6.0)  # the fastest, (2, 1), was never tried
    times.fail((1, 1))
    assert (1, 1) not in times.several(random.Random(0), 9)
