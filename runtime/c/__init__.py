"""The C side of a compiled model: the public header, the runtime behind it, and the program around one model.

The sources need a C99 compiler and POSIX; ``espalier compile --emit`` builds them for the target. Link with
``-lm`` and threads. ``runner.c`` needs ``-DESPALIER_MODEL=<symbol>``, the model's ``espalier_code``.
"""

from __future__ import annotations

from pathlib import Path

INCLUDE = Path(__file__).parent
HEADER = INCLUDE / "espalier.h"
SOURCES = tuple(INCLUDE / f"{name}.c" for name in (
    "archive", "check", "cores", "description", "digest", "espalier", "npy", "pair", "states", "support",
    "team"))
# Beside them, because they need Vulkan's headers (libvulkan-dev, or an NDK): link with -ldl.
VULKAN_SOURCES = tuple(INCLUDE / f"{name}.c" for name in (
    "vulkan", "vulkan_cache", "vulkan_check", "vulkan_code", "vulkan_gpu", "vulkan_memory", "vulkan_model",
    "vulkan_pipeline", "vulkan_program", "vulkan_record"))
VULKAN_HEADERS = tuple(INCLUDE / f"{name}.h" for name in (
    "archive", "description", "digest", "espalier", "model", "npy", "support", "team", "vulkan",
    "vulkan_code", "vulkan_device", "vulkan_instance", "vulkan_program"))
RUNNER = INCLUDE / "runner.c"
FLAGS = ("-std=c99", "-fvisibility=hidden", "-pthread", f"-I{INCLUDE}")
LIBRARIES = ("-lm",)
