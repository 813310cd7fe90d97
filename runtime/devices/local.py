"""``local``: this machine itself, for a model that was compiled ahead of time for its like."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from ...errors import EspalierError
from ...files import temporary_folder
from .device import Device, Finished


class LocalDevice(Device):
    """Programs for ``triple`` run in a temporary folder of this machine."""

    name = "local"

    def __init__(self, triple: str) -> None:
        self._triple = triple

    def __enter__(self) -> Device:
        self._launcher = self._find_launcher()
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(temporary_folder("espalier-local-"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stack.close()

    def put(self, source: Path, name: str) -> None:
        shutil.copy(source, Path(self._folder, name))

    def get(self, name: str, target: Path) -> None:
        shutil.copyfile(Path(self._folder, name), target)

    def run(self, program: str, arguments: Sequence[str]) -> Finished:
        command = [*self._launcher, f"./{program}", *arguments]
        try:
            done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False)
        except OSError as error:
            reason = error.strerror or error
            raise EspalierError(f"{self.name}: the program does not start: {reason}") from error
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return Finished(code, done.stdout, done.stderr)

    def ping(self) -> None:
        pass  # it is this machine

    def _find_launcher(self) -> list[str]:
        """What comes before the program; an error where this machine cannot run it."""
        if self._triple.partition("-")[0] != platform.machine():
            raise EspalierError(f"{self.name}: the model is for {self._triple}, this machine is "
                                f"{platform.machine()}; give --device qemu, adb:SERIAL or ssh:HOST")
        return []
