"""The fastest network whose metric stays above a floor: bisection over latency with short trainings.

Each probe takes the table's rates for a latency and trains a quarter of the epochs; it passes where its
metric reaches the floor less a margin, for the full training gains more. Finished probes are kept beside the
table (``search.floor.csv``), so that a search that was interrupted goes on.
"""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ....files import replacing
from ....sparse_dialect.errors import EspalierError
from ...tasks.task import Task
from ..engine import PruningRun
from ..loop import evaluate
from ..recipe import Admm, OneShot, Recipe, load_recipe
from .choices import chosen_recipe
from .search import Search, SearchOptions, SearchResult
from .times import Progress

PROBES = 4
SHARE = 0.25  # of the epochs, in a probe
MARGIN = 0.5  # points (or hundredths of the metric's own unit) that a short training may lack
COLUMNS = ("key", "latency_ms", "metric")

Train = Callable[[Recipe], float]  # a training by a recipe, from the dense model; its validation metric


def search_floor(model: nn.Module, task: Task, recipe: Any, inputs: Sequence[Any] | None, floor: float, *,
                 options: SearchOptions | None = None, train: Train | None = None,
                 progress: Progress = lambda step, done, total: None) -> SearchResult:
    """The rates of the fastest network that should stay above ``floor`` (below it, where a lower metric is
    better). Raises ``EspalierError`` where the dense model or every probe misses it."""
    recipe = load_recipe(recipe)
    made = options or SearchOptions()
    dense = evaluate(model, task, task.validation, recipe.precision)
    if task.better(floor, dense):
        raise EspalierError(f"--floor {floor:g}: the dense model itself has a {task.name} of {dense:.4g}")
    search = Search(model, task, recipe, inputs, replace(made, latency_ms=None, speedup=2.0), progress)
    probes = Probes(search, train or _trainer(model, task), progress)
    fast, slow = search.reachable_ms, search.table.dense_ms
    margin = MARGIN if task.percent else MARGIN / 100
    enough = floor - margin if task.higher_is_better else floor + margin
    best = None
    for number in range(PROBES):
        progress("probes", number, PROBES)
        middle = math.sqrt(fast * slow)
        metric = probes.metric(middle)
        if task.better(enough, metric):
            fast = middle
        else:
            slow = best = middle
    progress("probes", PROBES, PROBES)
    if best is None:
        raise EspalierError(f"--floor {floor:g}: no short training stays above it; the last, at {fast:.4g} "
                            f"ms ({search.table.dense_ms / fast:.2f} times faster than dense), came to "
                            f"{probes.metric(fast):.4g}: give the recipe more epochs, or a lower floor")
    search.options = replace(search.options, latency_ms=best, speedup=None)
    return search.run()


class Probes:
    """Short trainings at latencies, each done once."""

    def __init__(self, search: Search, train: Train, progress: Progress) -> None:
        self.search, self.train, self.progress = search, train, progress
        table = search.options.table
        self.path = table.with_suffix(".floor.csv") if table is not None else None
        facts = [search.table.times, search.table.sensitivities, search.recipe.model_dump(mode="json")]
        self.key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        self.rows = _read(self.path) if self.path is not None else []

    def metric(self, latency_ms: float) -> float:
        """The metric of a short training at the rates for ``latency_ms``."""
        row = (self.key, f"{latency_ms:.6g}")
        known = next((found[2] for found in self.rows if found[:2] == row), None)
        if known is not None:
            return float(known)
        picks = self.search.solve(latency_ms)
        metric = self.train(shortened(chosen_recipe(self.search.recipe, self.search.layers, picks)))
        self.rows.append((*row, repr(metric)))
        if self.path is not None:
            _write(self.path, self.rows)
        return metric


def shortened(recipe: Recipe, share: float = SHARE) -> Recipe:
    """``recipe`` with a share of its epochs, as few as its parts allow."""
    method = recipe.method
    if not isinstance(method, OneShot):
        least = len(method.stages) if isinstance(method, Admm) else 1
        method = method.model_copy(update={"epochs": max(least, round(share * method.epochs))})
    epochs = max(1, round(share * recipe.retrain.epochs))
    return recipe.model_copy(update={"method": method,
                                     "retrain": recipe.retrain.model_copy(update={"epochs": epochs})})


def _trainer(model: nn.Module, task: Task) -> Train:
    def train(recipe: Recipe) -> float:
        metric = PruningRun(copy.deepcopy(model), task, recipe).run().retrained
        assert metric is not None
        return metric

    return train


def _read(path: Path) -> list[tuple[str, str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    if not rows or tuple(rows[0]) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise EspalierError(f"{path}: no table of probes: remove it")
    return [(row[0], row[1], row[2]) for row in rows[1:]]


def _write(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode())
