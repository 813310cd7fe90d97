"""C sources compiled by a compiler of this machine, once: what was made stays in the user's cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ...errors import EspalierError
from ...files import cache_folder


class NotBuilt(EspalierError):
    """A compiler refused: its first error. ``said``: all that it printed."""

    def __init__(self, said: str) -> None:
        lines = (line for line in said.splitlines() if "error" in line)
        super().__init__(next(lines, said.strip()[:200]))
        self.said = said


def built_once(name: str, compiler: Sequence[str], read: Sequence[Path], arguments: Sequence[str]) -> Path:
    """
    What ``compiler`` makes of ``arguments``, which say all but ``-o``: in the cache under ``name``, where
    ``{}`` stands for a hash of the compiler and of all files that it will ``read``; whole or not at all.

    Raises ``NotBuilt``, and ``EspalierError`` where there is no such compiler.
    """
    key = hashlib.sha256(" ".join(compiler).encode())
    for path in read:
        key.update(path.read_bytes())
    made = cache_folder("vulkan") / name.format(key.hexdigest()[:16])
    if made.exists():
        return made
    building = made.with_suffix(f".{os.getpid()}")
    try:
        done = subprocess.run([*compiler, *arguments, "-o", str(building)], capture_output=True, text=True,
                              check=False)
    except OSError as error:
        raise EspalierError(f"cannot run '{compiler[0]}': {error.strerror or error}") from error
    if done.returncode != 0:
        building.unlink(missing_ok=True)
        raise NotBuilt(done.stderr)
    building.replace(made)
    return made


__all__ = ["NotBuilt", "built_once"]
