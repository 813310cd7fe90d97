"""Who runs trials: judges here, or on other machines (``on_ray.py``), several at once; what a lost one had is
given to the others.

    works   w0 w1 w2 ...  ->  a queue  ->  worker A: w0, w2 ...   worker B: w1, (lost)   A: w1
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from ...errors import EspalierError
from ...sparse_dialect.schedule.schedule import Schedule
from .apart import LATE, LOST, Outcome
from .jobs import Crew, Job
from .judge import Judge, Kind, asked, judge_of
from .network import TunedNetwork


@dataclass(frozen=True)
class Work:
    """What a judge is asked (``kind``) of ``schedules``, by layer, from runs of so many ``seconds``, that is
    to end ``until`` then (monotonic clock)."""

    kind: Kind
    schedules: Mapping[str, Schedule]
    seconds: float
    until: float

    @property
    def left(self) -> float:
        """Seconds until then."""
        return self.until - time.monotonic()


class Worker(Protocol):
    """Does one work at a time; LOST where it can do none any more."""

    @property
    def name(self) -> str: ...

    def do(self, work: Work) -> Outcome: ...


@dataclass(frozen=True)
class Here:
    """A judge of this process."""

    judge: Judge
    name: str

    def do(self, work: Work) -> Outcome:
        return asked(self.judge, work.kind, work.schedules, work.seconds, work.left)


@dataclass
class Farm:
    """``workers`` that are not lost, and why others were (``lost``, by name)."""

    workers: list[Worker]
    lost: dict[str, str] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """How many works can be done at once."""
        return len(self.workers)

    def all(self, works: Sequence[Work]) -> list[Outcome]:
        """How each of ``works`` ended: LOST only where no worker is left. Ctrl-C lets those that run end."""
        queue = _Queue(works)
        while queue.left and self.workers:
            if len(works) == 1 or len(self.workers) == 1:
                self._serve(self.workers[0], queue)
            else:
                self._serve_together(queue)
        reason = "; ".join(self.lost.values())
        return [outcome or Outcome(LOST, reason=reason) for outcome in queue.outcomes]

    def _serve_together(self, queue: _Queue) -> None:
        with ThreadPoolExecutor(len(self.workers)) as pool:
            futures = [pool.submit(self._serve, worker, queue) for worker in self.workers]
            try:
                wait(futures)
            except KeyboardInterrupt:
                queue.left.clear()
                wait(futures)
                raise
        for future in futures:
            future.result()

    def _serve(self, worker: Worker, queue: _Queue) -> None:
        """Has ``worker`` do what is left, until nothing is or it is lost."""
        while (at := queue.next()) is not None:
            work = queue.works[at]
            outcome = worker.do(work) if work.left > 0 else Outcome(LATE)
            if outcome.state == LOST:
                self.lost[worker.name] = outcome.reason
                self.workers = [other for other in self.workers if other is not worker]
                queue.left.appendleft(at)
                return
            queue.outcomes[at] = outcome


class _Queue:
    """The numbers of works that nobody has begun, and the outcomes of the others."""

    def __init__(self, works: Sequence[Work]) -> None:
        self.works = works
        self.left = deque(range(len(works)))
        self.outcomes: list[Outcome | None] = [None] * len(works)

    def next(self) -> int | None:
        try:
            return self.left.popleft()
        except IndexError:
            return None


def checked(outcome: Outcome) -> Outcome:
    """``outcome``; raises ``EspalierError`` where no worker is left."""
    if outcome.state == LOST:
        raise EspalierError(f"{outcome.reason}; what was finished is kept: run it again to go on")
    return outcome


@contextmanager
def farm_of(network: TunedNetwork, job: Job, crew: Crew) -> Iterator[Farm]:
    """The workers of ``crew`` on ``job``, whose ``network`` is compiled here; they are there while the block
    lasts."""
    if crew.ray:
        from .on_ray import RayFarm

        with RayFarm(job, crew) as farm:
            yield farm
        return
    with ExitStack() as stack:
        workers: list[Worker] = []
        for device in crew.devices:
            judge = stack.enter_context(judge_of(network, device, job.objective, job.threads))
            workers += [Here(judge, device)] * max(crew.count, 1)
        yield Farm(workers)
