"""What a device does, and how a model runs on one: push runner, model and inputs, run, pull the outputs."""

from __future__ import annotations

import json
import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ...errors import EspalierError
from ...files import temporary_folder
from ..abi import target_text
from ..batches import Batches
from ..model_file import ModelFile
from ..states import interface
from ..tensors import checked_inputs

RUNNER, MODEL = "runner", "model.espalier"


class DeviceError(EspalierError):
    """The device is missing, refuses, or is lost: it says nothing of the program."""


class DeviceLost(DeviceError):
    """The connection ended before the program did."""


class ProgramCrashed(EspalierError):
    """A signal ended the program on the device."""


@dataclass(frozen=True)
class Finished:
    """A program that ran to its end: exit code (above 128 by a signal, minus 128), and what it printed."""

    code: int
    out: str
    err: str


class Device(ABC):
    """A machine with a folder of ours while the ``with`` block lasts; ``name`` is the one given by the user.

    Every method raises ``DeviceError`` where the device is missing, refuses, or is lost. A program is ended
    that takes more than ``limit_s`` seconds of processors (0: it may take any), where the device can do that.
    """

    name: str
    limit_s: int = 0

    @abstractmethod
    def __enter__(self) -> Device: ...

    @abstractmethod
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None: ...

    @abstractmethod
    def put(self, source: Path, name: str) -> None:
        """Copies a file of this machine, with its mode, to ``name`` in the folder."""

    @abstractmethod
    def get(self, name: str, target: Path) -> None:
        """Copies ``name`` in the folder to a file of this machine."""

    @abstractmethod
    def run(self, program: str, arguments: Sequence[str]) -> Finished:
        """Runs ``program`` in the folder."""

    @abstractmethod
    def ping(self) -> None:
        """Does nothing, where the device answers."""


@dataclass(frozen=True)
class DeviceRun:
    """
    What a model did on a device.

    ``error``: of the replayed recorded run, as a share of the largest output, where it was asked for;
    ``milliseconds``: median, least and most of ``runs`` on ``threads``; ``profile``: (label, milliseconds)
    of the last run's statements, where it was asked for; ``outputs``: of the inputs given.
    """

    error: float | None
    milliseconds: tuple[float, float, float]
    runs: int
    threads: int
    profile: list[tuple[str, float]]
    outputs: list[np.ndarray]


def run_on(device: Device, path: Path, file: ModelFile, inputs: Sequence[np.ndarray] = (), *,
           check: bool = False, threads: int = 1, cpus: str = "", repeat: int = 1,
           profile: bool = False, own: Sequence[str] = ()) -> DeviceRun:
    """
    Runs the model in ``path`` (``file`` is its content) on ``device``.

    On ``inputs``, or on the recorded ones (of the first batch size) where there are none; 0 ``threads`` are
    one a fast processor, ``cpus`` such as ``4-7`` the processors to run on, ``own`` more arguments for the
    runner. Raises ``EspalierError`` where inputs do not fit, the device or the model fails, and where the
    check's outputs are not the recorded ones.
    """
    batches = Batches(file)
    batch = batches.of(inputs)
    if batch is not None:
        file = batches.file(batch)
    if not file.runner:
        raise EspalierError(f"'{path}' is compiled for this machine ({target_text(file.manifest)}) and holds "
                            "no program for a device; compile it with --target")
    known_inputs, known_outputs, _ = interface(file.manifest)
    if len(inputs):
        inputs = checked_inputs(known_inputs, inputs)
    outputs = [f"output_{i}.npy" for i in range(len(known_outputs))] if len(inputs) else []
    arguments = [MODEL, "--threads", str(threads), "--repeat", str(repeat), *own]
    arguments += ["--cpus", cpus] * bool(cpus)
    arguments += ["--check"] * check + ["--profile"] * profile
    with temporary_folder("espalier-device-") as local, device:
        runner = Path(local, RUNNER)
        runner.write_bytes(file.runner)
        runner.chmod(0o755)
        device.put(runner, RUNNER)
        device.put(path, MODEL)
        for number, array in enumerate(inputs):
            name = f"input_{number}.npy"
            np.save(Path(local, name), array)
            device.put(Path(local, name), name)
            arguments += ["--input", name]
        for name in outputs:
            arguments += ["--output", name]
        reports = reports_of(device, device.run(RUNNER, arguments))
        for name in outputs:
            device.get(name, Path(local, name))
        arrays = [np.load(Path(local, name), allow_pickle=False) for name in outputs]
    return _device_run(device, reports, arrays)


def reports_of(device: Device, finished: Finished) -> list[dict[str, Any]]:
    """The JSON lines that a program printed; its error as ``EspalierError``, a signal as
    ``ProgramCrashed``."""
    if finished.code > 128:
        number = finished.code - 128
        name = signal.Signals(number).name if number in {*signal.Signals} else str(number)
        hint = ": it lacks an instruction that the model was compiled for" if name == "SIGILL" else ""
        raise ProgramCrashed(f"{device.name}: signal {name} ended the program{hint}")
    if finished.code != 0:
        said = [line for line in (finished.out + finished.err).splitlines() if not line.startswith("{")]
        reason = said[-1].removeprefix("runner: ") if said else f"exit code {finished.code}"
        raise EspalierError(f"{device.name}: {reason}")
    return [json.loads(line) for line in finished.out.splitlines() if line.startswith("{")]


def _device_run(device: Device, reports: Sequence[dict[str, Any]], outputs: list[np.ndarray]) -> DeviceRun:
    try:
        times = next(report for report in reports if "median_ms" in report)
        error = next((float(report["check"]) for report in reports if "check" in report), None)
        profile = [(str(report["label"]), float(report["ms"])) for report in reports if "label" in report]
        milliseconds = (float(times["median_ms"]), float(times["min_ms"]), float(times["max_ms"]))
        return DeviceRun(error, milliseconds, int(times["runs"]), int(times["threads"]), profile, outputs)
    except (StopIteration, KeyError, ValueError) as reason:
        raise EspalierError(f"{device.name}: the program's report is incomplete ({reason!r})") from reason
