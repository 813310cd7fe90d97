"""Which code generator this is: measurements hold for the code of one, and for no other.

    0.1.0-5f0c2e91ab47        the version, and a digest of the sources that decide what code a schedule gives
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Of this package: what packs weights, lays out tensors, chooses and emits. Not the code of GPUs.
FOLDERS = ("devices", "dialect", "geometry", "lowering", "schedule", "schemes", "storage", "transforms")
APART = ("lowering/gpu", "lowering/reference")
PACKAGES = ("espalier-compiler", "torch-mlir")  # LLVM comes with the second


@cache
def code_generator() -> str:
    """The version of this compiler, and 12 digits of a digest of its code generator."""
    return f"{_version(PACKAGES[0])}-{digest_of(Path(__file__).parents[1])[:12]}"


def digest_of(package: Path) -> str:
    """SHA-256 of the sources below ``package``, by their paths, and of the packages' versions."""
    found = hashlib.sha256(repr([_version(name) for name in PACKAGES]).encode())
    for folder in FOLDERS:
        for path in sorted((package / folder).rglob("*.py")):
            name = path.relative_to(package).as_posix()
            if not name.startswith(APART):
                found.update(f"{name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return found.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
