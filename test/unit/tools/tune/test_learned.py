"""A cost model learns from a log what another network's layers cost; a search that it ranks finds more."""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib.util import find_spec
from math import exp, prod

import numpy as np
import pytest
from espalier.errors import EspalierError
from espalier.sparse_dialect.devices.cores import core_named
from espalier.sparse_dialect.geometry.window import Window
from espalier.sparse_dialect.schedule.candidates import Space
from espalier.sparse_dialect.schedule.database import Trial
from espalier.sparse_dialect.schedule.schedule import Schedule
from espalier.tools.tune.features import Layer
from espalier.tools.tune.learned import (
    CostModel,
    Ranked,
    chosen_model,
    correlation,
    enough,
    left_out,
    usable,
)
from espalier.tools.tune.search import Genetic

pytestmark = pytest.mark.skipif(find_spec("sklearn") is None, reason="sklearn is not installed (extra tune)")
WINDOW = Window.of((3, 3), (1, 1), (1, 1))


def layer(channels: int, side: int) -> tuple[Layer, Space]:
    shape = {"channels": float(channels), "filters": 64.0, "groups": 1.0, "places": 9.0, "entries": 4.0,
             "dense": 0.0, "kept": 0.2, "lines_of_image": float(side * side)}
    default = Schedule(channel_block=channels, tile=(1, 2, 2), prefetch=False)
    blocks = [channels // part for part in (1, 2, 4, 8)]
    values = {"channel_block": blocks, "tile.0": [1], "tile.1": range(1, side + 1),
              "tile.2": range(1, side + 1), "prefetch": [False, True]}
    return (Layer(shape, default, core_named("avx512"), (1, side, side), WINDOW),
            Space.around(default, values, lambda s: "large" if prod(s.tile or ()) > 30 else ""))


def cost(known: Layer, schedule: Schedule) -> float:
    """More lines are better, until registers are full; ends of tiles and small blocks cost."""
    tile, block = schedule.tile or (1, 2, 2), schedule.channel_block or 1
    waste = prod(-(-size // side) * side / size for size, side in zip(known.plane, tile, strict=True))
    lines = prod(tile)
    return waste * (1 + 3 / lines + (lines > 24) * 0.5) * (1 + 8 / block)


def trials(count: int, network: str, channels: tuple[int, ...], noise: float) -> Iterator[Trial]:
    drawn = random.Random(network)
    for size in channels:
        known, space = layer(size, 4 + size // 64)
        base = cost(known, space.schedule(space.default))
        for _ in range(count):
            schedule = space.schedule(space.draw(drawn))
            ratio = cost(known, schedule) / base * exp(drawn.gauss(0, noise))
            yield Trial(f"layer of {size}", schedule, "ok", ratio, ratio, features=known.features(schedule),
                        network=network)


LOG = [*trials(40, "a", (64, 128, 192, 256), 0.03), *trials(40, "b", (96, 160, 320), 0.03)]


@pytest.mark.slow
def test_layers_of_another_network_are_ranked() -> None:
    found = left_out(LOG)
    assert [quality.network for quality in found] == ["a", "b"]
    assert min(quality.within for quality in found) > 0.8
    assert min(quality.overall for quality in found) > 0.8


def test_what_both_networks_have_is_not_learned_for_either() -> None:
    assert left_out([*LOG[:40], *(Trial(t.layer, t.schedule, t.state, t.ratio, t.cost, features=t.features,
                                        network="copy") for t in LOG[:40])]) == []


@pytest.mark.slow
def test_noise_is_not_ranked() -> None:
    drawn = random.Random(0)
    noise = [Trial(t.layer, t.schedule, "ok", exp(drawn.gauss(0, 1)), features=t.features, network=t.network)
             for t in LOG]
    assert max(abs(quality.overall) for quality in left_out(noise)) < 0.4


@pytest.mark.slow
def test_a_ranked_search_finds_more_in_as_many_trials() -> None:
    model, (known, space) = CostModel(LOG), layer(224, 8)

    def best(ranked: bool, seed: int) -> float:
        inner = Genetic(space, seed)
        search = Ranked(inner, model, lambda genome: known.features(space.schedule(genome)), seed)
        found = []
        for _ in range(8):
            genome = (search if ranked else inner).ask()
            assert genome is not None
            found.append(cost(known, space.schedule(genome)))
            search.tell(genome, found[-1])
        return min(found)

    with_it, without = ([best(ranked, seed) for seed in range(5)] for ranked in (True, False))
    assert np.mean(with_it) < np.mean(without)


def test_a_ranked_search_proposes_each_once_and_ends() -> None:
    known, space = layer(64, 2)
    search = Ranked(Genetic(space, 0), CostModel(LOG), lambda g: known.features(space.schedule(g)), 0)
    found = []
    while (genome := search.ask()) is not None:
        found.append(genome)
        search.tell(genome, 1.0)
    assert len(found) == len(set(found)) > len(list(space.all())) // 2


@pytest.mark.slow
def test_a_model_is_asked_where_the_log_is_large_enough_or_where_it_is_wanted() -> None:
    assert not enough(LOG)  # few layers
    assert chosen_model(None, lambda: LOG) == (None, [])
    assert chosen_model(False, lambda: LOG * 10) == (None, [])
    assert chosen_model(True, lambda: LOG)[1] == LOG
    many = [Trial(f"{t.layer} {at % 9}", t.schedule, "ok", t.ratio, features=t.features)
            for at, t in enumerate(LOG * 2)]
    assert chosen_model(None, lambda: many)[0] is not None
    with pytest.raises(EspalierError, match="tune without --model first"):
        chosen_model(True, lambda: [Trial("x", Schedule(), "crash"), Trial("x", Schedule(), "ok", 0.9)])


def test_correlation_of_what_has_no_order() -> None:
    assert correlation(np.ones(9), np.arange(9)) is None
    assert correlation(np.arange(3), np.arange(3)) is None
    assert correlation(np.arange(9), -np.arange(9)) == pytest.approx(-1)
    assert usable([Trial("x", Schedule(), "crash", features={"a": 1.0})]) == []
