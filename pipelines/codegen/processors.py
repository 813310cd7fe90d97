"""The processors that the packaged LLVM compiles for: names, features, and the vectors that they give.

Nothing here is a table of ours: llvmlite is asked, so a newer one knows newer processors.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from types import ModuleType
from typing import Any

from ...errors import EspalierError, missing, unknown

# Our triples and LLVM's.
TRIPLES = {"aarch64-linux-gnu": "aarch64-unknown-linux-gnu",
           "aarch64-linux-musl": "aarch64-unknown-linux-musl",
           "aarch64-linux-android": "aarch64-unknown-linux-android21",
           "x86_64-linux-gnu": "x86_64-unknown-linux-gnu"}
_BASELINE = {"aarch64": "generic", "x86_64": "x86-64-v3"}
_LISTING = """
from llvmlite import binding
binding.initialize_all_targets()
binding.initialize_all_asmprinters()
binding.Target.from_triple({!r}).create_target_machine(cpu="help")
"""
_PROBE = """
define {type} @probe({type} %x, {type} %y, {type} %z) {{
  %sum = call {type} @llvm.fma.{mangled}({type} %x, {type} %y, {type} %z)
  ret {type} %sum
}}
declare {type} @llvm.fma.{mangled}({type}, {type}, {type})
"""


@cache
def llvmlite() -> ModuleType:
    """llvmlite's binding module with all its targets; ``EspalierError`` where it is not installed."""
    try:
        from llvmlite import binding
    except ImportError as error:
        raise missing("llvmlite", "compiling for another machine") from error
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    module: ModuleType = binding
    return module


def baseline(triple: str) -> str:
    """The processor that code for ``triple`` is compiled for where none is named."""
    return _BASELINE[triple.partition("-")[0]]


@cache
def known(triple: str) -> tuple[list[str], list[str]]:
    """The names of processors and of features that LLVM knows for ``triple``."""
    llvmlite()
    listing = subprocess.run([sys.executable, "-c", _LISTING.format(TRIPLES[triple])], check=True, text=True,
                             capture_output=True, env={**os.environ, "PYTHONWARNINGS": "ignore"}).stderr
    processors, _, features = listing.partition("Available features")
    name = re.compile(r"^  ([\w.+-]+) +- ", re.MULTILINE)
    return name.findall(processors), name.findall(features)


def resolve(triple: str, cpu: str, features: str) -> tuple[str, tuple[str, ...]]:
    """``cpu`` (``native``: this machine's; empty: the baseline) and ``features`` (``+a,-b``), checked.

    Raises ``EspalierError`` that lists the known ones.
    """
    if triple not in TRIPLES:
        raise unknown("target", triple, TRIPLES)
    listed = tuple(part.strip() for part in features.split(",") if part.strip())
    processors, flags = known(triple)
    if cpu == "native":
        if not llvmlite().get_process_triple().startswith(triple.partition("-")[0]):
            raise EspalierError(f"--mcpu native names this machine's processor, which is no {triple}")
        host = llvmlite().get_host_cpu_features().flatten().split(",")
        return llvmlite().get_host_cpu_name(), (*host, *listed)
    if cpu and cpu not in processors:
        raise unknown("processor", cpu, processors, f" for {triple}")
    for flag in listed:
        sign = "-" if flag.startswith("-") else "+"
        signed = [sign + name for name in flags]
        if flag not in signed:
            raise unknown("feature", flag, signed, f" for {triple}")
    return cpu or baseline(triple), listed


def machine(triple: str, cpu: str, features: tuple[str, ...]) -> Any:
    """llvmlite's target machine: position-independent code, highest optimisation."""
    target = llvmlite().Target.from_triple(TRIPLES[triple])
    return target.create_target_machine(cpu=cpu, features=",".join(features), opt=3, reloc="pic",
                                        codemodel="small")


@cache
def fuses(triple: str, cpu: str, features: tuple[str, ...], lanes: int, bits: int = 32) -> bool:
    """Whether one instruction multiplies and adds vectors of ``lanes`` floats of 32 or 16 ``bits``."""
    type_ = f"<{lanes} x {'half' if bits == 16 else 'float'}>"
    module = llvmlite().parse_assembly(_PROBE.format(type=type_, mangled=f"v{lanes}f{bits}"))
    assembly = machine(triple, cpu, features).emit_assembly(module)
    return len(re.findall(r"\b(?:fmla|vfmadd\w+)\b", assembly)) == 1


@cache
def with_halves(triple: str, lanes: int) -> list[str]:
    """The processors that multiply and add vectors of ``lanes`` f16 elements in one instruction."""
    return [cpu for cpu in known(triple)[0] if fuses(triple, cpu, (), lanes, bits=16)]
