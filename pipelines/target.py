"""What the compiler needs to know of a CPU: how wide its vectors are and how many it holds."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A CPU: ``lanes`` f32 elements a vector, ``registers`` vector registers."""

    name: str
    lanes: int
    registers: int

    @staticmethod
    def host() -> Target:
        """The CPU that this process runs on."""
        if platform.machine() in ("aarch64", "arm64"):
            return Target("neon", 4, 32)
        flags = _cpu_flags()
        if "avx512f" in flags:
            return Target("avx512", 16, 32)
        return Target("avx2", 8, 16) if {"avx2", "fma"} <= flags else Target("sse", 4, 16)


def _cpu_flags() -> set[str]:
    """The feature flags that Linux lists; none elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
