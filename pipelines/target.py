"""What the compiler needs to know of a CPU: how wide its vectors are and how many it holds."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

_REGISTERS = {"neon": 32, "avx512": 32, "avx2": 16, "sse": 16}
_LANES = {"neon": 4, "avx512": 16, "avx2": 8, "sse": 4}
# Arm's cores by what their code should look like: little ones, and those with four FMA pipes.
_IN_ORDER = ("cortex-a34", "cortex-a35", "cortex-a53", "cortex-a55", "cortex-a320", "cortex-a510",
             "cortex-a520")
_WIDE = ("cortex-x", "cortex-a725", "neoverse-v", "apple-", "oryon", "c1-ultra", "c1-premium")


@dataclass(frozen=True)
class Target:
    """
    A CPU: ``lanes`` f32 elements a vector, ``registers`` vector registers.

    ``name`` says its vector instructions: neon, avx512, avx2 or sse. ``triple`` is one of
    ``aot.processors.TRIPLES``, and ``cpu`` and ``features`` (each ``+name`` or ``-name``) are LLVM's names;
    all are empty for the machine that compiles, whose code MLIR's JIT makes.
    """

    name: str
    lanes: int
    registers: int
    triple: str = ""
    cpu: str = ""
    features: tuple[str, ...] = ()
    precision: str = "fp32"

    @staticmethod
    def host() -> Target:
        """The CPU that this process runs on."""
        if platform.machine() in ("aarch64", "arm64"):
            return _of("neon")
        flags = _cpu_flags()
        if "avx512f" in flags:
            return _of("avx512")
        return _of("avx2" if {"avx2", "fma"} <= flags else "sse")

    @staticmethod
    def cross(triple: str, cpu: str = "", features: str = "") -> Target:
        """
        A CPU to compile for ahead of time: ``cpu`` is LLVM's name or ``native``, ``features`` adds or takes
        away (``+fullfp16,-sve``).

        Raises ``EspalierError`` that lists the known triples, CPUs or features.
        """
        from .aot import processors

        cpu, listed = processors.resolve(triple, cpu, features)
        if triple.startswith("aarch64"):
            return _of("neon", triple, cpu, listed)
        widest = next((name for name in ("avx512", "avx2")
                       if processors.fuses(triple, cpu, listed, _LANES[name])), "sse")
        return _of(widest, triple, cpu, listed)

    @property
    def core(self) -> str:
        """The kind of core whose costs shape the code, a key of ``CORES``."""
        if self.name != "neon":
            return self.name
        if self.cpu in _IN_ORDER:
            return "cortex-a55"
        return "cortex-x1" if self.cpu.startswith(_WIDE) else "cortex-a76"


def _of(name: str, triple: str = "", cpu: str = "", features: tuple[str, ...] = ()) -> Target:
    return Target(name, _LANES[name], _REGISTERS[name], triple, cpu, features)


def _cpu_flags() -> set[str]:
    """The feature flags that Linux lists; none elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
