"""Searches find what exhaustive search finds, in few trials, and go on from what they are told."""

from __future__ import annotations

from math import prod

import pytest
from espalier.errors import EspalierError
from espalier.sparse_dialect.schedule.candidates import Genome, Space
from espalier.sparse_dialect.schedule.schedule import Schedule
from espalier.tools.tune.search import METHODS, Search, search_of


def too_large(schedule: Schedule) -> str:
    return "too large" if prod(schedule.tile or ()) > 28 else ""


SPACE = Space.around(Schedule(channel_block=32, tile=(1, 1, 7), filters_per_group=2, prefetch=False), {
    "filters_per_group": [1, 2, 4], "channel_block": [8, 16, 32, 64, 128, 256], "tile.0": [1],
    "tile.1": range(1, 15), "tile.2": range(1, 8), "prefetch": [False, True]}, too_large)
SMALL = Space.around(Schedule(tile=(1, 2, 2)), {"tile.0": [1], "tile.1": range(1, 5), "tile.2": range(1, 5)})


def cost(space: Space, genome: Genome) -> float:
    """As layers are: large tiles near a square, a block in the middle; what is odd costs a little more."""
    schedule = space.schedule(genome)
    _, rows, columns = schedule.tile or (1, 1, 1)
    block, group = schedule.channel_block or 32, schedule.filters_per_group or 1
    visits = 1 / (rows * columns) + 0.06 * abs(rows - columns) / (rows + columns)
    odd = 0.05 * abs(group - 2) + 0.01 * bool(schedule.prefetch)
    return 1 + visits + 0.1 * abs(block / 64 - 1) ** 0.5 + odd


def searched(search: Search, space: Space, trials: int) -> list[Genome]:
    found = []
    while len(found) < trials and (genome := search.ask()) is not None:
        found.append(genome)
        search.tell(genome, cost(space, genome) / cost(space, space.default))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_genetic_algorithm_comes_within_3_percent_in_a_tenth_of_the_trials(seed: int) -> None:
    every = list(SPACE.all())
    found = searched(search_of("ga", SPACE, seed), SPACE, len(every) // 10)
    best = min(cost(SPACE, genome) for genome in every)
    assert min(cost(SPACE, genome) for genome in found) <= 1.03 * best


@pytest.mark.parametrize("method", [name for name in METHODS if name != "cma"])
def test_no_search_asks_twice_or_for_the_impossible(method: str) -> None:
    if method in ("tpe", "nsga"):
        pytest.importorskip("optuna")
    found = searched(search_of(method, SPACE, 1), SPACE, 40)
    assert len(found) == len(set(found)) == 40
    assert all(SPACE.possible(genome) for genome in found)
    assert SPACE.default not in found


def test_cma_es_searches_where_it_is_installed() -> None:
    pytest.importorskip("optuna")
    pytest.importorskip("cmaes")
    assert len(searched(search_of("cma", SPACE, 1), SPACE, 20)) == 20


@pytest.mark.parametrize("method", ["auto", "ga", "tpe", "exhaustive"])
def test_a_small_space_is_searched_whole(method: str) -> None:
    found = searched(search_of(method, SMALL, 0), SMALL, 1000)
    assert {*found, SMALL.default} == set(SMALL.all())
    assert len(found) == SMALL.size - 1


def test_what_was_told_is_not_asked_for() -> None:
    search = search_of("ga", SPACE, 5)
    known = searched(search_of("ga", SPACE, 5), SPACE, 30)
    for genome in known:
        search.tell(genome, cost(SPACE, genome))
    assert not set(known) & set(searched(search, SPACE, 30))


def test_an_unknown_method() -> None:
    with pytest.raises(EspalierError, match="unknown search 'magic'"):
        search_of("magic", SPACE, 0)
