"""Rates from a latency target: the fit, the knapsack, the table on disk, and the loop, on made-up times."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from espalier.frontends.pruning.recipe import Recipe, load_recipe
from espalier.frontends.pruning.search import search as search_module
from espalier.frontends.pruning.search.choices import searched_layers
from espalier.frontends.pruning.search.floor import search_floor, shortened
from espalier.frontends.pruning.search.knapsack import choose, total
from espalier.frontends.pruning.search.search import (
    Round,
    Search,
    SearchOptions,
    next_budget,
    search_rates,
)
from espalier.frontends.pruning.search.sensitivity import Calibration
from espalier.frontends.pruning.search.times import NetworkTimes, fitted
from espalier.frontends.pruning.targets import assign
from espalier.sparse_dialect import EspalierError
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiers import examples
from support.training import PATTERNS, Net, net, task
from torch import nn

RULES: dict[str, Any] = {"layers": [PATTERNS, {"match": "out", "scheme": "bcr", "rate": 2}]}
X = (torch.zeros(1, 2, 6, 6),)


# -- the knapsack --------------------------------------------------------------------------------------------


@settings(max_examples=examples(40), deadline=None)
@given(st.data())
def test_the_choice_is_the_best_there_is(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    value = st.integers(0, 20).map(float)
    costs = [data.draw(st.lists(value, min_size=size, max_size=size)) for size in sizes]
    times = [data.draw(st.lists(value, min_size=size, max_size=size)) for size in sizes]
    budget = data.draw(st.integers(0, 60))
    every = [picks for picks in itertools.product(*map(range, sizes)) if total(times, picks) <= budget]
    if not every:
        with pytest.raises(EspalierError, match="the fastest choices take"):
            choose(costs, times, budget)
        return
    picks = choose(costs, times, budget)
    assert total(times, picks) <= budget + 1e-6
    assert total(costs, picks) == min(total(costs, other) for other in every)


# -- times ---------------------------------------------------------------------------------------------------


def network(whole: float, layers: dict[str, float], fused: dict[str, str] | None = None) -> NetworkTimes:
    return NetworkTimes(whole, layers, fused or {}, dict.fromkeys(layers, 100))


def test_times_between_the_profiles_lie_on_a_line() -> None:
    shares = {"a": [0.8, 0.4, 0.1]}
    uniform = [network(5 + 2 + 10 * share, {"a": 2 + 10 * share, "b": 1.0}) for share in shares["a"]]
    table = fitted(network(30, {"a": 20.0, "b": 1.0}), uniform, shares, measured=True)
    assert table.layers["a"].ms(0.5) == pytest.approx(7)
    assert table.layers["a"].ms(None) == 20
    assert table.rest_ms == pytest.approx(5)


def test_layers_that_run_as_one_share_their_time() -> None:
    shares = {"a": [0.5, 0.25], "b": [0.5, 0.25]}
    uniform = [network(share * 8, {"a": 0.0, "b": share * 8}, {"a": "b"}) for share in (0.5, 0.25)]
    table = fitted(network(10, {"a": 4.0, "b": 6.0}), uniform, shares, measured=True)
    assert table.layers["a"].ms(1.0) == pytest.approx(4)
    assert table.layers["b"].dense_ms == pytest.approx(5)


def test_noise_makes_no_layer_faster_than_nothing() -> None:
    shares = {"a": [0.5, 0.25]}
    for times in ([1.0, 2.0], [2.0, 0.5]):
        uniform = [network(ms, {"a": ms}) for ms in times]
        table = fitted(network(3, {"a": 3.0}), uniform, shares, measured=True)
        assert table.layers["a"].ms(0.0) >= 0
        assert table.layers["a"].ms(0.9) >= table.layers["a"].ms(0.1)


def test_a_layer_that_is_not_compiled_is_named() -> None:
    with pytest.raises(EspalierError, match="layer 'gone' is not in the compiled network"):
        fitted(network(1, {"a": 1.0}), [network(1, {"a": 1.0})], {"gone": [0.5]}, measured=True)


# -- choices and sensitivities -------------------------------------------------------------------------------


def test_a_layer_has_its_scheme_at_every_rate_that_it_can_keep() -> None:
    layers = {layer.name: layer for layer in searched_layers(assign(net(), load_recipe(RULES)))}
    assert list(layers) == ["second", "point", "out"]  # the first one is spared
    texts = [choice.text for choice in layers["second"].choices]
    assert texts[:3] == ["dense", "pattern 1", "pattern 1.25"]
    assert "pattern 1" not in [choice.text for choice in layers["point"].choices]
    assert layers["out"].choices[-1].rate == 16, "a block of 4 x 16 keeps one column at least"
    nm = {"layers": [{"match": "second", "scheme": "n_m", "n": 2, "m": 4}]}
    found = searched_layers(assign(net(), load_recipe(nm)))[0]
    assert [choice.rate for choice in found.choices] == [1, 4 / 3, 2, 4]
    with pytest.raises(EspalierError, match="the recipe prunes none"):
        searched_layers(assign(net(), load_recipe({"layers": [{"match": "fir*", "scheme": "pattern"}]})))


def test_calibration_leaves_the_model_as_it_was() -> None:
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    calibration = Calibration(task(), 0, 20)
    assert len(calibration.batches) == 2
    assert calibration.loss(model) == calibration.loss(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.norm.momentum == 0.1


# -- the loop, with times that are made up -------------------------------------------------------------------


class FakeCompiled:
    def __init__(self, model: nn.Module) -> None:
        self.kept = {name: float(torch.count_nonzero(module.weight)) / module.weight.numel()
                     for name, module in model.named_modules() if hasattr(module, "weight")
                     and name in ("first", "second", "point", "out")}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Ten milliseconds a layer, in proportion to what is kept, one of its own, and 2 for the rest; ``off``
    multiplies what pruned networks take beyond the table. Counts compilations."""
    settings: dict[str, Any] = {"off": 1.0, "compiled": 0, "table": True}

    def compiled(model: nn.Module, inputs: Any) -> FakeCompiled:
        settings["compiled"] += 1
        return FakeCompiled(model)

    def network_times(models: Sequence[FakeCompiled], *args: Any, **kwargs: Any) -> list[NetworkTimes]:
        result = []
        for model in models:
            layers = {name: 1 + 10 * share if share < 1 else 11.0 for name, share in model.kept.items()}
            pruned = any(share < 1 for share in model.kept.values())
            off = settings["off"] if pruned and len(models) == 2 else 1.0
            result.append(NetworkTimes((2 + sum(layers.values())) * off, layers, {},
                                       dict.fromkeys(layers, 100)))
        return result

    monkeypatch.setattr(search_module, "compiled", compiled)
    monkeypatch.setattr(search_module, "network_times", network_times)
    return settings


