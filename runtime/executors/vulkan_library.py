"""The C runtime for Vulkan (``c/vulkan.h``) as a shared library: built on first use, then found in the cache.

What Python runs is what apps ship: there is no second implementation. The build needs a C compiler (the
machine's, or zig's) and Vulkan's headers; the Vulkan loader itself is opened when it runs.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import sys
from functools import cache
from pathlib import Path

from ...errors import EspalierError
from ...files import cache_folder
from ..c import FLAGS, INCLUDE, LIBRARIES, SOURCES, VULKAN_HEADERS, VULKAN_SOURCES
from ..c.builds import NotBuilt, built_once

# Where the system's headers lie: zig's clang looks at none of its own accord.
_SYSTEM = Path("/usr/include/vulkan")


@cache
def vulkan_library() -> ctypes.CDLL:
    """The library, loaded. ``EspalierError`` where it cannot be built."""
    return ctypes.CDLL(str(build()))


def build() -> Path:
    """The library's path: in the cache by the hash of sources and compiler, built where it is not there."""
    compiler = _compiler()
    sources = (*SOURCES, *VULKAN_SOURCES)
    arguments = [*FLAGS, "-O2", "-shared", "-fPIC", *map(str, sources), "-ldl", *LIBRARIES]
    if compiler[0] == sys.executable and _SYSTEM.exists():
        arguments.append(f"-I{_linked_headers()}")
    try:
        return built_once("libespalier_vulkan-{}.so", compiler, (*sources, *VULKAN_HEADERS), arguments)
    except NotBuilt as error:
        if "vulkan_core.h" in error.said:
            raise EspalierError("building the Vulkan runtime needs Vulkan's headers: install libvulkan-dev"
                                ) from error
        raise EspalierError(f"{compiler[0]} cannot build the Vulkan runtime in '{INCLUDE}': {error}"
                            ) from error


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
