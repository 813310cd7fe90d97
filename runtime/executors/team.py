"""The C runtime's team of threads (``c/team.c``) for code that the host's JIT has compiled.

It is built once, with the C compiler that is found, into the user's cache, and loaded from there. A run holds
no interpreter lock, and no Python thread takes part. Where no compiler is found, models run on one thread.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...errors import EspalierError
from ...files import cache_folder
from ..c import INCLUDE

_FILES = ("team.c", "support.c", "cores.c", "team.h", "support.h", "espalier.h")
_FLAGS = ("-std=c99", "-O2", "-fPIC", "-shared", "-pthread", "-DNDEBUG")
_BUILD_SECONDS = 120


class _Cpus(ctypes.Structure):
    """espalier_cpus; none named stands for those that the thread may run on that makes the team."""

    _fields_ = (("bits", ctypes.c_uint64 * 16), ("count", ctypes.c_uint))


class _Layout(ctypes.Structure):
    """espalier_layout."""

    _fields_ = (*((name, ctypes.c_size_t)
                  for name in ("buffers", "scratch", "turn", "sizes", "scratch_bytes", "packed")),
                ("cpus", _Cpus))


class Team:
    """Threads for one model's ``entry``; for one caller at a time."""

    def __init__(self, entry: int, threads: int, *, buffers: int, scratch: int, turn: int, sizes: int,
                 scratch_bytes: int) -> None:
        """
        ``entry``: the address of the code's function as MLIR's ExecutionEngine packs it; ``threads``: with
        the caller; ``buffers``: how many pointers it takes, ``scratch`` and ``turn`` which of them are a
        thread's own; ``sizes``: how many free dimensions.

        Raises ``EspalierError`` where the system refuses memory or threads, or the team cannot be built.
        """
        self._library = _library()
        self.threads = threads
        layout = _Layout(buffers, scratch, turn, sizes, scratch_bytes, 1)
        self._team = self._library.espalier_team_create(
            ctypes.c_void_p(entry), ctypes.c_uint(threads), ctypes.byref(layout))
        if not self._team:
            raise EspalierError(f"the system gives no {threads} threads with {scratch_bytes} bytes of "
                                f"scratch each; use fewer threads")

    def run(self, threads: int, buffers: Any, sizes: Any) -> None:
        """One run on up to ``threads`` threads; ``buffers``, ``sizes``: ctypes arrays of pointers, of i64."""
        self._library.espalier_team_run(ctypes.c_void_p(self._team), ctypes.c_uint(threads), buffers, sizes)

    def wake_seconds(self) -> float | None:
        """Seconds from the beginning of the last run until the first other thread claimed work; None where
        none did."""
        seconds = float(self._library.espalier_team_wake_seconds(ctypes.c_void_p(self._team)))
        return seconds if seconds >= 0 else None

    def __del__(self) -> None:
        """Waits for the threads to end; a child of fork, which has none of them, only frees their memory."""
        if getattr(self, "_team", None):
            self._library.espalier_team_destroy(ctypes.c_void_p(self._team))
            self._team = None


@cache
def why_no_team() -> str:
    """Why there are no threads on this machine; empty where there are. Asked once a process."""
    try:
        _library()
    except EspalierError as error:
        return str(error)
    return ""


def cores() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fast_cores() -> int:
    """How many of the processors that this thread may run on are fast (``runtime/c/cores.c``); 1 where no
    team can be built."""
    return 1 if why_no_team() else int(_library().espalier_fast_cores(ctypes.byref(_Cpus())))


@cache
def _library() -> Any:
    """The team as a shared library."""
    compiler = _compiler()
    key = hashlib.sha256(" ".join([*compiler, *_FLAGS]).encode())
    for name in _FILES:
        key.update((INCLUDE / name).read_bytes())
    path = cache_folder("team") / f"team-{key.hexdigest()[:24]}.so"
    if not path.exists():
        _build(compiler, path)
    try:
        library = ctypes.CDLL(str(path))
        library.espalier_team_create.restype = ctypes.c_void_p
        library.espalier_team_run.restype = None
        library.espalier_team_wake_seconds.restype = ctypes.c_double
        library.espalier_fast_cores.restype = ctypes.c_uint
        library.espalier_team_destroy.restype = None
    except (OSError, AttributeError) as error:
        raise EspalierError(f"'{path}' does not load ({' '.join(str(error).split())}); delete it") from error
    return library


def _compiler() -> list[str]:
    """The command of a C compiler for this machine."""
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    if find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise EspalierError("several threads need a C compiler once, and none of cc, gcc, clang and the package "
                        "ziglang is found; install one, or use one thread")


def _build(compiler: list[str], path: Path) -> None:
    """Compiles the team to ``path``, whole or not at all; several processes may do so at once."""
    sources = [str(INCLUDE / name) for name in _FILES if name.endswith(".c")]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder, "team.so")
        try:
            done = subprocess.run([*compiler, *_FLAGS, *sources, "-o", str(made)], capture_output=True,
                                  text=True, timeout=_BUILD_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EspalierError(f"the C compiler {compiler[0]} does not run ({error}); "
                                f"use one thread") from error
        if done.returncode or not made.exists():
            reason = next((line for line in done.stderr.splitlines() if "error" in line), "no output")
            raise EspalierError(f"the C compiler {compiler[0]} cannot build the threads ({reason:.120}); "
                                f"use one thread")
        made.replace(path)
