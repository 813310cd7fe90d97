"""The tuner's loop: rounds of trials, then what is found is confirmed against today's default.

A round compiles the network once, with another schedule for every layer; layers of one key share what they
find. Trials are kept when their round is through, so that a tuner that was killed goes on where it was. A
schedule counts only where its layers are faster by a margin in a longer run, and the whole network is faster
with all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...errors import EspalierError
from ...sparse_dialect.schedule.candidates import Genome, split
from ...sparse_dialect.schedule.database import Database, Place, Trial
from ...sparse_dialect.schedule.schedule import Schedule
from .apart import CRASH, HANG, OK, Outcome
from .judge import CONFIRM_S, Costs, Judge, Verdict
from .network import TunedNetwork, Unit
from .search import FAILED, Search, search_of

WORTH = 0.985  # of the default's time: what is slower is left as it is
WRONG = "wrong"  # the state of a schedule whose outputs are others
Told = Callable[[int, int, float], None]  # trials done and wanted, the network's best predicted share


@dataclass(frozen=True)
class Limits:
    """``trials`` a layer; ``seconds`` for all; the search's ``method`` and ``seed``."""

    trials: int = 32
    seconds: float = 600.0
    method: str = "auto"
    seed: int = 0


@dataclass
class Progress:
    """What a search of one unit knows."""

    unit: Unit
    search: Search
    wanted: int
    costs: dict[Genome, float] = field(default_factory=dict)
    share: float = 0.0  # of the network's time, by the default
    through: bool = False

    @property
    def best(self) -> list[Genome]:
        """Genomes that were faster, the fastest first."""
        faster = (genome for genome, ratio in self.costs.items() if ratio < WORTH)
        return sorted(faster, key=lambda genome: self.costs[genome])


@dataclass(frozen=True)
class Ask:
    """A schedule that is to be tried on the layers ``names`` of a unit."""

    known: Progress
    genome: Genome
    names: tuple[str, ...]

    @property
    def clocks(self) -> set[str]:
        return {self.known.unit.clocks[name] for name in self.names}

    @property
    def schedule(self) -> Schedule:
        return self.known.unit.space.schedule(self.genome)

    def ratio(self, costs: Costs) -> tuple[float, float]:
        """The layers' cost over the default's, and the default's."""
        tried, default = (sum(costs[clock][at] for clock in self.clocks) for at in (0, 1))
        return tried / max(default, 1e-12), default


@dataclass(frozen=True)
class Result:
    """What came out: the ``chosen`` schedules by unit with their shares of the default's time, the
    ``verdict`` on the whole network (None: nothing to confirm), and how many trials were new."""

    chosen: dict[str, tuple[Schedule, float]]
    verdict: Verdict | None
    trials: int
    failed: int
    reused: int
    seconds: float


