"""Linking a model's object with the C runtime, by zig or the user's own compiler driver.

    shared   model.o + runtime -> .so that exports the C interface and the model's symbol
    static   model.o, runtime  -> .a
    program  model.o + runtime + runner.c -> executable without dynamic libraries

zig brings glibc and musl for every target, and builds the libc that a first link needs (30 to 60 s, then
cached). It has no libc for Android: there a shared or static library by zig holds the model's code alone,
and the app builds ``runtime/c`` with its NDK; an NDK's clang as ``--linker`` gives the whole. Programs by zig
are static ones on musl, which Android's kernel runs as well.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import EspalierError
from ...files import temporary_folder
from ...runtime import c as runtime

_OLDEST_GLIBC = "2.17"  # what AArch64 began with; libraries then load on every later one
_COMPILE = ("-O2", "-g0", "-fPIC", "-ffunction-sections", *runtime.FLAGS)
_LINK = ("-Wl,--gc-sections", "-s")


@dataclass(frozen=True)
class Linker:
    """
    Links for ``triple`` with ``command``, a compiler driver such as ``aarch64-linux-gnu-gcc``; empty: zig.

    Raises ``EspalierError`` where the driver is missing or fails.
    """

    triple: str
    command: str = ""

    @property
    def has_libc(self) -> bool:
        """Whether libraries for the target can be built whole."""
        return bool(self.command) or not self.triple.endswith("android")

    def shared(self, code: bytes, soname: str, others: Sequence[str] = ()) -> bytes:
        """A shared library; ``code``: the model's object; ``others``: more sources, and flags for them, where
        ``has_libc``."""
        form = ["-shared", f"-Wl,-soname,{soname}"]
        if self.has_libc:
            return self._link(code, [*form, *_COMPILE, *map(str, runtime.SOURCES), *others,
                                     *runtime.LIBRARIES])
        with temporary_folder("espalier-link-") as folder:  # stand-ins, so that it asks for the device's own
            libraries = [str(Path(folder, name)) for name in ("libc.so", "libm.so")]
            for library in libraries:
                name = f"-Wl,-soname,{Path(library).name}"
                _call([*self._driver(self.triple), "-shared", "-nostdlib", name, "-xc", os.devnull,
                       "-o", library])
            return self._link(code, [*form, "-nostdlib", "-Wl,--no-as-needed", *libraries])

    def static(self, code: bytes) -> bytes:
        """A static library."""
        sources = runtime.SOURCES if self.has_libc else ()
        with temporary_folder("espalier-link-") as folder:
            model, library = Path(folder, "model.o"), Path(folder, "library.a")
            model.write_bytes(code)
            objects = [model]
            for source in sources:
                objects.append(Path(folder, f"espalier_{source.stem}.o"))
                _call([*self._driver(self.triple), *_COMPILE, "-c", str(source), "-o", str(objects[-1])])
            _call([*self._archiver(), "rcsD", str(library), *map(str, objects)])
            return library.read_bytes()

    def program(self, code: bytes, symbol: str) -> bytes:
        """The runner with the model's ``symbol``, without dynamic libraries."""
        return self.executable(code, [*runtime.SOURCES, runtime.RUNNER], [f"-DESPALIER_MODEL={symbol}"])

    def executable(self, code: bytes, sources: Sequence[Path], flags: Sequence[str]) -> bytes:
        """A program of the object ``code`` and of C ``sources``, without dynamic libraries."""
        return self._link(code, ["-static", *flags, *_COMPILE, *map(str, sources), *runtime.LIBRARIES],
                          f"{self.triple.partition('-')[0]}-linux-musl")

    def _link(self, code: bytes, arguments: Sequence[str], triple: str = "") -> bytes:
        with temporary_folder("espalier-link-") as folder:
            model, linked = Path(folder, "model.o"), Path(folder, "linked")
            model.write_bytes(code)
            _call([*self._driver(triple or self.triple), str(model), *arguments, *_LINK, "-o", str(linked)])
            return linked.read_bytes()

    def _driver(self, triple: str) -> list[str]:
        if self.command:
            return shlex.split(self.command)
        return [*_zig(), "cc", "-target", f"{triple}.{_OLDEST_GLIBC}" if triple.endswith("gnu") else triple]

    def _archiver(self) -> list[str]:
        """The archiver that belongs to the driver."""
        if not self.command:
            return [*_zig(), "ar"]
        return [_call([*shlex.split(self.command), "-print-prog-name=ar"]).strip()]


def _zig() -> list[str]:
    if importlib.util.find_spec("ziglang") is None:
        raise EspalierError("linking needs ziglang (pip install 'espalier-compiler[aot]') or --linker CMD, "
                            "a C compiler for the target")
    return [sys.executable, "-m", "ziglang"]


def _call(command: Sequence[str]) -> str:
    """Runs ``command``; its output. ``EspalierError`` with its first error where it fails."""
    try:
        done = subprocess.run(command, text=True, capture_output=True, errors="replace")
    except OSError as error:
        raise EspalierError(f"linker '{command[0]}' cannot be started: {error.strerror or error}") from error
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        last = lines[-1] if lines else "no message"
        reason = next((line for line in lines if "error" in line.lower()), last)
        raise EspalierError(f"linker '{command[0]}' failed with exit code {done.returncode}: {reason}")
    return done.stdout
