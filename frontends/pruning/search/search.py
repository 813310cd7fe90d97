"""Rates from a latency target: the least sensitive choices that fit, compiled, measured and corrected.

1. The network is profiled dense and at three uniform rates; ``times.py`` fits every layer's time.
2. ``sensitivity.py`` finds how much worse each choice of each layer makes the network.
3. ``knapsack.py`` takes the choices that cost least within the budget (as SPDY, ICML 2022).
4. They are compiled and measured beside the dense network; the budget is corrected by target / measured,
   until within 3 %.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ....runtime.compiled_model import CompiledModel
from ....sparse_dialect.errors import EspalierError
from ...tasks.task import Task
from ..plan import projected
from ..recipe import Recipe, load_recipe
from ..targets import assign
from .choices import Searched, chosen_recipe, searched_layers
from .knapsack import choose, total
from .sensitivity import Calibration, projected_weights, sensitivities
from .table import SearchTable, read_answer, read_table, table_key, write_answer, write_table
from .times import NetworkTimes, Progress, compiled, fitted, network_times

CLOSE = 0.03
ROUNDS = 4
PROFILED = (0.25, 0.55, 0.9)  # places in each layer's rising list of choices that the profiles take


@dataclass(frozen=True)
class SearchOptions:
    """``latency_ms`` or ``speedup`` (over our dense network) is the target. ``threads`` and ``runs``: how
    times are measured; ``runs`` 0 takes the compiler's predictions. ``samples``: of the calibration data.
    ``table``: where the table is kept. ``trials``: of the search over layers' weights (``trials.py``)."""

    latency_ms: float | None = None
    speedup: float | None = None
    threads: int = 1
    runs: int = 30
    samples: int = 512
    table: Path | None = None
    trials: int = 0

    def check(self) -> None:
        """Raises ``EspalierError`` for no target, two, or one that is none."""
        if (self.latency_ms is None) == (self.speedup is None):
            raise EspalierError("a search needs a latency or a speedup, one of them")
        if self.latency_ms is not None and not 0 < self.latency_ms < float("inf"):
            raise EspalierError(f"the latency must be above 0 ms, found {self.latency_ms:g}")
        if self.speedup is not None and not 1 < self.speedup < float("inf"):
            raise EspalierError(f"the speedup must be above 1, found {self.speedup:g}")


@dataclass(frozen=True)
class Round:
    """A solution that was compiled and run; both times in milliseconds, on the table's time scale."""

    budget_ms: float
    predicted_ms: float
    measured_ms: float


@dataclass(frozen=True)
class SearchResult:
    """``recipe`` has a rule for every searched layer. ``measured`` tells whether times were run or predicted,
    ``close`` whether the last round came within 3 % of the target. ``uniform_sensitivity``: what one rate for
    all layers would cost at the same time by the table (None outside of its range)."""

    recipe: Recipe
    choices: dict[str, str]
    target_ms: float
    dense_ms: float
    sensitivity: float
    uniform_sensitivity: float | None
    measured: bool
    table_read: bool
    rounds: list[Round] = field(default_factory=list)

    @property
    def latency_ms(self) -> float:
        """The time of the choices, as found in the last round."""
        return self.rounds[-1].measured_ms

    @property
    def close(self) -> bool:
        return abs(self.latency_ms / self.target_ms - 1) <= CLOSE


def search_rates(model: nn.Module, task: Task | None, recipe: Any, inputs: Sequence[Any] | None = None, *,
                 options: SearchOptions | None = None, progress: Progress = lambda step, done, total: None,
                 **targets: Any) -> SearchResult:
    """
    The rates of ``recipe``'s layers for a latency target, as a recipe.

    ``model``: trained, dense, left as it is. ``task``: whose training data calibrate; without one the error
    of the projection stands for the sensitivity. ``recipe``: as everywhere; its rules say the schemes.
    ``inputs``: an example (default: the first sample of the task). ``options``, or its fields as keywords:
    ``search_rates(model, task, recipe, latency_ms=12)``. Raises ``EspalierError`` for a target that cannot be
    reached, which it then names.
    """
    options = replace(options or SearchOptions(), **targets)
    options.check()
    return Search(model, task, load_recipe(recipe), inputs, options, progress).run()


