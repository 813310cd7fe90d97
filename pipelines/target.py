"""What the compiler needs to know of a machine: how wide its vectors are, and what costs what there."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EspalierError, unknown
from ..runtime.abi import TOLERANCES

if TYPE_CHECKING:
    from ..sparse_dialect.devices.device import Device

_LANES = {"neon": 4, "avx512": 16, "avx2": 8, "sse": 4}
VULKAN = "vulkan"  # the triple of GPUs
HALVES = 8  # f16 elements in a vector of Arm's
# Arm's cores by what their code should look like: little ones, and those with four FMA pipes.
_IN_ORDER = ("cortex-a34", "cortex-a35", "cortex-a53", "cortex-a55", "cortex-a320", "cortex-a510",
             "cortex-a520")
_WIDE = ("cortex-x", "cortex-a725", "neoverse-v", "apple-", "oryon", "c1-ultra", "c1-premium")


@dataclass(frozen=True)
class Target:
    """
    A machine: ``lanes`` f32 elements a vector.

    ``precision`` is one of ``runtime.abi.TOLERANCES``: fp16 keeps weights, and the tensors between
    convolutions and pools, in f16 (``sparse-halve-precision``). What convolutions and pools compute in is
    ``arithmetic``, one of the two as well.

    ``name`` says its vector instructions: neon, avx512, avx2 or sse; ``core`` is the kind of core whose costs
    shape the code, a key of ``CORES``. ``triple`` is one of ``codegen.processors.TRIPLES``, and ``cpu`` and
    ``features`` (each ``+name`` or ``-name``) are LLVM's names; all are empty for the machine that compiles,
    whose code MLIR's JIT makes.
    """

    name: str
    lanes: int
    core: str
    triple: str = ""
    cpu: str = ""
    features: tuple[str, ...] = ()
    precision: str = "fp32"
    arithmetic: str = "fp32"

    @property
    def device(self) -> Device:
        """What passes see of it: the module's ``#sparse.target``."""
        from ..sparse_dialect.devices.device import Device  # here: it loads MLIR, and names of targets do not

        return Device(self.core, self.lanes, self.precision, self.arithmetic)

    @property
    def machine(self) -> str:
        """What measurements are kept under: the processor, its vectors, and what is computed in."""
        cpu = " ".join((self.triple, self.cpu, *self.features)) if self.triple else cpu_field("model name")
        return f"{cpu or platform.processor() or 'unknown'}, {self.name}, {self.precision}/{self.arithmetic}"

    @staticmethod
    def host() -> Target:
        """The CPU that this process runs on."""
        if platform.machine() in ("aarch64", "arm64"):
            return _of("neon", "cortex-a76")
        flags = set(cpu_field("flags").split())
        if "avx512f" in flags:
            return _of("avx512", "zen4" if cpu_field("vendor_id") == "AuthenticAMD" else "avx512")
        name = "avx2" if {"avx2", "fma"} <= flags else "sse"
        return _of(name, name)

    @staticmethod
    def vulkan(precision: str = "fp32", profile: str = "generic") -> Target:
        """Any GPU of Vulkan 1.1: vectors of 4 pixels.

        ``precision`` fp16 keeps tensors and weights in halves and multiplies in them, for devices that can.
        ``profile``: one of ``PROFILES``. Raises ``EspalierError`` for an unknown one."""
        from ..sparse_dialect.lowering.gpu.profiles import profile_named

        profile_named(profile)
        if precision not in TOLERANCES:
            raise unknown("precision", precision, TOLERANCES)
        return Target(f"vulkan {profile}", lanes=4, core="", triple=VULKAN, cpu=profile,
                      precision=precision, arithmetic=precision)

    @staticmethod
    def cross(triple: str, cpu: str = "", features: str = "", precision: str = "fp32",
              accumulate: str = "") -> Target:
        """
        A CPU to compile for ahead of time: ``cpu`` is LLVM's name or ``native``, ``features`` adds or takes
        away (``+fullfp16,-sve``). ``accumulate``: what sums are kept in, fp16 or fp32 (empty: ``precision``);
        f16 values are widened to fp32 as they are loaded.

        Raises ``EspalierError`` that lists the known triples, CPUs, features or precisions.
        """
        from .codegen import processors

        cpu, listed = processors.resolve(triple, cpu, features)
        arithmetic = accumulate or precision
        _check_precision(precision, arithmetic, triple)
        if arithmetic == "fp16":
            _check_halves(triple, cpu, listed)
        if triple.startswith("aarch64"):
            return replace(_of("neon", _arm_core(cpu), triple, cpu, listed), precision=precision,
                           arithmetic=arithmetic)
        widest = next((name for name in ("avx512", "avx2")
                       if processors.fuses(triple, cpu, listed, _LANES[name])), "sse")
        by_amd = widest == "avx512" and cpu.startswith("znver")
        return _of(widest, "zen4" if by_amd else widest, triple, cpu, listed)


def _of(name: str, core: str, triple: str = "", cpu: str = "", features: tuple[str, ...] = ()) -> Target:
    return Target(name, _LANES[name], core, triple, cpu, features)


def _check_precision(precision: str, arithmetic: str, triple: str) -> None:
    """Raises ``EspalierError`` for what is unknown, and for what no target of this architecture does."""
    for name in (precision, arithmetic):
        if name not in TOLERANCES:
            raise unknown("precision", name, TOLERANCES)
    if precision == "fp32" and arithmetic != "fp32":
        raise EspalierError(f"--accumulate {arithmetic} needs --precision {arithmetic}")
    if precision == "fp16" and not triple.startswith("aarch64"):
        from .codegen import processors

        known = ", ".join(name for name in processors.TRIPLES if name.startswith("aarch64"))
        raise EspalierError(f"--precision fp16 needs one of the targets {known}; found {triple}")


def _check_halves(triple: str, cpu: str, features: tuple[str, ...]) -> None:
    """Raises ``EspalierError`` where the CPU does not compute in f16."""
    from .codegen import processors

    if not processors.fuses(triple, cpu, features, HALVES, bits=16):
        known = ", ".join(processors.with_halves(triple, HALVES))
        raise EspalierError(f"--precision fp16 needs a processor that computes in fp16, not '{cpu}': known "
                            f"are {known}; or add --mattr +fullfp16, or --accumulate fp32")


def _arm_core(cpu: str) -> str:
    if cpu in _IN_ORDER:
        return "cortex-a55"
    return "cortex-x1" if cpu.startswith(_WIDE) else "cortex-a76"


def cpu_field(name: str) -> str:
    """What Linux says of the first CPU under ``name``; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
