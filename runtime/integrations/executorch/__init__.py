"""ExecuTorch's delegate for compiled models, built for this machine and loaded into this process.

``backend.cpp`` and ``CMakeLists.txt`` serve apps; here they are built once, by gcc, against the pip package's
headers and library, into the user's cache.
"""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ....errors import EspalierError, missing
from ....files import cache_folder
from ....programs import path_of
from ... import c as runtime

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "backend.cpp"
# As the package's own executorch-config.cmake has them.
_DEFINITIONS = ("-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_EVENT_TRACER_ENABLED")
_FLAGS = ("-O2", "-fPIC", "-fvisibility=hidden", "-pthread", "-DNDEBUG")
_SECONDS = 300


def package() -> Path:
    """ExecuTorch's folder, found without loading it; ``MissingPackage`` where it is not installed."""
    spec = find_spec("executorch")
    if spec is None or not spec.submodule_search_locations:
        raise missing("executorch", "ExecuTorch's delegate")
    return Path(next(iter(spec.submodule_search_locations)))


def library() -> Path:
    """The delegate as a shared library, built where the cache has none of these sources and this ExecuTorch.

    Raises ``EspalierError`` where gcc and g++ are missing or fail, ``MissingPackage`` without ExecuTorch.
    """
    folder = package()
    key = hashlib.sha256(str(folder).encode())
    for path in (SOURCE, *sorted(runtime.INCLUDE.glob("*.[ch]")), folder / "lib" / "libexecutorch.so"):
        if not path.is_file():
            raise EspalierError(f"ExecuTorch in '{folder}' has no {path.name}: install executorch 1.5.1")
        key.update(path.read_bytes())
    made = cache_folder("executorch") / f"backend-{key.hexdigest()[:24]}.so"
    if not made.exists():
        _build(folder, made)
    return made


@cache
def load() -> Any:
    """
    Loads the delegate into this process, so that ExecuTorch's ``Runtime`` runs what was lowered to it.

    Returns the library's ctypes handle. Raises ``EspalierError`` as ``library`` does, and where it does not
    load.
    """
    path = library()
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise EspalierError(f"'{path}' does not load ({' '.join(str(error).split())}); delete it") from error


def _build(folder: Path, made: Path) -> None:
    """Compiles the delegate to ``made``, whole or not at all; several processes may do so at once."""
    headers = folder / "include"
    portable = headers / "executorch" / "runtime" / "core" / "portable_type" / "c10"
    with tempfile.TemporaryDirectory(dir=made.parent) as scratch:
        _call([path_of("gcc"), *_FLAGS, *runtime.FLAGS, "-c", *map(str, runtime.SOURCES)], scratch)
        objects = [f"{source.stem}.o" for source in runtime.SOURCES]
        _call([path_of("g++"), "-shared", "-std=c++17", "-fno-rtti", "-fno-exceptions", *_FLAGS,
               *_DEFINITIONS, f"-isystem{headers}", f"-isystem{portable}", f"-I{runtime.INCLUDE}",
               str(SOURCE), *objects, f"-L{folder / 'lib'}", "-lexecutorch", f"-Wl,-rpath,{folder / 'lib'}",
               "-Wl,-Bsymbolic", *runtime.LIBRARIES, "-ldl", "-o", made.name], scratch)
        Path(scratch, made.name).replace(made)


def _call(command: list[str], folder: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace",
                              timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EspalierError(f"'{command[0]}' cannot build ExecuTorch's delegate: {error}") from error
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "error" in line), "no output")
        raise EspalierError(f"'{command[0]}' cannot build ExecuTorch's delegate: {reason[:200]}")


__all__ = ["FOLDER", "SOURCE", "library", "load", "package"]
