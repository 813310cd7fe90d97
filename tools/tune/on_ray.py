"""Workers on other machines: actors of Ray, one a device.

    espalier tune --ray ADDRESS  ->  an actor on every machine of the cluster, which compiles the network for
                                     itself and judges schedules there as this process would

Where a device's name is a resource of the cluster (``ray start --resources '{"adb:R58": 1}'``), its actor
runs where that is. Ray's workers are nice by 15 unless the cluster was started with RAY_worker_niceness=0,
and times are measured in them.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from ...errors import EspalierError, optional
from ...sparse_dialect.schedule.database import Place
from .apart import LOST, Outcome
from .jobs import Crew, Job
from .judge import Kind, asked, judge_of
from .network import TunedNetwork
from .workers import Farm, Work, Worker

LOCAL = "local"  # in place of an address: a cluster of this machine alone, that ends with the command
GRACE_S = 60.0  # for an answer, behind the time that a work may take


class Actor:
    """The judge of one device, in a process of Ray's."""

    def __init__(self, job: Job, device: str) -> None:
        self.place = job.place
        network = TunedNetwork.of(job.source, job.made_for, lambda *_: None)
        self._stack = ExitStack()
        self._judge = self._stack.enter_context(judge_of(network, device, job.objective, job.threads))

    def process(self) -> int:
        """Its number, on its machine."""
        return os.getpid()

    def where(self) -> Place:
        """What it measures for."""
        return self.place

    def do(self, kind: Kind, schedules: Any, seconds: float, at_most: float) -> Outcome:
        """The judge's answer."""
        return asked(self._judge, kind, schedules, seconds, at_most)

    def close(self) -> None:
        """Leaves the device as it was."""
        self._stack.close()


@dataclass(frozen=True)
class RayWorker:
    """An ``actor``; ``ray``: the package."""

    ray: Any
    actor: Any
    name: str

    def do(self, work: Work) -> Outcome:
        answer = self.actor.do.remote(work.kind, dict(work.schedules), work.seconds, work.left)
        try:
            outcome: Outcome = self.ray.get(answer, timeout=work.left + GRACE_S)
        except (self.ray.exceptions.RayError, EspalierError) as error:
            return Outcome(LOST, reason=f"{self.name}: {_first_line(error)}")
        return outcome


class RayFarm(Farm):
    """A farm of actors; use it in a ``with`` block."""

    def __init__(self, job: Job, crew: Crew) -> None:
        """Joins the cluster of ``crew`` and starts its actors. Raises ``EspalierError`` where there is no
        cluster, where none starts, and where one would measure for another machine or compiler."""
        super().__init__([])
        self._ray = ray = optional("ray", "tuning on a cluster")
        options = ({"include_dashboard": False, "_system_config": {"worker_niceness": 0}}
                   if crew.ray == LOCAL else {"address": crew.ray})
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise EspalierError(f"--ray {crew.ray}: there is no cluster to join: {_first_line(error)}"
                                ) from error
        try:
            machines = sum(node["Alive"] for node in ray.nodes())
            devices = crew.devices * (crew.count or (machines if len(crew.devices) == 1 else 1))
            actors = [self._actor(job, device) for device in devices]
            self.workers += [RayWorker(ray, actor, f"worker {number} ({device})")
                             for number, (actor, device) in enumerate(zip(actors, devices, strict=True))]
            self.workers = [worker for worker in self.workers if self._begun(worker, job.place)]
            if not self.workers:
                raise EspalierError(f"no worker begins: {'; '.join(self.lost.values())}")
        except BaseException:
            ray.shutdown()
            raise

    def _actor(self, job: Job, device: str) -> Any:
        known = self._ray.cluster_resources()
        options: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": "SPREAD"}
        if device in known:
            options["resources"] = {device: 1}
        return self._ray.remote(Actor).options(**options).remote(job, device)

    def _begun(self, worker: Worker, place: Place) -> bool:
        """Whether ``worker`` is there, once it has compiled the network."""
        assert isinstance(worker, RayWorker)
        try:
            found = self._ray.get(worker.actor.where.remote())
        except self._ray.exceptions.RayError as error:
            self.lost[worker.name] = f"{worker.name}: {_first_line(error)}"
            return False
        if found != place:
            raise EspalierError(f"{worker.name} would measure for {found.device} with the compiler "
                                f"{found.compiler}, expected {place.device} and {place.compiler}")
        return True

    def __enter__(self) -> RayFarm:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            assert isinstance(worker, RayWorker)
            try:
                self._ray.get(worker.actor.close.remote(), timeout=GRACE_S)
            except self._ray.exceptions.RayError:  # its device is left as it is
                continue
        self._ray.shutdown()


def _first_line(error: BaseException) -> str:
    """What ``error`` says: of one that an actor raised, that one's."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[0] if lines else type(cause).__name__
