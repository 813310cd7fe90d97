"""Chooses a network's lane grids before its tiles: measures assignments until every layer was measured
between all grids that it may lie between, has the fastest computed (``grids.py``), and confirms that one.

    trials    (56x56 on 4x4), (56x56 on 4x4, 28x28 on 2x8) ...    each a whole network, layer by layer
    result    the assignment whose layers are fastest together, if the whole network is faster with it
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from ...sparse_dialect.schedule.database import Database, Place, Trial
from ...sparse_dialect.schedule.schedule import Schedule
from .apart import LATE, LOST, OK, Outcome
from .budget import ROUND_S, Budget, Limits
from .grids import Assignment, Classes, Times
from .judge import Kind, Measure, Verdict
from .network import TunedNetwork
from .workers import Farm, Work, checked

SHARE = 1 / 3  # of the time that is left
MOST_TRIALS = 24
WORTH = 0.995  # of the default's time, as the layers' times add up: else the grids stay


@dataclass
class GridSearch:
    """Searches the grids of ``network``; trials are kept in ``database``. ``done``: new ones, ``failed`` and
    known before (``reused``); ``gains``: by layer its share of the default's time on the grids that were
    taken."""

    network: TunedNetwork
    farm: Farm
    measure: Measure
    database: Database
    place: Place
    limits: Limits
    budget: Budget
    done: int = 0
    failed: int = 0
    reused: int = 0
    gains: dict[str, float] = field(default_factory=dict)
    defaults: dict[str, list[float]] = field(default_factory=dict)

    def run(self) -> Verdict | None:
        """Has the network take the grids that are confirmed to be faster; the verdict on the whole network,
        None where the default's stay."""
        classes = self.network.classes()
        if all(len(grids) == 1 for grids in classes.grids):
            return None
        times = self._resumed(classes)
        self._search(classes, times)
        found, cost = times.best()
        default = sum(median(known) for known in self.defaults.values())
        if found == classes.default or not cost < WORTH * default:
            return None
        verdict = self._confirmed(classes, found)
        if verdict is not None:
            self.gains = {name: cost / max(median(self.defaults[name]), 1e-12)
                          for name, cost in times.of(found).items()}
        return verdict

    def _key(self, classes: Classes) -> str:
        digest = hashlib.sha256(repr(classes).encode()).hexdigest()[:12]
        return f"grids of {self.network.name} {digest}"

    def _resumed(self, classes: Classes) -> Times:
        """What was measured before."""
        times = Times(classes)
        for trial in self.database.trials(self.place, self._key(classes), self.measure.objective):
            assignment = tuple(map(int, trial.reason.split(",")))
            if trial.state == OK:
                self._tell(times, assignment, trial.features)
            else:
                times.fail(assignment)
            self.reused += 1
        return times

    def _search(self, classes: Classes, times: Times) -> None:
        drawn, begin = random.Random(self.limits.seed), time.monotonic()
        share = self.budget.for_rounds * SHARE
        most = min(self.limits.trials, MOST_TRIALS)
        while self.reused + self.done < most and self.budget.another and time.monotonic() - begin < share:
            asked = times.several(drawn, min(self.farm.width, most - self.reused - self.done))
            if not asked:
                return
            started = time.monotonic()
            outcomes = self._all("measure", classes, asked, ROUND_S, self.budget.for_rounds)
            trials = [self._trial(classes, times, assignment, outcome)
                      for assignment, outcome in zip(asked, outcomes, strict=True)
                      if outcome.state not in (LATE, LOST)]
            self.database.add_trials(trials, self.place)
            self.done += len(trials)
            if any(checked(outcome).state == LATE for outcome in outcomes):
                return
            self.budget.ran(time.monotonic() - started)

    def _all(self, kind: Kind, classes: Classes, asked: Sequence[Assignment], seconds: float,
             left: float) -> list[Outcome]:
        until = time.monotonic() + left
        schedules = [{name: Schedule(grid=grid) for name, grid in classes.chosen(assignment).items()}
                     for assignment in asked]
        return self.farm.all([Work(kind, each, seconds, until) for each in schedules])

    def _trial(self, classes: Classes, times: Times, assignment: Assignment, outcome: Outcome) -> Trial:
        """Notes how ``assignment`` ended."""
        key, text = self._key(classes), _text(assignment)
        if outcome.state != OK:
            times.fail(assignment)
            self.failed += 1
            return Trial(key, Schedule(), outcome.state, objective=self.measure.objective,
                         network=self.network.name, reason=text)
        tuned = {name: cost for name, (cost, _) in outcome.value.items()}
        default = {f"default {name}": cost for name, (_, cost) in outcome.value.items()}
        self._tell(times, assignment, tuned | default)
        ratio = sum(tuned.values()) / max(sum(default.values()), 1e-12)
        return Trial(key, Schedule(), OK, ratio, sum(tuned.values()), self.measure.objective,
                     tuned | default, self.network.name, text)

    def _tell(self, times: Times, assignment: Assignment, found: Mapping[str, float]) -> None:
        """Layers' times, as shares of the default's in the same run; the default is one of the choices."""
        for name in times.classes.factors:
            default = found[f"default {name}"]
            self.defaults.setdefault(name, []).append(default)
        middle = {name: median(known) for name, known in self.defaults.items()}
        times.tell(times.classes.default, middle)
        times.tell(assignment, {name: found[name] / max(found[f"default {name}"], 1e-12) * middle[name]
                                for name in times.classes.factors})

    def _confirmed(self, classes: Classes, found: Assignment) -> Verdict | None:
        """The verdict where the whole network is faster on the grids ``found``, which it then takes."""
        verdict = self._known_verdict(classes, found) or self._new_verdict(classes, found)
        if verdict is None or not verdict.faster:
            return None
        chosen = classes.chosen(found)
        keys, _ = self.network.keys_with({})
        entries = {keys[name]: (Schedule(grid=grid), verdict.ratio) for name, grid in chosen.items()
                   if name in keys}
        self.database.confirm(entries, self.place, self.network.name)
        self.network.take_grids(chosen)
        return verdict

    def _known_verdict(self, classes: Classes, found: Assignment) -> Verdict | None:
        """What an earlier search found out: tiles were measured on what it took."""
        trials = self.database.trials(self.place, f"{self._key(classes)}, whole", self.measure.objective)
        known = [Verdict(**trial.features) for trial in trials if trial.reason == _text(found)]
        if not known:
            return None
        self.reused += 1
        return known[0]

    def _new_verdict(self, classes: Classes, found: Assignment) -> Verdict | None:
        (outcome,) = self._all("confirm", classes, [found], self.budget.confirm_s, self.budget.left)
        if checked(outcome).state != OK:
            return None
        verdict: Verdict = outcome.value
        trial = Trial(f"{self._key(classes)}, whole", Schedule(), OK, verdict.ratio, verdict.tuned,
                      self.measure.objective, asdict(verdict), self.network.name, _text(found))
        self.database.add_trials([trial], self.place)
        self.done += 1
        return verdict


def _text(assignment: Assignment) -> str:
    return ",".join(map(str, assignment))
