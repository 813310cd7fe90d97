"""The tuner's loop: rounds of trials, then what is found is confirmed against today's default.

Lane grids are chosen first (``grid_search.py``), for the whole network; tiles then on these.

A round compiles the network once, with another schedule for every layer; layers of one key share what they
find; every worker has a round of its own. Trials are kept when their rounds are through, so that a tuner that
was killed goes on where it was. A schedule counts only where its layers are faster by a margin in a longer
run, and the whole network is faster with all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from ...errors import EspalierError
from ...sparse_dialect.schedule.candidates import Genome, split
from ...sparse_dialect.schedule.database import Database, Place, Trial
from ...sparse_dialect.schedule.schedule import Schedule
from .apart import CRASH, HANG, LATE, LOST, OK, Outcome
from .budget import ROUND_S, Budget, Limits
from .grid_search import GridSearch
from .judge import Costs, Kind, Measure, Verdict
from .learned import Ranked
from .network import TunedNetwork, Unit
from .search import FAILED, Search, search_of
from .workers import Farm, Work, checked

WORTH = 0.985  # of the default's time: what is slower is left as it is
WRONG = "wrong"  # the state of a schedule whose outputs are others
Told = Callable[[int, int, float], None]  # trials done and wanted, the network's best predicted share


@dataclass
class Progress:
    """What a search of one unit knows, on ``grid`` (None: the default's), where it takes ``base`` of the
    default's time by itself; ``asked``: schedules of rounds whose costs are not there yet."""

    unit: Unit
    search: Search
    wanted: int
    grid: tuple[int, ...] | None = None
    base: float = 1.0
    costs: dict[Genome, float] = field(default_factory=dict)
    asked: int = 0
    share: float = 0.0  # of the network's time, by the default
    through: bool = False

    @property
    def best(self) -> list[Genome]:
        """Genomes that were faster, the fastest first."""
        faster = (genome for genome, ratio in self.costs.items() if ratio < WORTH * self.base)
        return sorted(faster, key=lambda genome: self.costs[genome])


@dataclass(frozen=True)
class Ask:
    """A schedule that is to be tried on the layers ``names`` of a unit."""

    known: Progress
    genome: Genome
    names: tuple[str, ...]

    @property
    def clocks(self) -> set[str]:
        return {clock for name in self.names for clock in self.known.unit.clocks[name]}

    @property
    def schedule(self) -> Schedule:
        return self.known.unit.space.schedule(self.genome).filled(grid=self.known.grid)

    def ratio(self, costs: Costs) -> tuple[float, float]:
        """The layers' cost over the default's, and the default's."""
        tried, default = (sum(costs[clock][at] for clock in self.clocks) for at in (0, 1))
        return tried / max(default, 1e-12), default


@dataclass(frozen=True)
class Result:
    """What came out: the ``chosen`` schedules by unit with their shares of the default's time, the
    ``verdict`` on the whole network (None: nothing to confirm), how many trials were new, and how many units
    had something faster that there was no time to confirm. ``unit``: of the verdicts; ``grids``: that on
    lane grids alone, where other ones than the default's are kept."""

    chosen: dict[str, tuple[Schedule, float]]
    verdict: Verdict | None
    trials: int
    failed: int
    reused: int
    seconds: float
    unconfirmed: int = 0
    unit: str = "s"
    grids: Verdict | None = None


class Tuner:
    """Searches ``network`` as the judges of ``farm`` find it, who tell how much there is of ``measure``, and
    keeps trials and results in ``database``."""

    def __init__(self, network: TunedNetwork, farm: Farm, measure: Measure, database: Database, place: Place,
                 limits: Limits, budget: Budget, told: Told = lambda done, wanted, share: None) -> None:
        self.network, self.farm, self.measure = network, farm, measure
        self.database, self.place = database, place
        self.limits, self.budget, self.told = limits, budget, told
        self.done = self.failed = self.reused = 0
        self.late = False
        self.units: list[Progress] = []
        self.grids: Verdict | None = None  # on what lane grids alone bring
        self.gains: dict[str, float] = {}  # by layer, from them

    def run(self) -> Result:
        """Searches until trials or time are through, or Ctrl-C; then confirms. Raises ``EspalierError`` where
        there is no time for one round."""
        try:
            self._choose_grids()
            self._begin()
            self._search()
        except KeyboardInterrupt:
            if not self.units:
                self._begin()
            # what was found until now is confirmed; a second one ends it all
        if not self.done and not self.reused and self.late:
            raise EspalierError(f"--time {self.budget.seconds:.0f}s is too little for one round of trials "
                                f"and its confirming; give it {self.budget.needed:.0f}s or more")
        self.late = False
        chosen, verdict = self._confirmed()
        missed = sum(bool(known.best) for known in self.units) if self.late else 0
        return Result(chosen, verdict, self.done, self.failed, self.reused,
                      self.budget.seconds - self.budget.left, missed, self.measure.unit, self.grids)

    def _choose_grids(self) -> None:
        """Lane grids come first: tiles depend on them."""
        search = GridSearch(self.network, self.farm, self.measure, self.database, self.place, self.limits,
                            self.budget)
        try:
            self.grids, self.gains = search.run(), search.gains
        finally:
            self.done += search.done
            self.failed += search.failed
            self.reused += search.reused

    def _begin(self) -> None:
        self.units = [self._resumed(unit, number) for number, unit in enumerate(self.network.units)]

    def _resumed(self, unit: Unit, number: int) -> Progress:
        """The search of ``unit``, told what was tried before."""
        search = search_of(self.limits.method, unit.space, self.limits.seed + number)
        if self.limits.model is not None:
            search = Ranked(search, self.limits.model, unit.features, self.limits.seed + number)
        name, clocks = next(iter(unit.clocks.items()))
        known = Progress(unit, search, self.limits.trials, self.network.grids.get(name),
                         self.gains.get(clocks[0], 1.0))
        for trial in self.database.trials(self.place, unit.key, self.measure.objective):
            genome = unit.space.genome(trial.schedule)
            if trial.schedule.grid == known.grid and genome is not None and genome not in known.costs:
                known.costs[genome] = trial.ratio if trial.state == OK and trial.ratio else FAILED
                search.tell(genome, known.costs[genome])
                self.reused += 1
        return known

    # -- searching -----------------------------------------------------------------------------

    def _search(self) -> None:
        self._report()
        while rounds := self._rounds():
            self.late = not self.budget.another
            if self.late:
                return
            begin = time.monotonic()
            self._try(rounds)
            if self.late:
                return
            self.budget.ran(time.monotonic() - begin)
            self._report()

    def _rounds(self) -> list[list[Ask]]:
        """A round for every worker, as long as there is something to try."""
        for known in self.units:
            known.asked = 0
        return list(takewhile(bool, (self._round() for _ in range(self.farm.width))))

    def _round(self) -> list[Ask]:
        """A schedule for every layer whose unit has trials left; layers that are measured together take
        turns."""
        taken: set[str] = set()
        asked: list[Ask] = []
        for known in sorted(self.units, key=lambda known: len(known.costs) + known.asked):
            for name, clocks in known.unit.clocks.items():
                full = len(known.costs) + known.asked >= known.wanted
                if full or known.through or not taken.isdisjoint(clocks):
                    continue
                genome = known.search.ask()
                if genome is None:
                    known.through = True
                    continue
                taken.update(clocks)
                known.asked += 1
                asked.append(Ask(known, genome, (name,)))
        return asked

    def _try(self, rounds: list[list[Ask]]) -> None:
        """Measures ``rounds``; where one fails, each half of it by itself: one schedule is at fault, which is
        measured twice, for the fault may have been the machine's."""
        again: set[int] = set()
        while rounds:
            following: list[list[Ask]] = []
            outcomes = self._measured(rounds)
            for asked, outcome in zip(rounds, outcomes, strict=True):
                middle = len(asked) // 2
                if outcome.state == OK:
                    self._keep(asked, outcome.value)
                elif outcome.state in (LATE, LOST):
                    continue
                elif middle:
                    following += [asked[:middle], asked[middle:]]
                elif outcome.state in (CRASH, HANG) and id(asked[0]) not in again:
                    again.add(id(asked[0]))
                    following.append(asked)
                else:
                    self._mark(asked[0], outcome)
            for outcome in outcomes:
                self._heard(outcome)
            rounds = [] if self.late else following

    def _measured(self, rounds: Sequence[Sequence[Ask]]) -> list[Outcome]:
        until = time.monotonic() + self.budget.for_rounds
        return self.farm.all([Work("measure", self.network.complete(_schedules(asked)), ROUND_S, until)
                              for asked in rounds])

    def _ask(self, kind: Kind, schedules: dict[str, Schedule]) -> Outcome:
        """How the confirming of ``schedules`` ends."""
        until = time.monotonic() + self.budget.left
        work = Work(kind, self.network.complete(schedules), self.budget.confirm_s, until)
        return self._heard(*self.farm.all([work]))

    def _heard(self, outcome: Outcome) -> Outcome:
        """``outcome``, and whether time is over; raises ``EspalierError`` where no worker is left."""
        self.late = self.late or checked(outcome).state == LATE
        return outcome

    def _keep(self, asked: Sequence[Ask], costs: Costs) -> None:
        trials = []
        for ask in asked:
            known, (ratio, default) = ask.known, ask.ratio(costs)
            known.costs[ask.genome] = ratio
            known.search.tell(ask.genome, ratio)
            known.share = default * len(known.unit.clocks)
            trials.append(Trial(known.unit.key, ask.schedule, OK, ratio, ratio * default,
                                self.measure.objective, known.unit.features(ask.genome),
                                self.network.name))
        self.database.add_trials(trials, self.place)
        self.done += len(trials)

    def _mark(self, ask: Ask, outcome: Outcome) -> None:
        """A schedule that does not run: it is not tried again."""
        ask.known.costs[ask.genome] = FAILED
        ask.known.search.tell(ask.genome, FAILED)
        state = WRONG if outcome.reason.startswith(WRONG) else outcome.state
        trial = Trial(ask.known.unit.key, ask.schedule, state, reason=outcome.reason,
                      objective=self.measure.objective, network=self.network.name)
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
        """The fastest of each unit, measured again for longer; what still is faster is tried together, then
        the half that gains most."""
        asked = [Ask(known, known.best[0], tuple(known.unit.clocks)) for known in self.units if known.best]
        faster = self._again(sorted(asked, key=lambda ask: ask.known.costs[ask.genome]))
        verdict = None
        while faster and not self.late:
            schedules = _schedules([ask for _, ask in faster])
            outcome = self._ask("confirm", schedules)
            if outcome.state == OK:
                verdict = outcome.value
                if verdict.faster and (self.grids is None or verdict.ratio < self.grids.ratio):
                    chosen = {ask.known.unit.key: (ask.schedule, ratio) for ratio, ask in faster}
                    self._store(chosen, schedules)
                    return chosen, verdict
            faster = faster[: len(faster) // 2]
        return {}, verdict

    def _again(self, asked: list[Ask]) -> list[tuple[float, Ask]]:
        """What of ``asked`` is faster in a longer run, with its share, the fastest first."""
        while asked and not self.late:
            outcome = self._ask("measure", _schedules(asked))
            if outcome.state == OK:
                costs = outcome.value
                found = sorted(((ask.ratio(costs)[0], ask) for ask in asked), key=lambda entry: entry[0])
                return [(ratio, ask) for ratio, ask in found if ratio < WORTH * ask.known.base]
            asked = asked[: len(asked) // 2]  # together they do not run
        return []

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
