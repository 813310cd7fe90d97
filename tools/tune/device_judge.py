"""What schedules cost on a device that is reached through adb or ssh, in time.

    folder on the device   runner-default default.espalier input_0.npy ...    there while the judge is open
                           runner-tuned tuned.espalier                        of the round that runs now

A round sends the network with its schedules and runs it in turn with the default, a few runs at a time, so
that a slow minute of the device hits both. The folder goes away at the end, unless the device does.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

import numpy as np

from ...errors import EspalierError
from ...files import temporary_folder
from ...pipelines.codegen.emit import cross_compiled
from ...runtime.abi import tolerance
from ...runtime.devices import Device, find_device, reports_of
from ...runtime.model_file import ModelFile
from ...runtime.states import interface
from ...sparse_dialect.schedule.schedule import Schedule
from ..bench.measure import relative_error
from .apart import HANG, LOST, OK, Outcome, run_apart
from .judge import SAME, Costs, Verdict
from .network import TunedNetwork

REPEAT = 3  # runs of a program at a time: the last ones find processors awake
FEWEST_TURNS, MOST_TURNS = 3, 15  # of the default and the tuned network
LIMIT_S = 300.0  # a round that takes longer hangs, a program on the device too
PING_S = 30.0  # a device that does not answer within is lost
TUNED, DEFAULT = "tuned", "default"


@dataclass(frozen=True)
class Run:
    """What a program printed: seconds of the median and of the fastest run, and of the last one by label."""

    median: float
    fastest: float
    labels: Counter[str]


class DeviceJudge:
    """Times of ``network``, compiled for another machine, on the device ``name``, on so many ``threads``."""

    def __init__(self, network: TunedNetwork, name: str, threads: int) -> None:
        assert network.file is not None  # it is compiled for another machine
        self.network, self.file, self.threads = network, network.file, threads
        self.device: Device = find_device(name, network.file)
        self.device.limit_s = int(LIMIT_S) * max(threads, 1)
        self.run_s = 0.0

    def __enter__(self) -> DeviceJudge:
        """Takes the default to the device and runs it; raises ``EspalierError`` where its outputs are not
        those that were recorded."""
        self.device.__enter__()
        try:
            with temporary_folder("espalier-tune-") as folder:
                for number, array in enumerate(self.network.inputs):
                    path = Path(folder, f"input_{number}.npy")
                    np.save(path, array)
                    self.device.put(path, path.name)
            self._send(self.file, DEFAULT)
            self.outputs = self._outputs(DEFAULT)
            error, allowed = relative_error(self.outputs, self.file.expected or self.outputs), tolerance(
                self.file.manifest)
            if not error <= allowed:
                raise EspalierError(f"{self.device.name}: the outputs differ from the recorded ones by "
                                    f"{error:.1e} of the largest output (allowed: {allowed:.0e})")
            begin = time.monotonic()
            self._run(DEFAULT)
            self.run_s = time.monotonic() - begin
        except BaseException as failure:
            self.__exit__(type(failure), failure, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.device.__exit__(kind, error, trace)

    def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        return self._apart(lambda: self._layers(schedules, seconds), at_most)

    def confirm(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        return self._apart(lambda: self._whole(schedules, seconds), at_most)

    def _apart(self, work: Callable[[], Any], at_most: float) -> Outcome:
        """``work`` in a process of its own; LOST where the device is at fault."""
        outcome = run_apart(work, LIMIT_S, at_most)
        if outcome.state == HANG and run_apart(self.device.ping, PING_S).state != OK:
            return Outcome(LOST, reason=f"{self.device.name}: it does not answer any more")
        return outcome

    def _layers(self, schedules: Mapping[str, Schedule], seconds: float) -> Costs:
        self._send_tuned(schedules)
        names = [layer.name for layer in self.network.default.layers]
        best = {which: dict.fromkeys(names, inf) for which in (TUNED, DEFAULT)}
        for which, run in self._turns(seconds):
            best[which] = {name: min(least, run.labels[name]) for name, least in best[which].items()}
        return {name: (best[TUNED][name], best[DEFAULT][name]) for name in names}

    def _whole(self, schedules: Mapping[str, Schedule], seconds: float) -> Verdict:
        self._send_tuned(schedules)
        runs: dict[str, list[Run]] = {TUNED: [], DEFAULT: []}
        for which, run in self._turns(2 * seconds):
            runs[which].append(run)
        ratios = [a.median / b.median for a, b in zip(runs[TUNED], runs[DEFAULT], strict=True)]
        tuned, default = (min(run.fastest for run in runs[which]) for which in (TUNED, DEFAULT))
        return Verdict(tuned, default, median(ratios), sum(ratio < 1 for ratio in ratios) / len(ratios))

    def _turns(self, seconds: float) -> list[tuple[str, Run]]:
        """Runs of both, in turn, for about so long."""
        count = min(max(FEWEST_TURNS, int(seconds / 2 / self.run_s)), MOST_TURNS)
        orders = ((TUNED, DEFAULT), (DEFAULT, TUNED))
        return [(which, self._run(which)) for turn in range(count) for which in orders[turn % 2]]

    def _send_tuned(self, schedules: Mapping[str, Schedule]) -> None:
        """Takes the network with ``schedules`` there; ``EspalierError`` where its outputs are others."""
        made = cross_compiled(self.network.compiled(schedules), self.network.target, "model")
        self._send(made, TUNED)
        error = relative_error(self._outputs(TUNED), self.outputs)
        if not error <= SAME:
            raise EspalierError(f"wrong: outputs differ by {error:.1e} of the largest")

    def _send(self, file: ModelFile, which: str) -> None:
        with temporary_folder("espalier-tune-") as folder:
            runner, model = Path(folder, f"runner-{which}"), Path(folder, f"{which}.espalier")
            runner.write_bytes(file.runner)
            runner.chmod(0o755)
            file.write(model)
            self.device.put(runner, runner.name)
            self.device.put(model, model.name)

    def _outputs(self, which: str) -> list[np.ndarray]:
        names = [f"{which}_{number}.npy" for number in range(len(interface(self.file.manifest)[1]))]
        self._reports(which, *(word for name in names for word in ("--output", name)))
        with temporary_folder("espalier-tune-") as folder:
            for name in names:
                self.device.get(name, Path(folder, name))
            return [np.load(Path(folder, name), allow_pickle=False) for name in names]

    def _run(self, which: str) -> Run:
        reports = self._reports(which, "--threads", str(self.threads), "--repeat", str(REPEAT), "--profile")
        try:
            times = next(report for report in reports if "median_ms" in report)
            labels: Counter[str] = Counter()
            for report in reports:
                if "label" in report:
                    labels[report["label"]] += 1e-3 * report["ms"]
            return Run(1e-3 * times["median_ms"], 1e-3 * times["min_ms"], labels)
        except (StopIteration, KeyError, TypeError) as error:
            raise EspalierError(f"{self.device.name}: the program's report is incomplete ({error!r})"
                                ) from error

    def _reports(self, which: str, *options: str) -> list[dict[str, Any]]:
        inputs = [word for number in range(len(self.network.inputs))
                  for word in ("--input", f"input_{number}.npy")]
        arguments = [f"{which}.espalier", *inputs, *options]
        return reports_of(self.device, self.device.run(f"runner-{which}", arguments))
