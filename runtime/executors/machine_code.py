"""Machine code that a model file brings for the kind of processor that it was compiled on, so that loading
compiles nothing: a shared library of the entry alone, beside the code that every machine takes.

    code (LLVM dialect)  --JIT, seconds-->  object  --ld, when it is compiled-->  native (a library)
    load: native, where the processor can all that the other one could; else the JIT compiles the code
"""

from __future__ import annotations

import _ctypes  # ctypes itself closes no library
import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...errors import EspalierError
from ...files import temporary_folder

_SECONDS = 60


def linked(machine_object: Path) -> bytes:
    """The object as a shared library; nothing where this machine has no linker (ld or ziglang's)."""
    with temporary_folder("espalier-native-") as folder:
        library = folder / "native.so"
        for linker in _linkers():
            command = [*linker, "-shared", "-z", "noexecstack", str(machine_object), "-o", str(library)]
            try:
                done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
            except (OSError, subprocess.TimeoutExpired):
                continue
            if not done.returncode and library.is_file():
                return library.read_bytes()
    return b""


def _linkers() -> list[list[str]]:
    found = [[path] for path in [shutil.which("ld")] if path]
    return [*found, [sys.executable, "-m", "ziglang", "ld.lld"]] if find_spec("ziglang") else found


def described(declared: Mapping[str, Any], model: str) -> bytes:
    """What goes into a file beside the library: the processor, what the code says of itself, and the
    fingerprint of the ``model``."""
    here = {"machine": platform.machine(), "flags": sorted(processor_flags()), "model": model}
    return json.dumps({**declared, **here}).encode()


def declared_here(description: bytes) -> dict[str, Any] | None:
    """What the library's code says of itself, where this processor can run it; else None."""
    try:
        found = json.loads(description)
        flags = set(found.pop("flags"))
        del found["model"]  # which was compared when the file was read
        fits = found.pop("machine") == platform.machine() and flags <= processor_flags()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EspalierError("the model is damaged: it does not say which processor its code is for; "
                            "compile it again") from error
    return dict(found) if fits and flags else None


@cache
def processor_flags() -> frozenset[str]:
    """What Linux says that the processor can do; nothing where it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(found, "").split())


class Library:
    """
    The shared library whose bytes are ``code``, closed with this object.

    It comes from memory (a memfd), so what runs is what was read. The file in memory stays open as long: the
    system knows a library by its path, ``/proc/self/fd/N``, and would take another of the same number for
    the one that it has. ``OSError`` where the system loads no such library.
    """

    def __init__(self, code: bytes) -> None:
        self._descriptor = os.memfd_create("espalier-model")
        with open(self._descriptor, "wb", closefd=False) as file:
            file.write(code)
        self.functions = ctypes.CDLL(f"/proc/self/fd/{self._descriptor}")

    def address(self, symbol: str) -> int:
        """Where ``symbol`` lies; ``AttributeError`` where the library has none."""
        return ctypes.cast(getattr(self.functions, symbol), ctypes.c_void_p).value or 0

    def __del__(self) -> None:
        if hasattr(self, "functions"):
            _ctypes.dlclose(self.functions._handle)
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


__all__ = ["Library", "declared_here", "described", "linked", "processor_flags"]
