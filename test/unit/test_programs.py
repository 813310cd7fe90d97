"""Programs found on PATH: an unfit one counts as missing, with the reason; stand-ins take their places."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from espalier.errors import EspalierError
from espalier.programs import PROGRAMS, lacking, path_of

DEBIAN_12 = """[ "$1" = --version ] && { echo Debian LLVM version 14.0.6; exit; }
echo "llvm-mca: Unknown command line argument '-skip-unsupported-instructions=lack-sched'." >&2; exit 1"""
NEW = '[ "$1" = --version ] && echo LLVM version 22.1.0; exit 0'
WITHOUT_ARM = """[ "$1" = --version ] && { echo LLVM version 22.1.0; exit; }
echo "error: unable to get target for 'aarch64'" >&2; exit 1"""


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def stand_in(folder: Path, name: str, script: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_missing_program_is_named_with_its_source(bin_folder: Path, name: str) -> None:
    assert f" needs {name} " in lacking(name)
    assert PROGRAMS[name].source in lacking(name)
    with pytest.raises(EspalierError, match=f"needs {re.escape(name)} .* or newer"):
        path_of(name)


@pytest.mark.parametrize(("script", "reason"), [
    (DEBIAN_12, "version 14.0.6"), (WITHOUT_ARM, "version 22.1.0, which fails: error: unable to get target"),
    ("exit 3", "which tells no version (no message)"), ("echo hello", "which tells no version")])
def test_an_unfit_program_counts_as_missing(bin_folder: Path, script: str, reason: str) -> None:
    program = stand_in(bin_folder, "llvm-mca", script)
    assert lacking("llvm-mca").startswith("predicting cycles needs llvm-mca 18 or newer (Debian: llvm-22)")
    assert f"found {program}, {reason}" in lacking("llvm-mca")


def test_a_fit_one_behind_an_unfit_one_is_found(bin_folder: Path) -> None:
    """Debian 12 has LLVM 14 as plain ``llvm-mca``; a newer one beside it carries its number."""
    stand_in(bin_folder, "llvm-mca", DEBIAN_12)
    stand_in(bin_folder, "llvm-mca-21", WITHOUT_ARM)
    newer = stand_in(bin_folder, "llvm-mca-20", NEW)
    assert (path_of("llvm-mca"), lacking("llvm-mca")) == (str(newer), "")


@pytest.mark.parametrize(("name", "version", "fit"), [
    ("qemu-aarch64", "qemu-aarch64 version 3.1.0", False),
    ("qemu-aarch64", "qemu-aarch64 version 8.2.2", True),
    ("adb", "Android Debug Bridge version 1.0.41", True), ("gcc", "gcc (GCC) 4.8.5 20150623", False),
    ("gcc", "gcc (Debian 12.2.0-14+deb12u1) 12.2.0", True), ("spirv-val", "SPIRV-Tools v2019.4", False),
    ("spirv-val", "SPIRV-Tools v2023.1 unknown hash, 2023-02-15", True)])
def test_versions(bin_folder: Path, name: str, version: str, fit: bool) -> None:
    stand_in(bin_folder, name, f'echo "{version}"')
    assert bool(lacking(name)) is not fit


def test_several_are_said_together(bin_folder: Path) -> None:
    stand_in(bin_folder, "gcc", "echo gcc 12.2.0")
    assert lacking("gcc", "adb") == lacking("adb")
    assert lacking("qemu-aarch64", "adb") == f"{lacking('qemu-aarch64')}; {lacking('adb')}"