def test_the_rates_meet_the_target_and_cost_less_than_one_rate_for_all(clock: dict[str, Any]) -> None:
    model = net()
    result = search_rates(model, task(), RULES, X, latency_ms=24.0)
    assert result.close
    assert result.measured
    assert result.target_ms == 24
    assert abs(result.latency_ms / 24 - 1) <= 0.03
    assert result.uniform_sensitivity is not None
    assert result.sensitivity <= result.uniform_sensitivity + 1e-9
    again = assign(model, result.recipe)
    found = {target.name: target.spec.name for target in again.targets if target.spec}
    assert {name: text.partition(" ")[0] for name, text in result.choices.items() if text != "dense"} == {
        name: scheme for name, scheme in found.items() if name != "first"}


@pytest.mark.parametrize("off", [1.2, 0.85])
def test_the_budget_is_corrected_by_what_was_measured(clock: dict[str, Any], off: float) -> None:
    clock["off"] = off
    result = search_rates(net(), None, RULES, X, latency_ms=24.0)
    assert len(result.rounds) > 1
    assert result.close


def test_a_second_target_measures_nothing_again(clock: dict[str, Any], tmp_path: Path) -> None:
    table = tmp_path / "search.csv"
    first = search_rates(net(), task(), RULES, X, speedup=1.5, table=table)
    assert not first.table_read
    text = table.read_text()
    compiled = clock["compiled"]
    second = search_rates(net(), task(), RULES, X, speedup=1.8, table=table)
    assert second.table_read
    assert table.read_text() == text
    assert clock["compiled"] - compiled == 1 + len(second.rounds), "the dense network, and each round's"
    compiled = clock["compiled"]
    again = search_rates(net(), task(), RULES, X, speedup=1.8, table=table)
    assert clock["compiled"] == compiled, "the answer is kept, too"
    assert (again.choices, again.rounds) == (second.choices, second.rounds)
    other = search_rates(net(seed=3), task(), RULES, X, speedup=1.5, table=table)
    assert not other.table_read, "other weights"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(EspalierError, match=r"search\.csv: no table of a search \(other columns\)"):
        search_rates(net(), task(), RULES, X, speedup=1.5, table=table)
    assert table.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize(("targets", "message"), [
    ({"latency_ms": 50.0}, "50 ms needs no pruning: the dense network takes 46 ms"),
    ({"speedup": 40.0}, r"40 times faster .* is below what the highest rates reach: .* ms \(.* times faster"),
    ({"latency_ms": -1.0}, "must be above 0 ms"), ({"speedup": 0.5}, "must be above 1"),
    ({}, "a latency or a speedup"), ({"latency_ms": 3.0, "speedup": 2.0}, "one of them"),
    ({"speedup": 2.0, "trials": 3}, "trials are scored by the calibration loss")])
