"""A cost model that is learned from the log: gradient-boosted trees (scikit-learn) over a trial's features.

    (features of a layer and a schedule) -> log(cost / the default's cost)

It ranks what a search proposes, so that of several schedules only the most promising one is measured (as the
performance estimators of PatDNN, ASPLOS 2020, section 5.5, and GRIM do). It never decides: what is kept was
measured.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from ...errors import EspalierError, optional
from ...sparse_dialect.schedule.candidates import Genome
from ...sparse_dialect.schedule.database import Trial
from ...sparse_dialect.schedule.schedule import Schedule
from ..predictions import ranks
from .apart import OK
from .search import Search

FEWEST_TRIALS, FEWEST_LAYERS = 300, 20  # of a log that a model is trained on by itself
POOL = 16  # proposals that one is chosen from
ASTRAY = 0.2  # of the choices are not the model's: it is to hear of what it does not know
ABSENT = -1.0  # all features are 0 and more, or logarithms
WORST = 5.0  # times the default's cost; beyond, it does not matter


def usable(trials: Sequence[Trial]) -> list[Trial]:
    """The trials of one layer that a model learns from."""
    return [trial for trial in trials
            if trial.state == OK and trial.ratio and trial.features and trial.schedule != Schedule()]


def enough(trials: Sequence[Trial]) -> bool:
    """Whether a model of ``trials`` is worth asking."""
    return len(trials) >= FEWEST_TRIALS and len({trial.layer for trial in trials}) >= FEWEST_LAYERS


class CostModel:
    """What was learned from ``usable`` trials. Needs scikit-learn; ``EspalierError`` without trials."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        if not trials:
            raise EspalierError("a cost model needs trials to learn from: tune without --model first")
        ensemble = optional("sklearn.ensemble", "a learned cost model")
        self.names = sorted({name for trial in trials for name in trial.features})
        self._trees = ensemble.GradientBoostingRegressor(  # the one that starts no threads beside trials
            loss="huber", learning_rate=0.1, n_estimators=150, max_depth=4, subsample=0.7,
            max_features=0.5, random_state=0)
        targets = [log(min(trial.ratio or WORST, WORST)) for trial in trials]
        self._trees.fit(self._table([trial.features for trial in trials]), targets)

    def _table(self, features: Sequence[Mapping[str, float]]) -> np.ndarray:
        """f64 [trials, names]; ABSENT for what a layer does not have."""
        return np.array([[each.get(name, ABSENT) for name in self.names] for each in features], float)

    def ratios(self, features: Sequence[Mapping[str, float]]) -> np.ndarray:
        """Predicted costs, in times of the default's, of schedules with these ``features``."""
        return np.exp(self._trees.predict(self._table(features)))


class Ranked:
    """A search whose proposals are measured in the order that ``model`` finds promising."""

    def __init__(self, inner: Search, model: CostModel, features: Callable[[Genome], Mapping[str, float]],
                 seed: int) -> None:
        self._inner, self._model, self._features = inner, model, features
        self._pool: dict[Genome, float] = {}
        self._random = random.Random(seed)

    def ask(self) -> Genome | None:
        fresh: list[Genome] = []
        while len(self._pool) + len(fresh) < POOL and (genome := self._inner.ask()) is not None:
            fresh.append(genome)
        if fresh:
            predicted = self._model.ratios([self._features(genome) for genome in fresh])
            self._pool |= dict(zip(fresh, predicted.tolist(), strict=True))
        if not self._pool:
            return None
        astray = self._random.random() < ASTRAY
        best = min(self._pool, key=self._pool.__getitem__)
        chosen = self._random.choice(list(self._pool)) if astray else best
        del self._pool[chosen]
        return chosen

    def tell(self, genome: Genome, ratio: float) -> None:
        self._pool.pop(genome, None)
        self._inner.tell(genome, ratio)


@dataclass(frozen=True)
class Quality:
    """How well a model ranks the layers of a network that it has not seen: Spearman's rank correlation over
    all ``trials``, and the mean of each layer's own."""

    network: str
    trials: int
    overall: float
    within: float


def left_out(trials: Sequence[Trial]) -> list[Quality]:
    """For each network of ``usable`` trials: a model of the others' layers, but those that it has as well,
    asked about its own."""
    found = []
    for network in sorted({trial.network for trial in trials}):
        own = [trial for trial in trials if trial.network == network]
        layers = {trial.layer for trial in own}
        others = [trial for trial in trials if trial.network != network and trial.layer not in layers]
        if not others or len(own) < 2:
            continue
        predicted = CostModel(others).ratios([trial.features for trial in own])
        measured = np.array([trial.ratio for trial in own], float)
        of = np.array([trial.layer for trial in own])
        each = [correlation(predicted[of == layer], measured[of == layer]) for layer in sorted(layers)]
        known = [value for value in each if value is not None]
        found.append(Quality(network, len(own), correlation(predicted, measured) or 0.0,
                             float(np.mean(known)) if known else 0.0))
    return found


def correlation(a: np.ndarray, b: np.ndarray, fewest: int = 5) -> float | None:
    """Spearman's rank correlation; None for fewer than ``fewest`` values, and where there is no order."""
    if len(a) < fewest or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def chosen_model(wanted: bool | None, log_: Callable[[], list[Trial]]) -> tuple[CostModel | None, list[Any]]:
    """The model to ask, and the trials that it learned: where it is ``wanted``, or (None) where the log is
    large enough and scikit-learn is there."""
    if wanted is False:
        return None, []
    known = usable(log_())
    if wanted is None and not enough(known):
        return None, []
    try:
        return CostModel(known), known
    except EspalierError:
        if wanted:
            raise
        return None, []
