"""Workers share the trials out; what a lost one had is given to the others, here and on a cluster."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from espalier.errors import EspalierError
from espalier.sparse_dialect.schedule.database import Database
from espalier.sparse_dialect.schedule.schedule import Schedule
from espalier.tools.compiled import Source
from espalier.tools.tune.apart import LATE, LOST, OK, Outcome
from espalier.tools.tune.budget import Budget, Limits
from espalier.tools.tune.jobs import Crew, Job
from espalier.tools.tune.judge import Measure
from espalier.tools.tune.network import TunedNetwork
from espalier.tools.tune.tuner import Tuner
from espalier.tools.tune.workers import Farm, Here, Work, farm_of


class Counting:
    """A judge that answers with the work's number once ``gate`` is open; lost behind ``last`` works, where it
    opens ``full``."""

    def __init__(self, last: int = 10**9, gate: threading.Event | None = None, takes: float = 0.0) -> None:
        self.last, self.gate, self.takes, self.done = last, gate, takes, list[int]()
        self.full = threading.Event()

    def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        time.sleep(self.takes)
        assert self.gate is None or self.gate.wait(60)
        if len(self.done) >= self.last:
            self.full.set()
            return Outcome(LOST, reason="unplugged")
        self.done.append(schedules["a"].passes or 0)
        return Outcome(OK, self.done[-1])

    confirm = measure


def works(count: int, seconds: float = 100.0) -> list[Work]:
    until = time.monotonic() + seconds
    return [Work("measure", {"a": Schedule(passes=number)}, 1.0, until) for number in range(1, count + 1)]


def farm(*judges: Any) -> Farm:
    return Farm([Here(judge, f"judge {number}") for number, judge in enumerate(judges)])


@pytest.mark.parametrize("last", [0, 2])
def test_what_a_lost_worker_had_is_given_to_the_others(last: int) -> None:
    lost = Counting(last)
    other = Counting(gate=lost.full)  # they work at the same time
    found = farm(lost, other)
    outcomes = found.all(works(9))
    assert [outcome.value for outcome in outcomes] == list(range(1, 10))
    assert (found.width, found.lost) == (1, {"judge 0": "unplugged"})
    assert (len(lost.done), sorted(lost.done + other.done)) == (last, list(range(1, 10)))


def test_a_worker_that_is_lost_with_the_last_work() -> None:
    """The other one has ended by then."""
    found = farm(Counting(0, takes=0.3), Counting())
    assert [outcome.value for outcome in found.all(works(4))] == [1, 2, 3, 4]


def test_all_are_lost() -> None:
    found = farm(Counting(1), Counting(1))
    outcomes = found.all(works(5))
    assert sorted(outcome.state for outcome in outcomes) == [LOST, LOST, LOST, OK, OK]
    assert outcomes[-1].reason == "unplugged; unplugged"
    assert found.width == 0


def test_ctrl_c_lets_what_runs_end() -> None:
    class Interrupting(Counting):
        def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
            if len(self.done) == 1:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return super().measure(schedules, seconds, at_most)

    judges = Interrupting(takes=0.05), Counting(takes=0.05)
    before = threading.active_count()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            farm(*judges).all(works(100))
    finally:
        signal.signal(signal.SIGINT, handler)
    assert threading.active_count() == before
    assert 2 <= len(judges[0].done) + len(judges[1].done) < 100


def test_what_a_worker_cannot_do_is_not_swallowed() -> None:
    class Faulty(Counting):
        def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        farm(Faulty(), Counting(takes=0.01)).all(works(8))


def test_time_that_is_over() -> None:
    assert {outcome.state for outcome in farm(Counting(), Counting()).all(works(3, -1.0))} == {LATE}


NETWORK = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU()).eval(), (torch.randn(1, 8, 12, 12),)
"""


@pytest.mark.slow
def test_two_workers_of_a_cluster_and_one_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("torch")
    path = tmp_path / "net.py"
    path.write_text(NETWORK)
    job = Job(Source(f"{path}:network"), "", "", "time", 1)
    network = TunedNetwork.of(job.source, job.made_for, lambda *_: None)
    with farm_of(network, job, Crew(("host",), 2, "local")) as found, Database(tmp_path / "t") as kept:
        assert found.width == 2
        victim: Any = found.workers[0]
        pid = victim.ray.get(victim.actor.process.remote())

        def told(done: int, wanted: int, share: float) -> None:
            if done >= 4 and found.width == 2:
                threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()

        limits, budget = Limits(12, "ga", 1), Budget(500.0)
        result = Tuner(network, found, Measure("time"), kept, job.place, limits, budget, told).run()
        assert (result.trials >= 12, result.failed) == (True, 0)  # lane grids have some, too
        assert {trial.state for trial in kept.trials(job.place)} == {OK}
        assert (found.width, list(found.lost)) == (1, ["worker 0 (host)"])


@pytest.mark.slow
def test_a_cluster_that_is_not_there() -> None:
    pytest.importorskip("ray")
    network: Any = None
    with pytest.raises(EspalierError, match=r"--ray 127\.0\.0\.1:1: there is no cluster to join"), \
            farm_of(network, Job(Source("x"), "", "", "time", 1), Crew(("host",), 0, "127.0.0.1:1")):
        pass
