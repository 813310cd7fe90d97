"""Runs an AArch64 program under qemu-user and counts what it executes, by region (``count_regions.c``)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ...errors import EspalierError
from ...files import cache_folder, temporary_folder
from ...programs import path_of
from ...runtime.devices.qemu import emulator

_PLUGIN = Path(__file__).with_name("count_regions.c")


@dataclass(frozen=True)
class Counts:
    """Executed instructions, vector multiplies and multiply-adds among them, bytes loaded and stored."""

    instructions: int = 0
    fmlas: int = 0
    load_bytes: int = 0
    store_bytes: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def per_fmla(self) -> float | None:
        """Instructions per FMLA; None where there is no FMLA."""
        return self.instructions / self.fmlas if self.fmlas else None


def count(command: Sequence[str], *, cpu: str, root: Path | None = None, whole: bool = False,
          environment: Mapping[str, str] | None = None) -> dict[int, Counts]:
    """
    Counts of each region that ran of the AArch64 program and arguments ``command``, on an emulated ``cpu``
    (QEMU's ``max`` where QEMU does not know it).

    ``root``: where the program finds its shared libraries (``qemu-aarch64 -L``); ``whole``: the whole run is
    region 0, markers or not. Raises EspalierError when QEMU, its plugins or a C compiler are missing, when
    the program fails, and when several threads ran in its regions: their counts would be mixed up.
    """
    with temporary_folder("espalier-count-") as folder:
        result = Path(folder, "counts.json")
        qemu = emulator("aarch64", cpu)
        options = ["-plugin", f"{plugin()},out={result}{',whole=on' if whole else ''}",
                   *(["-L", str(root)] if root else [])]
        done = subprocess.run([*qemu, *options, *command], env={**os.environ, **(environment or {})},
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = _last_line(done.stderr) or f"exit code {done.returncode}"
            if "plugin" in reason and not result.exists():
                raise EspalierError(f"{qemu[0]} cannot load the counting plugin ({reason}); expected a QEMU "
                                    f"from 4.2 to 8.2 with plugins, such as Debian 12's qemu-user")
            raise EspalierError(f"{Path(command[0]).name} failed under {' '.join(qemu)}: {reason}")
        lines = [json.loads(line) for line in result.read_text().splitlines()]
    threads = max((line.pop("threads") for line in lines), default=1)
    if threads > 1:
        raise EspalierError(f"{Path(command[0]).name} ran {threads} threads while counted; expected 1")
    return {line.pop("region"): Counts(**line) for line in lines}


def plugin() -> Path:
    """The plugin's shared library, built on first use."""
    source = _PLUGIN.read_bytes()
    library = cache_folder("count") / f"count_regions-{hashlib.sha256(source).hexdigest()[:16]}.so"
    if not library.exists():
        building = library.with_suffix(f".{os.getpid()}")
        command = [path_of("gcc"), "-O2", "-shared", "-fPIC", "-o", str(building), str(_PLUGIN)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise EspalierError(f"gcc cannot build {_PLUGIN.name}: {_last_line(done.stderr)}")
        building.replace(library)
    return library


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
