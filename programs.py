"""Programs that are found on PATH, not installed with us: which are fit, and what is wrong with the others.

A program that is there but does not do what we ask of it counts as missing, with the reason, when a command
starts: it must not fail at the command's end.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from .errors import EspalierError

_SECONDS = 30  # for an answer to --version: a program that hangs is unfit


@dataclass(frozen=True)
class Program:
    """
    One of ``names``, tried in order, whose ``--version`` says ``oldest`` or newer.

    ``purpose`` begins the message where it is missing, ``source`` says where to get it. ``trial``: arguments
    with which a fit one ends well on the input ``given`` (versions do not tell what was built into it).
    """

    names: tuple[str, ...]
    oldest: tuple[int, ...]
    purpose: str
    source: str
    trial: tuple[str, ...] = ()
    given: str = ""
    version: tuple[str, ...] = ("--version",)


MCA_OPTIONS = ("-mtriple=aarch64", "-skip-unsupported-instructions=lack-sched")
PROGRAMS = {
    "llvm-mca": Program((*(f"llvm-mca-{n}" for n in range(30, 16, -1)), "llvm-mca"), (18,),
                        "predicting cycles", "Debian: llvm-22",
                        (*MCA_OPTIONS, "-mcpu=neoverse-v1", "-iterations=1"), "fmla v0.4s, v1.4s, v2.s[0]\n"),
    "qemu-aarch64": Program(("qemu-aarch64",), (4, 2), "emulating AArch64", "Debian: qemu-user"),
    "qemu-x86_64": Program(("qemu-x86_64",), (4, 2), "emulating x86-64", "Debian: qemu-user"),
    "gcc": Program(("gcc",), (8,), "building C code here", "Debian: gcc",
                   ("-std=c11", "-fsyntax-only", "-xc", "-"), "#include <stdint.h>\nint32_t f(void);\n"),
    "g++": Program(("g++",), (8,), "building C++ code here", "Debian: g++",
                   ("-std=c++17", "-fsyntax-only", "-xc++", "-"), "#include <variant>\n"),
    "adb": Program(("adb",), (1, 0), "reaching an Android device", "Android's platform tools",
                   version=("version",)),
    "spirv-val": Program(("spirv-val",), (2022,), "checking SPIR-V", "Debian: spirv-tools", ("--help",)),
}


def path_of(name: str) -> str:
    """The path of a fit program ``name``, a key of ``PROGRAMS``; ``EspalierError`` that says what is missing,
    or what was found instead."""
    found, complaint = _look(name, os.environ.get("PATH", ""))
    if not found:
        raise EspalierError(complaint)
    return found


def lacking(*names: str) -> str:
    """What keeps the programs ``names`` from being used, for a row or a skipped test; empty: nothing."""
    return "; ".join(filter(None, (_look(name, os.environ.get("PATH", ""))[1] for name in names)))


@cache
def _look(name: str, path: str) -> tuple[str, str]:
    """The fit program's path and nothing, or nothing and the complaint; ``path``: where to look."""
    program = PROGRAMS[name]
    unfit: list[str] = []
    for candidate in _candidates(program, path):
        reason = _unfit(candidate, program)
        if not reason:
            return candidate, ""
        unfit.append(f"found {candidate}, {reason}")
    needed = f"{name} {'.'.join(map(str, program.oldest))} or newer ({program.source})"
    return "", f"{program.purpose} needs {needed}" + (f"; {'; '.join(unfit)}" if unfit else "")


def _candidates(program: Program, path: str) -> Iterator[str]:
    return filter(None, (shutil.which(name, path=path) for name in program.names))


def _unfit(candidate: str, program: Program) -> str:
    """Why ``candidate`` cannot be used; empty where it can."""
    shown, failed = _ask([candidate, *program.version])
    number = re.search(r"\d+(?:\.\d+)+", shown) or re.search(r"v?(\d{4})", shown)
    if failed or number is None:
        return f"which tells no version ({failed or 'none in what it prints'})"
    text = number[0].lstrip("v")
    if tuple(map(int, text.split("."))) < program.oldest:
        return f"version {text}"
    if program.trial:
        _, failed = _ask([candidate, *program.trial], program.given)
    return f"version {text}, which fails: {failed}" if failed else ""


def _ask(command: list[str], given: str = "") -> tuple[str, str]:
    """What ``command`` prints, and in a few words how it failed."""
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, errors="replace",
                              timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return "", f"no answer in {_SECONDS} s"
    except OSError as error:
        return "", error.strerror or str(error)
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return done.stdout, f"{lines[-1][:100] if lines else 'no message'}" if done.returncode else ""