class Search:
    """One network's search: the table is made once, targets are solved against it."""

    def __init__(self, model: nn.Module, task: Task | None, recipe: Recipe, inputs: Sequence[Any] | None,
                 options: SearchOptions, progress: Progress) -> None:
        self.model = model
        self.task = task
        self.recipe = recipe
        self.options = options
        self.progress = progress
        self.inputs = tuple(inputs) if inputs is not None else _example(task)
        self.arrays = [np.asarray(value.detach().cpu()) for value in self.inputs]
        self.layers = searched_layers(assign(model, recipe))
        self.calibration = Calibration(task, recipe.seed, options.samples) if task is not None else None
        self.weights = projected_weights(self.layers)
        self.table_read = False
        self.table = self._table()
        self.costs = self.table.sensitivities

    @cached_property
    def dense(self) -> CompiledModel:
        """The dense network, compiled when it is first measured."""
        return compiled(copy.deepcopy(self.model), self.inputs)

    @property
    def reachable_ms(self) -> float:
        """What the fastest choices take, by the table."""
        return self.table.rest_ms + sum(min(row) for row in self.table.times)

    def run(self) -> SearchResult:
        """The rates for the target; those that were found earlier where the table's folder keeps them."""
        target = self.target_ms
        path = self.options.table.with_suffix(".json") if self.options.table is not None else None
        name = f"{target:.6g} ms, {self.options.trials} trials"
        kept = read_answer(path, self.key, name) if path is not None else None
        if kept is not None:
            picks, rounds = kept["picks"], [Round(*row) for row in kept["rounds"]]
        else:
            picks, rounds = self._rounds(target)
            if path is not None:
                write_answer(path, self.key, name, {"picks": picks, "rounds": [astuple(r) for r in rounds]})
        return SearchResult(
            chosen_recipe(self.recipe, self.layers, picks),
            {layer.name: layer.choices[pick].text for layer, pick in zip(self.layers, picks, strict=True)},
            target, self.table.dense_ms, total(self.table.sensitivities, picks),
            self.uniform_sensitivity(rounds[-1].predicted_ms), self.options.runs > 0, self.table_read, rounds)

    def _rounds(self, target: float) -> tuple[list[int], list[Round]]:
        """Solves, compiles and measures until the target is met; the round that came closest is last."""
        if self.options.trials:
            from .trials import weighted_costs

            self.costs = weighted_costs(self, target)
        rounds: list[tuple[Round, list[int]]] = []
        budget = target
        while len(rounds) < ROUNDS:
            self.progress("compile and measure", len(rounds), ROUNDS)
            picks = self.solve(budget)
            if any(picks == earlier for _, earlier in rounds):
                break
            predicted = self.table.rest_ms + total(self.table.times, picks)
            measured = self.measured(picks) if self.options.runs else predicted
            rounds.append((Round(budget, predicted, measured), picks))
            if abs(measured / target - 1) <= CLOSE:
                break
            budget = next_budget([row for row, _ in rounds], target)
        self.progress("compile and measure", ROUNDS, ROUNDS)
        rounds.sort(key=lambda row: -abs(row[0].measured_ms / target - 1))
        return rounds[-1][1], [row for row, _ in rounds]

    @property
    def target_ms(self) -> float:
        """The target on the table's time scale; ``EspalierError`` where it needs no pruning or cannot be
        reached."""
        options = self.options
        target = options.latency_ms or self.table.dense_ms / (options.speedup or 1.0)
        how = f"the latency target of {target:.4g} ms"
        if options.speedup is not None:
            how = f"{options.speedup:g} times faster ({target:.4g} ms)"
        if target >= self.table.dense_ms:
            raise EspalierError(f"{how} needs no pruning: the dense network takes {self.table.dense_ms:.4g} "
                                f"ms")
        if target < self.reachable_ms:
            raise EspalierError(f"{how} is below what the highest rates reach: {self.reachable_ms:.4g} ms "
                                f"({self.table.dense_ms / self.reachable_ms:.2f} times faster)")
        return target

    def solve(self, whole_ms: float) -> list[int]:
        """The choices that fit a whole time by the table; the fastest there are where none do."""
        budget = max(whole_ms, self.reachable_ms * (1 + 1e-9)) - self.table.rest_ms
        return choose(self.costs, self.table.times, budget)

    def measured(self, picks: Sequence[int]) -> float:
        """The time of ``picks``, compiled and run in turns with the dense network; what the machine did to
        the dense one since the table was made is taken out."""
        network = compiled(self.assembled(picks), self.inputs)
        times = network_times([self.dense, network], self.arrays, threads=self.options.threads,
                              runs=self.options.runs, progress=self.progress)
        return times[1].whole_ms / times[0].whole_ms * self.table.dense_ms

    def assembled(self, picks: Sequence[int]) -> nn.Module:
        """A copy of the model with every searched layer at its choice, and the others as the recipe has
        them."""
        recipe = chosen_recipe(self.recipe, self.layers, picks)
        assignment = assign(self.model, recipe)
        return projected(self.model, assignment) if assignment.targets else copy.deepcopy(self.model)

    def uniform_sensitivity(self, whole_ms: float) -> float | None:
        """What a uniform rate would cost: layers all at the same rate, read off between two such networks."""
        rates = sorted({choice.rate for layer in self.layers for choice in layer.choices})
        points = []
        for rate in rates:
            picks = [max(range(len(layer.choices)), key=lambda at, row=layer.choices: (  # type: ignore[misc]
                row[at].rate <= rate, row[at].rate)) for layer in self.layers]
            points.append((self.table.rest_ms + total(self.table.times, picks),
                           total(self.table.sensitivities, picks)))
        points.sort()
        if not points[0][0] <= whole_ms <= points[-1][0]:
            return None
        return float(np.interp(whole_ms, [ms for ms, _ in points], [cost for _, cost in points]))

    # -- the table -------------------------------------------------------------------------------------------

    def _table(self) -> SearchTable:
        options = self.options
        self.key = table_key(self.model, self.recipe, threads=options.threads, measured=options.runs > 0,
                             calibrated=self.calibration is not None, samples=options.samples,
                             inputs=[list(array.shape) for array in self.arrays])
        kept = read_table(options.table, self.key, self.layers) if options.table is not None else None
        if kept is not None:
            self.table_read = True
            return kept
        times = self._times()
        rises = sensitivities(self.model, self.layers, self.weights, self.calibration, self.progress)
        rows = [[times.layers[layer.name].ms(None if choice.spec is None else choice.share)
                 for choice in layer.choices] for layer in self.layers]
        table = SearchTable(rows, rises, times.rest_ms, times.dense_ms)
        if options.table is not None:
            write_table(options.table, self.key, self.layers, table)
        return table

    def _times(self) -> Any:
        """Profiles of the dense network and of three uniform ones, fitted."""
        profiled = [[1 + round(place * (len(layer.choices) - 2)) for layer in self.layers]
                    for place in PROFILED]
        models = [self.dense]
        for done, picks in enumerate(profiled):
            self.progress("compiling uniform rates", done, len(profiled))
            models.append(compiled(self.assembled(picks), self.inputs))
        self.progress("compiling uniform rates", len(profiled), len(profiled))
        found: list[NetworkTimes] = network_times(
            models, self.arrays, threads=self.options.threads, runs=self.options.runs, progress=self.progress)
        shares = {layer.name: [layer.choices[picks[at]].share for picks in profiled]
                  for at, layer in enumerate(self.layers)}
        return fitted(found[0], found[1:], shares, measured=self.options.runs > 0)


def next_budget(rounds: Sequence[Round], target_ms: float) -> float:
    """The budget whose network should meet the target: between the nearest rounds on either side of it, or
    the last one's prediction, corrected by what was measured."""
    below = [row for row in rounds if row.measured_ms <= target_ms]
    above = [row for row in rounds if row.measured_ms > target_ms]
    if below and above:
        low = max(below, key=lambda row: row.measured_ms)
        high = min(above, key=lambda row: row.measured_ms)
        share = (target_ms - low.measured_ms) / (high.measured_ms - low.measured_ms)
        return low.predicted_ms + share * (high.predicted_ms - low.predicted_ms)
    return rounds[-1].predicted_ms * target_ms / rounds[-1].measured_ms


def _example(task: Task | None) -> tuple[Any, ...]:
    """The first sample of a task as a batch of one; a task whose inputs put time first needs ``inputs``."""
    if task is None:
        raise EspalierError("a search without a task needs inputs: an example of the model's arguments")
    return tuple(value[:1] for value in task.inputs(next(iter(task.validation))))


__all__ = ["Search", "SearchOptions", "SearchResult", "Searched", "search_rates"]
