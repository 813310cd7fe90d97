"""The machine that a benchmark ran on, in one line's worth of facts."""

from __future__ import annotations

import platform
import shlex
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ...runtime.executors.team import cores

# The widest first; the name is what people call it, the flag what the kernel calls it.
_EXTENSIONS = (("AVX-512", "avx512f"), ("AVX2", "avx2"), ("AVX", "avx"), ("SVE", "sve"), ("NEON", "asimd"))


@dataclass(frozen=True)
class Machine:
    """CPU model, cores this process may use, widest vector extension, operating system."""

    cpu: str
    cores: int
    isa: str
    system: str

    @classmethod
    def here(cls, cpuinfo: Path = Path("/proc/cpuinfo")) -> Machine:
        """This machine; what the system does not tell is named unknown."""
        fields: dict[str, str] = {}
        if cpuinfo.is_file():
            for line in cpuinfo.read_text().splitlines():
                key, _, value = line.partition(":")
                fields.setdefault(key.strip(), value.strip())
        flags = set((fields.get("flags") or fields.get("Features") or "").split())
        isa = next((name for name, flag in _EXTENSIONS if flag in flags), "unknown")
        cpu = fields.get("model name") or platform.processor() or "unknown CPU"
        return cls(cpu, cores(), f"{platform.machine()} {isa}", f"{platform.system()} {platform.release()}")

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} core{'s' if self.cores > 1 else ''}, {self.isa}, {self.system}"


# What a time depends on, of ours and of the engines that it is compared with.
_PACKAGES = ("espalier-compiler", "torch-mlir", "numpy", "torch", "onnxruntime", "openvino", "ncnn", "MNN")


def circumstances() -> dict[str, Any]:
    """What a record needs to be believed later: machine, versions, command line and date (UTC, ISO 8601)."""
    return {"machine": asdict(Machine.here()), "versions": _versions(), "command": shlex.join(sys.argv),
            "date": datetime.now(UTC).isoformat(timespec="seconds")}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
