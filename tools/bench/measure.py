"""The measuring core: engines run interleaved, so that a machine's slow minute hits all of them alike.

Nothing here prints, converts or imports an engine; tests measure fakes under a fake clock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any, Protocol

import numpy as np

STEADY = 0.10  # a larger median absolute deviation, as a share of the median, is no measurement
SETTLE_S = 0.025  # with several threads, other engines' workers spin for up to 20 ms after a run


class Engine(Protocol):
    """Something that runs the network: ``run`` is what is timed."""

    name: str
    variant: str

    def set_threads(self, threads: int) -> None: ...
    def run(self) -> list[np.ndarray]: ...


@dataclass(frozen=True)
class Record:
    """
    One engine's times at one thread count; ``runs`` counts timed runs, warm-up excluded.

    ``deviation_ms`` is the median absolute deviation of the times from their median, ``load`` the system's
    load average of the minute before the last run (None where it tells none). Of the times, 90 and 99 of 100
    are at most ``p90_ms`` and ``p99_ms``.
    """

    network: str
    engine: str
    variant: str
    threads: int
    runs: int
    median_ms: float
    min_ms: float
    max_ms: float
    deviation_ms: float = 0.0
    load: float | None = None
    p90_ms: float = 0.0
    p99_ms: float = 0.0

    @property
    def spread(self) -> float:
        """The deviation as a share of the median."""
        return self.deviation_ms / self.median_ms if self.median_ms > 0 else 0.0

    def doubts(self, cores: int) -> list[str]:
        """Why these times prove little; nothing where they are steady, on ``cores`` cores without other
        work."""
        found = []
        if self.spread > STEADY:
            found.append(f"spread {self.spread:.0%}")
        if self.load is not None and self.load > cores:
            found.append(f"load {self.load:.1f} on {cores} core{'s' if cores > 1 else ''}")
        return found

    @classmethod
    def of(cls, network: str, engine: Engine, threads: int, seconds: Sequence[float]) -> Record:
        times = [1000 * s for s in seconds]
        middle = median(times)
        deviation = median(abs(t - middle) for t in times)
        return cls(network, engine.name, engine.variant, threads, len(times), middle, min(times), max(times),
                   deviation, load_average(), percentile(times, 90), percentile(times, 99))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def percentile(values: Sequence[float], percent: int) -> float:
    """The least of ``values`` that at least ``percent`` of a hundred of them do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]


def load_average() -> float | None:
    """Processes that ran or waited, in the mean of the last minute; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def interleave(tasks: Sequence[Callable[[], object]], runs: int, *, settle: float = 0.0,
               clock: Callable[[], float] = time.perf_counter,
               advance: Callable[[int, int], None] = lambda done, total: None) -> list[list[float]]:
    """Seconds of each task in each of ``runs`` rounds.

    Each round runs every task once, and starts one task later than the last, so that no task always finds the
    caches as the same other left them. ``settle`` seconds pass before each run.
    """
    seconds: list[list[float]] = [[] for _ in tasks]
    for round_ in range(runs):
        for i in range(len(tasks)):
            at = (round_ + i) % len(tasks)
            if settle:
                time.sleep(settle)
            start = clock()
            tasks[at]()
            seconds[at].append(clock() - start)
            advance(round_ * len(tasks) + i + 1, runs * len(tasks))
    return seconds


def measure(network: str, engines: Sequence[Engine], *, threads: Sequence[int], warmup: int, runs: int,
            pause: float = 0.0, clock: Callable[[], float] = time.perf_counter,
            progress: Callable[[str, int, int], None] = lambda step, done, total: None) -> list[Record]:
    """Times every engine at every thread count; one record each, thread counts outermost. At least ``pause``
    seconds pass before each run."""
    records = []
    tasks = [engine.run for engine in engines]
    for count in threads:
        for engine in engines:
            engine.set_threads(count)
        step = f"measuring, {count} thread{'s' if count > 1 else ''}"
        settle = max(pause, SETTLE_S if count > 1 else 0.0)
        interleave(tasks, warmup, settle=settle, clock=clock)
        times = interleave(tasks, runs, settle=settle, clock=clock, advance=partial(progress, step))
        records += [Record.of(network, engine, count, s) for engine, s in zip(engines, times, strict=True)]
    return records


def relative_error(outputs: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> float:
    """Largest absolute difference over the largest absolute reference value; inf where shapes differ."""
    if len(outputs) != len(reference):
        return float("inf")
    worst = 0.0
    for ours, theirs in zip(outputs, reference, strict=True):
        if ours.size != theirs.size:
            return float("inf")
        difference = float(np.max(np.abs(ours.ravel() - theirs.ravel()), initial=0.0))
        scale = float(np.max(np.abs(theirs), initial=0.0)) or 1.0
        worst = max(worst, difference / scale) if np.isfinite(difference) else float("inf")
    return worst