def test_a_target_that_cannot_be_met_is_one_line(targets: dict[str, Any], message: str,
                                                 clock: dict[str, Any]) -> None:
    with pytest.raises(EspalierError, match=message):
        search_rates(net(), None, RULES, X, **targets)


def test_trials_weigh_layers_and_go_on_where_they_were(clock: dict[str, Any], tmp_path: Path) -> None:
    done: list[int] = []

    def progress(step: str, now: int, wanted: int) -> None:
        if step == "trials":
            done.append(now)

    options = SearchOptions(speedup=1.6, table=tmp_path / "search.csv", trials=3, samples=32)
    search_rates(net(), task(), RULES, X, options=options, progress=progress)
    assert done == [0, 1, 2, 3]
    done.clear()
    result = search_rates(net(), task(), RULES, X, options=options, progress=progress, trials=4)
    assert done == [3, 4]
    assert result.close


def test_the_next_budget_lies_between_the_rounds_around_the_target() -> None:
    assert next_budget([Round(10, 10, 12)], 10) == pytest.approx(10 * 10 / 12)
    assert next_budget([Round(10, 10, 12), Round(8, 8, 9)], 10) == pytest.approx(8 + 2 / 3)


def test_without_inputs_the_first_sample_is_the_example(clock: dict[str, Any]) -> None:
    made = Search(net(), task(), load_recipe(RULES), None, SearchOptions(speedup=1.5),
                  lambda step, done, total: None)
    assert [array.shape for array in made.arrays] == [(1, 2, 6, 6)]
    with pytest.raises(EspalierError, match="needs inputs"):
        search_rates(net(), None, RULES, speedup=2.0)


@pytest.mark.slow
def test_a_real_network_meets_its_prediction(tmp_path: Path) -> None:
    """Predicted times, so that nothing depends on the machine's other work; real compilations."""

    class Wide(Net):
        def __init__(self) -> None:
            super().__init__(64)

    torch.manual_seed(0)
    x = (torch.randn(1, 2, 24, 24),)
    result = search_rates(Wide(), None, RULES, x, speedup=1.7, runs=0)
    assert not result.measured
    assert result.latency_ms <= result.target_ms * 1.03
    assert np.isfinite(result.sensitivity)


# -- the floor -----------------------------------------------------------------------------------------------


def quality(recipe: Recipe) -> float:
    """A made-up training: as much is lost as is cut of the layer 'second'."""
    target = next((t for t in assign(net(), recipe).targets if t.name == "second"), None)
    return 100.0 - (target.rate if target is not None else 1.0)


def test_the_fastest_above_the_floor(clock: dict[str, Any], tmp_path: Path) -> None:
    trained: list[Recipe] = []

    def train(recipe: Recipe) -> float:
        trained.append(recipe)
        return quality(recipe)

    options = SearchOptions(table=tmp_path / "search.csv", samples=32)
    result = search_floor(net(), task(), {**RULES, "retrain": {"epochs": 8}}, X, 10.0, options=options,
                          train=train)
    assert len(trained) == 4
    assert trained[0].retrain.epochs == 2
    assert result.latency_ms < result.dense_ms
    again = search_floor(net(), task(), {**RULES, "retrain": {"epochs": 8}}, X, 10.0, options=options,
                         train=train)
    assert len(trained) == 4, "probes are kept"
    assert again.choices == result.choices


def test_a_floor_that_nothing_reaches_is_one_line(clock: dict[str, Any]) -> None:
    with pytest.raises(EspalierError, match=r"--floor 99: the dense model itself has a metric of"):
        search_floor(net(), task(), RULES, X, 99.0)
    with pytest.raises(EspalierError, match=r"--floor 10: no short training stays above it; the last, at"):
        search_floor(net(), task(), RULES, X, 10.0, train=lambda recipe: 3.0)


def test_a_short_training_keeps_an_epoch_a_stage() -> None:
    recipe = load_recipe({"method": {"name": "admm", "epochs": 6}, "retrain": {"epochs": 40}})
    short = shortened(recipe)
    assert (short.method.epochs, short.retrain.epochs) == (3, 10)
