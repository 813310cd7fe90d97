"""A device behind a program that runs shell commands there, such as ssh or ``adb shell``."""

from __future__ import annotations

import shlex
import subprocess
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO

from ...errors import EspalierError
from .device import Device, DeviceError, DeviceLost, Finished

_ENDED = "espalier-ended"  # printed when a command has ended; if it is missing, the connection was lost


class ShellDevice(Device):
    """Puts everything into a temporary folder of the device, which goes away at the end."""

    parent = ""  # where the folder is made; empty: where the device makes its temporary ones

    def __enter__(self) -> Device:
        where = f" {self.parent}/espalier-XXXXXX" if self.parent else ""
        self._folder = self._must(f"mktemp -d{where}").strip()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is None or not issubclass(kind, DeviceLost):
            with suppress(EspalierError):  # what the program gave is here already
                self._must(f"rm -rf {shlex.quote(self._folder)}")

    def run(self, program: str, arguments: Sequence[str]) -> Finished:
        limit = f"ulimit -t {self.limit_s} && " if self.limit_s else ""
        script = f"cd {shlex.quote(self._folder)} && {limit}{shlex.join([f'./{program}', *arguments])}"
        return self._shell(f"({script})" if limit else script, "lost while the program ran")

    def ping(self) -> None:
        self._must("true")

    @abstractmethod
    def _command(self, script: str) -> list[str]:
        """The command of this machine that runs ``script`` on the device."""

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _must(self, script: str) -> str:
        """What ``script`` prints; an error where it fails."""
        finished = self._shell(script, "cannot be reached")
        if finished.code != 0:
            raise DeviceError(f"{self.name}: '{script}' failed: {_last(finished.err or finished.out)}")
        return finished.out

    def _shell(self, script: str, otherwise: str) -> Finished:
        """Runs ``script`` on the device to its end; ``otherwise`` is said where the connection ends first."""
        done = self._call(self._command(f"{script}; echo {_ENDED} $?"))
        out, ended, code = done.stdout.replace("\r\n", "\n").rpartition(f"{_ENDED} ")
        if not ended:
            raise DeviceLost(f"{self.name}: {otherwise}: {_last(done.stderr or done.stdout)}")
        return Finished(int(code), out, done.stderr)

    def _transfer(self, command: Sequence[str], source: IO[bytes] | int = subprocess.DEVNULL,
                  target: IO[bytes] | int = subprocess.PIPE) -> None:
        """Runs a command of this machine that copies a file."""
        done = self._call(command, source, target)
        if done.returncode != 0:
            raise DeviceError(f"{self.name}: a file was not copied: {_last(done.stderr or done.stdout)}")

    def _call(self, command: Sequence[str], source: IO[bytes] | int = subprocess.DEVNULL,
              target: IO[bytes] | int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
        """Runs a command of this machine."""
        try:
            return subprocess.run(command, stdin=source, stdout=target, stderr=subprocess.PIPE, text=True,
                                  errors="replace", check=False)
        except OSError as error:
            reason = error.strerror or error
            raise DeviceError(f"{self.name}: cannot run '{command[0]}': {reason}") from error


def _last(text: str | None) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
