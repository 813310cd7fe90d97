"""``ssh:HOST`` or ``ssh:USER@HOST:PORT``: any machine with an ssh server and a POSIX shell.

Keys, ports and names come from the user's ssh configuration; nothing is asked for on the terminal.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from .shell import ShellDevice

# A dead connection is noticed within half a minute.
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=10", "ServerAliveCountMax=2")


class SshDevice(ShellDevice):
    """The machine that ssh reaches as ``host``. Files go through its ``cat``, so it needs no sftp."""

    def __init__(self, host: str) -> None:
        self.name = f"ssh:{host}"
        self._destination = f"ssh://{host}"

    def put(self, source: Path, name: str) -> None:
        path, mode = shlex.quote(self._path(name)), source.stat().st_mode & 0o777
        with source.open("rb") as stream:
            self._transfer(self._command(f"cat > {path} && chmod {mode:o} {path}"), source=stream)

    def get(self, name: str, target: Path) -> None:
        with target.open("wb") as stream:
            self._transfer(self._command(f"cat {shlex.quote(self._path(name))}"), target=stream)

    def _command(self, script: str) -> list[str]:
        options = [text for option in _OPTIONS for text in ("-o", option)]
        return ["ssh", *options, self._destination, f"sh -c {shlex.quote(script)}"]
