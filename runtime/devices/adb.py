"""``adb:SERIAL``: an Android device, through Android's debug bridge."""

from __future__ import annotations

from pathlib import Path

from ...programs import path_of
from .device import Device
from .shell import ShellDevice


class AdbDevice(ShellDevice):
    """The device with ``serial``, as ``adb devices`` lists it."""

    parent = "/data/local/tmp"  # programs may run from here

    def __init__(self, serial: str) -> None:
        self.name = f"adb:{serial}"
        self._adb = ["adb", "-s", serial]

    def __enter__(self) -> Device:
        path_of("adb")
        return super().__enter__()

    def abi(self) -> str:
        """The name of its instruction set, such as arm64-v8a."""
        path_of("adb")
        return self._must("getprop ro.product.cpu.abi").strip()

    def put(self, source: Path, name: str) -> None:
        self._transfer([*self._adb, "push", str(source), self._path(name)])
        self._must(f"chmod {source.stat().st_mode & 0o777:o} {self._path(name)}")

    def get(self, name: str, target: Path) -> None:
        self._transfer([*self._adb, "pull", self._path(name), str(target)])

    def _command(self, script: str) -> list[str]:
        return [*self._adb, "shell", script]