class Tuner:
    """Searches ``network`` as ``judge`` finds it, and keeps trials and results in ``database``."""

    def __init__(self, network: TunedNetwork, judge: Judge, database: Database, place: Place,
                 limits: Limits, told: Told = lambda done, wanted, share: None) -> None:
        self.network, self.judge, self.database, self.place = network, judge, database, place
        self.limits, self.told = limits, told
        self.end = time.monotonic() + limits.seconds
        self.done = self.failed = self.reused = 0
        self.rounds_s: list[float] = []
        self.units = [self._resumed(unit, number) for number, unit in enumerate(network.units)]

    def run(self) -> Result:
        """Searches until trials or time are through, or Ctrl-C; then confirms."""
        begin = time.monotonic()
        try:
            self._search()
        except KeyboardInterrupt:
            pass  # what was found until now is confirmed; a second one ends it all
        chosen, verdict = self._confirmed()
        return Result(chosen, verdict, self.done, self.failed, self.reused, time.monotonic() - begin)

    def _resumed(self, unit: Unit, number: int) -> Progress:
        """The search of ``unit``, told what was tried before."""
        search = search_of(self.limits.method, unit.space, self.limits.seed + number)
        known = Progress(unit, search, self.limits.trials)
        for trial in self.database.trials(self.place, unit.key, self.judge.objective):
            genome = unit.space.genome(trial.schedule)
            if genome is not None and genome not in known.costs:
                known.costs[genome] = trial.ratio if trial.state == OK and trial.ratio else FAILED
                search.tell(genome, known.costs[genome])
                self.reused += 1
        return known

    # -- searching -----------------------------------------------------------------------------

    def _search(self) -> None:
        self._report()
        while asked := self._round():
            begin = time.monotonic()
            self._try(asked)
            self.rounds_s.append(time.monotonic() - begin)
            self._report()
            if time.monotonic() + 1.2 * max(self.rounds_s) + self._confirming_s() > self.end:
                if len(self.rounds_s) == 1 and time.monotonic() > self.end:
                    raise EspalierError(f"--time is too little for one round of trials, which took "
                                        f"{self.rounds_s[0]:.0f} s; give it "
                                        f"{3 * self.rounds_s[0] + self._confirming_s():.0f}s or more")
                return

    def _confirming_s(self) -> float:
        """About how long confirming takes: two compilations and longer runs."""
        return 2 * max(self.rounds_s, default=0.0) + 2 * CONFIRM_S

    def _round(self) -> list[Ask]:
        """A schedule for every layer whose unit has trials left; layers that are measured together take
        turns."""
        taken: set[str] = set()
        asked: list[Ask] = []
        for known in sorted(self.units, key=lambda known: len(known.costs)):
            left = known.wanted - len(known.costs)
            for name, clock in known.unit.clocks.items():
                if left <= 0 or known.through or clock in taken:
                    continue
                genome = known.search.ask()
                if genome is None:
                    known.through = True
                    continue
                taken.add(clock)
                left -= 1
                asked.append(Ask(known, genome, (name,)))
        return asked

    def _try(self, asked: Sequence[Ask]) -> None:
        """Measures ``asked`` together; where that fails, each half by itself: one is at fault."""
        outcome = self.judge.measure(_schedules(asked))
        if len(asked) == 1 and outcome.state in (CRASH, HANG):  # the fault may have been the machine's
            outcome = self.judge.measure(_schedules(asked))
        if outcome.state == OK:
            self._keep(asked, outcome.value)
        elif len(asked) == 1:
            self._mark(asked[0], outcome)
        else:
            middle = len(asked) // 2
            self._try(asked[:middle])
            self._try(asked[middle:])

    def _keep(self, asked: Sequence[Ask], costs: Costs) -> None:
        trials = []
        for ask in asked:
            known, (ratio, default) = ask.known, ask.ratio(costs)
            known.costs[ask.genome] = ratio
            known.search.tell(ask.genome, ratio)
            known.share = default * len(known.unit.clocks)
            trials.append(Trial(known.unit.key, ask.schedule, OK, ratio, ratio * default,
                                self.judge.objective, network=self.network.name))
        self.database.add_trials(trials, self.place)
        self.done += len(trials)

    def _mark(self, ask: Ask, outcome: Outcome) -> None:
        """A schedule that does not run: it is not tried again."""
        ask.known.costs[ask.genome] = FAILED
        ask.known.search.tell(ask.genome, FAILED)
        state = WRONG if outcome.reason.startswith(WRONG) else outcome.state
        trial = Trial(ask.known.unit.key, ask.schedule, state, reason=outcome.reason,
                      objective=self.judge.objective, network=self.network.name)
        self.database.add_trials([trial], self.place)
        self.done += 1
        self.failed += 1

    def _report(self) -> None:
        """How far the search is, and the best so far: of the time of all units, by their own measurements."""
        whole = sum(known.share for known in self.units)
        best = sum(known.share * min(1.0, *known.costs.values(), 1.0) for known in self.units)
        wanted = sum(known.wanted if not known.through else len(known.costs) for known in self.units)
        self.told(sum(len(known.costs) for known in self.units), wanted, best / whole if whole else 1.0)

    # -- confirming ----------------------------------------------------------------------------

    def _confirmed(self) -> tuple[dict[str, tuple[Schedule, float]], Verdict | None]:
        """The fastest of each unit, measured again for longer; what still is faster is tried together."""
        asked = [Ask(known, known.best[0], tuple(known.unit.clocks)) for known in self.units if known.best]
        outcome = self.judge.measure(_schedules(asked), CONFIRM_S) if asked else None
        if outcome is None or outcome.state != OK:
            return {}, None
        faster = sorted(((ask.ratio(outcome.value)[0], ask) for ask in asked), key=lambda entry: entry[0])
        faster = [entry for entry in faster if entry[0] < WORTH]
        verdict = None
        while faster:
            schedules = _schedules([ask for _, ask in faster])
            outcome = self.judge.confirm(schedules)
            verdict = outcome.value if outcome.state == OK else None
            if verdict is not None and verdict.faster:
                chosen = {ask.known.unit.key: (ask.schedule, ratio) for ratio, ask in faster}
                self._store(chosen, schedules)
                return chosen, verdict
            faster = faster[: len(faster) // 2]  # those that gain most
        return {}, verdict

    def _store(self, chosen: dict[str, tuple[Schedule, float]], schedules: dict[str, Schedule]) -> None:
        """Entries for what is decided before layouts, by layer, and for tiles, by the grids around them."""
        _, tiles = self.network.keys_with(schedules)
        entries: dict[str, tuple[Schedule, float]] = {}
        for unit in self.network.units:
            if unit.key not in chosen:
                continue
            schedule, ratio = chosen[unit.key]
            early, late = split(schedule)
            if early != Schedule():
                entries[unit.key] = early, ratio
            if late != Schedule():
                entries |= {tiles[name]: (late, ratio) for name in unit.clocks if name in tiles}
        self.database.confirm(entries, self.place, self.network.name)


def _schedules(asked: Sequence[Ask]) -> dict[str, Schedule]:
    """What ``asked`` says, by layer."""
    return {name: ask.schedule for ask in asked for name in ask.names}
