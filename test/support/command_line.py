"""Calls ``espalier`` as a shell would, in this process."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from espalier.tools.espalier import main


class Result(NamedTuple):
    code: int
    out: str
    err: str


class CommandLine:
    """``espalier ARGUMENTS``; exit code and what was printed."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capture = patch, capture

    def __call__(self, *arguments: str | Path) -> Result:
        self._patch.setattr(sys, "argv", ["espalier", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0
        return Result(code, *self._capture.readouterr())


def take_interrupts() -> None:
    """For ``Popen(preexec_fn=...)``: SIGINT reaches the child also where this process ignores it, as those do
    that a shell started in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def one_line(result: Result, *parts: str) -> bool:
    """Whether it failed with one line on stderr that holds ``parts``."""
    lines = result.err.splitlines()
    return result.code == 1 and len(lines) == 1 and lines[0].startswith("espalier: error: ") and all(
        part in lines[0] for part in parts)
