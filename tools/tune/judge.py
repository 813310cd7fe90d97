"""What a round of trials costs: the network with a schedule for many layers at once, beside the default's.

Layers are measured where they run, in the whole network, so with caches as cold as they are there; and in the
same process as the default, run by run in turn, so that a slow minute of the machine hits both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, Protocol

import numpy as np

from ...errors import EspalierError
from ...runtime.compiled_model import CompiledModel
from ...sparse_dialect.schedule.schedule import Schedule
from ..bench.measure import interleave, relative_error
from .apart import OK, Outcome, run_apart
from .network import TunedNetwork

SAME = 1e-3  # outputs may differ from the default's by this share of the largest: sums in another order
FEWEST_RUNS, MOST_RUNS = 7, 40
FIRST_LIMIT_S, LEAST_LIMIT_S, TIMES = 60.0, 20.0, 10.0  # a round hangs that takes TIMES as long as the last
CLEAR = 0.6  # of the confirming rounds must be won
Costs = dict[str, tuple[float, float]]  # by clock: the schedule's and the default's


@dataclass(frozen=True)
class Verdict:
    """A whole network against the default: the fastest runs in seconds, the median of ratios of runs that
    followed each other, and the share of rounds that it won."""

    tuned: float
    default: float
    ratio: float
    won: float

    @property
    def faster(self) -> bool:
        """Whether it is, by all three."""
        return self.tuned < self.default and self.ratio < 1 and self.won >= CLEAR


@dataclass(frozen=True)
class Measure:
    """An ``objective``, and the ``unit`` of its costs."""

    objective: str

    @property
    def unit(self) -> str:
        return {"time": "s", "static-cycles": "cycles"}.get(self.objective, self.objective)


Kind = Literal["measure", "confirm"]


class Judge(Protocol):
    """What schedules are judged by."""

    def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        """The costs (``Costs``) of a network with ``schedules``, by layer, from runs of so many ``seconds``;
        LATE where that takes more than ``at_most``."""

    def confirm(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        """A ``Verdict`` on the whole network, likewise."""


def asked(judge: Judge, kind: Kind, schedules: Mapping[str, Schedule], seconds: float,
          at_most: float) -> Outcome:
    """What ``judge`` answers, asked to do ``kind``."""
    ask = judge.measure if kind == "measure" else judge.confirm
    return ask(schedules, seconds, at_most)


@contextmanager
def judge_of(network: TunedNetwork, device: str, objective: str, threads: int) -> Iterator[Judge]:
    """What judges ``network`` by ``objective`` on the ``device``, one of DEVICES; other machines are there
    for us while the block lasts."""
    kind = device.partition(":")[0]
    if kind == "host":
        yield HostJudge(network, threads)
    elif kind == "qemu":
        from .count_judge import CountJudge, CycleJudge

        yield CycleJudge(network) if objective == "static-cycles" else CountJudge(network)
    else:
        from .device_judge import DeviceJudge

        with DeviceJudge(network, device, threads) as judge:
            yield judge


class HostJudge:
    """Times on this machine, on so many ``threads``."""

    def __init__(self, network: TunedNetwork, threads: int) -> None:
        self.network, self.threads = network, threads
        self.run_s = min(interleave([lambda: network.default.run(network.inputs, threads)], 3)[0])
        self.limit = FIRST_LIMIT_S

    def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        return self._timed(lambda: self._layers(schedules, seconds), at_most)

    def confirm(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        return self._timed(lambda: self._whole(schedules, seconds), at_most)

    def _timed(self, work: Any, at_most: float) -> Outcome:
        begin = time.monotonic()
        outcome = run_apart(work, self.limit, at_most)
        if outcome.state == OK:  # the next may take longer, not many times as long
            self.limit = max(LEAST_LIMIT_S, TIMES * (time.monotonic() - begin))
        return outcome

    def _runs(self, seconds: float) -> int:
        return min(max(FEWEST_RUNS, int(seconds / 2 / self.run_s)), MOST_RUNS)

    def _model(self, schedules: Mapping[str, Schedule]) -> CompiledModel:
        """The network with ``schedules``; raises ``EspalierError`` where its outputs are others."""
        made = CompiledModel(self.network.compiled(schedules))
        inputs = self.network.inputs
        error = relative_error(made.run(inputs), self.network.default.run(inputs))
        if not error <= SAME:
            raise EspalierError(f"wrong: outputs differ by {error:.1e} of the largest")
        return made

    def _layers(self, schedules: Mapping[str, Schedule], seconds: float) -> Costs:
        models = [self._model(schedules), self.network.default]
        names = [layer.name for layer in models[1].layers]
        best = [np.full(len(names), np.inf) for _ in models]
        for round_ in range(self._runs(seconds)):
            for at in (0, 1) if round_ % 2 else (1, 0):
                spent = dict(zip([layer.name for layer in models[at].layers],
                                 models[at].profile(self.network.inputs, self.threads), strict=False))
                best[at] = np.minimum(best[at], [spent[name] for name in names])
        return {name: (float(a), float(b)) for name, a, b in zip(names, *best, strict=True)}

    def _whole(self, schedules: Mapping[str, Schedule], seconds: float) -> Verdict:
        models = [self._model(schedules), self.network.default]
        tasks = [lambda model=model: model.run(self.network.inputs, self.threads) for model in models]
        interleave(tasks, 2)
        tuned, default = interleave(tasks, 2 * self._runs(seconds) + 1)
        ratios = [a / b for a, b in zip(tuned, default, strict=True)]
        return Verdict(min(tuned), min(default), median(ratios),
                       sum(ratio < 1 for ratio in ratios) / len(ratios))
