"""How a space of schedules is searched, behind one interface: ask for a genome, tell what it cost.

    exhaustive    every schedule, those near the heuristic's first: where there are few
    ga            a genetic algorithm, as PatDNN's and GRIM's tuners (ASPLOS 2020; TPAMI 2022)
    tpe, cma, nsga    Optuna's samplers
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol

from ...errors import optional, unknown
from ...sparse_dialect.schedule.candidates import Genome, Space

POPULATION, TOURNAMENT = 10, 3
MOST_TRIES = 60  # for a genome that was not measured yet
FEW = 64  # schedules that are all tried
FAILED = 10.0  # what a schedule that cannot run counts as, in times of the default
METHODS = ("auto", "ga", "tpe", "cma", "nsga", "exhaustive")


class Search(Protocol):
    """A search of one space. What was told counts, whoever asked for it: that is how a search goes on."""

    def ask(self) -> Genome | None:
        """A genome that was not told yet; None when there is none left, or none is found."""

    def tell(self, genome: Genome, ratio: float) -> None:
        """``ratio``: the genome's cost over the default's."""


def search_of(method: str, space: Space, seed: int) -> Search:
    """The search of that name in METHODS; raises ``EspalierError`` for another one."""
    if method not in METHODS:
        raise unknown("search", method, METHODS)
    few = len(list(islice(space.all(), FEW + 1))) <= FEW
    if method == "exhaustive" or few:
        return Exhaustive(space)
    return Genetic(space, seed) if method in ("auto", "ga") else Sampled(space, seed, method)


class Exhaustive:
    """Every possible genome."""

    def __init__(self, space: Space) -> None:
        self.told: dict[Genome, float] = {space.default: 1.0}
        self._left: Iterator[Genome] = space.all()

    def ask(self) -> Genome | None:
        return next((genome for genome in self._left if genome not in self.told), None)

    def tell(self, genome: Genome, ratio: float) -> None:
        self.told[genome] = ratio


class Genetic:
    """Tournaments among the best so far; children take each axis from either parent, and change a step."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.random = space, random.Random(seed)
        self.told: dict[Genome, float] = {space.default: 1.0}
        self._asked: set[Genome] = set()

    def ask(self) -> Genome | None:
        for _ in range(MOST_TRIES):
            genome = self._founder() if len(self.told) < POPULATION else self._child()
            if genome not in self.told and genome not in self._asked:
                self._asked.add(genome)
                return genome
        return None

    def tell(self, genome: Genome, ratio: float) -> None:
        self.told[genome] = ratio

    def _founder(self) -> Genome:
        """The first generation: near the heuristic's choice, and anywhere."""
        near = self.random.random() < 0.5
        return self.space.changed(self.space.default, self.random) if near else self.space.draw(self.random)

    def _child(self) -> Genome:
        if self.random.random() < 0.1:
            return self.space.draw(self.random)
        mother, father = self._parent(), self._parent()
        child = [self.random.choice(pair) for pair in zip(mother, father, strict=True)]
        return self.space.changed(self.space.settled(child), self.random)

    def _parent(self) -> Genome:
        best = sorted(self.told, key=lambda genome: self.told[genome])[:POPULATION]
        return min(self.random.sample(best, min(TOURNAMENT, len(best))), key=lambda genome: self.told[genome])


class Sampled:
    """Optuna's samplers, over the places on the axes."""

    def __init__(self, space: Space, seed: int, method: str) -> None:
        optuna = optional("optuna", f"searching by {method}")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if method == "cma":
            optional("cmaes", "searching by cma")
        samplers = {"tpe": optuna.samplers.TPESampler, "cma": optuna.samplers.CmaEsSampler,
                    "nsga": optuna.samplers.NSGAIISampler}
        self.space, self.random = space, random.Random(seed)
        self.told: dict[Genome, float] = {}
        self._optuna, self._asked = optuna, dict[Genome, Any]()
        self._study = optuna.create_study(sampler=samplers[method](seed=seed))
        self._ranges = {axis.label: optuna.distributions.IntDistribution(0, len(axis.values) - 1)
                        for axis in space.axes if len(axis.values) > 1}
        self.tell(space.default, 1.0)

    def ask(self) -> Genome | None:
        for _ in range(MOST_TRIES):
            trial = self._study.ask(self._ranges)
            genome = self.space.settled([trial.params.get(axis.label, 0) for axis in self.space.axes])
            if genome not in self.told and genome not in self._asked and self.space.possible(genome):
                self._asked[genome] = trial
                return genome
            self._study.tell(trial, self.told.get(genome, FAILED))
        drawn = self.space.draw(self.random)
        return None if drawn in self.told else drawn

    def tell(self, genome: Genome, ratio: float) -> None:
        self.told[genome] = ratio
        if genome in self._asked:
            self._study.tell(self._asked.pop(genome), ratio)
            return
        params = {axis.label: place for axis, place in zip(self.space.axes, genome, strict=True)
                  if axis.label in self._ranges}
        self._study.add_trial(self._optuna.create_trial(params=params, distributions=self._ranges,
                                                        value=ratio))
