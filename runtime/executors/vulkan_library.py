"""The C runtime for Vulkan (``c/vulkan.h``) as a shared library: built on first use, then found in the cache.

What Python runs is what apps ship: there is no second implementation. The build needs a C compiler (the
machine's, or zig's) and Vulkan's headers; the Vulkan loader itself is opened when it runs.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from ...errors import EspalierError
from ...files import cache_folder
from ..c import FLAGS, INCLUDE, LIBRARIES, SOURCES, VULKAN_HEADERS, VULKAN_SOURCES

# Where the system's headers lie: zig's clang looks at none of its own accord.
_SYSTEM = Path("/usr/include/vulkan")


@cache
def vulkan_library() -> ctypes.CDLL:
    """The library, loaded. ``EspalierError`` where it cannot be built."""
    return ctypes.CDLL(str(build()))


def build() -> Path:
    """The library's path: in the cache by the hash of sources and compiler, built where it is not there."""
    compiler = _compiler()
    key = hashlib.sha256(" ".join(compiler).encode())
    for source in (*SOURCES, *VULKAN_SOURCES, *VULKAN_HEADERS):
        key.update(source.read_bytes())
    folder = cache_folder("vulkan")
    library = folder / f"libespalier_vulkan-{key.hexdigest()[:16]}.so"
    if library.exists():
        return library
    building = library.with_suffix(f".{os.getpid()}")
    command = [*compiler, *FLAGS, "-O2", "-shared", "-fPIC", *map(str, (*SOURCES, *VULKAN_SOURCES)),
               "-o", str(building), "-ldl", *LIBRARIES]
    if compiler[0] == sys.executable and _SYSTEM.exists():
        command += [f"-I{_linked_headers()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        building.unlink(missing_ok=True)
        if "vulkan_core.h" in done.stderr:
            raise EspalierError("building the Vulkan runtime needs Vulkan's headers: install libvulkan-dev")
        line = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise EspalierError(f"{compiler[0]} cannot build the Vulkan runtime in '{INCLUDE}': {line}")
    building.replace(library)
    return library


def _compiler() -> list[str]:
    for name in ("gcc", "cc", "clang"):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise EspalierError("the Vulkan runtime needs a C compiler to be built: install gcc, or "
                        "pip install 'espalier-compiler[aot]'")


def _linked_headers() -> Path:
    """A folder that holds nothing but Vulkan's headers: the system's own must not stand before zig's libc."""
    folder = cache_folder("vulkan", "include")
    for name in ("vulkan", "vk_video"):
        link, target = folder / name, _SYSTEM.parent / name
        if target.exists() and not link.exists():
            link.symlink_to(target)
    return folder
