"""Counting under emulation: the plugin on programs of known counts, peers, and what is said on failures."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from espalier.errors import EspalierError
from espalier.tools.count.emulator import Counts, count

MISSING = [name for name in ("qemu-aarch64", "gcc") if shutil.which(name) is None]
needs_qemu = pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}")

MARKER = """
.macro marker order, a=0, b=0
  mov x8, #141
  mov x0, #0x5eed
  mov x1, #\\order
  mov x2, \\a
  mov x3, \\b
  svc #0
.endm
.macro exit status
  mov x8, #93
  mov x0, #\\status
  svc #0
.endm
.arch armv8.2-a+fp16+fp16fml
.globl _start
_start:
"""
AFTER_A_MARKER = 6  # the instructions of the next marker


@pytest.fixture
def program(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Assembles and links a program without a libc."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs the package ziglang")

    def build(text: str) -> str:
        (tmp_path / "program.s").write_text(MARKER + text)
        subprocess.run([sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-nostdlib",
                        "-static", "program.s", "-o", "program"], cwd=tmp_path, check=True)
        return str(tmp_path / "program")

    return build


@needs_qemu
def test_counts_are_exact(program) -> None:  # type: ignore[no-untyped-def]
    regions = count([program("""
      adr x19, data
      marker 1, #3
      mov x9, #1000
    1: ldp q0, q1, [x19]
      fmla v2.4s, v0.4s, v1.s[2]
      str d2, [x19, #32]
      subs x9, x9, #1
      b.ne 1b
      marker 0
      ldr q0, [x19]
      fmla v2.4s, v0.4s, v1.4s
      exit 0
    .data
    .balign 16
    data: .zero 64
    """)], cpu="cortex-a76")
    assert regions == {3: Counts(5001 + AFTER_A_MARKER, 1000, 32000, 8000)}
    assert regions[3].per_fmla == pytest.approx(5.007)


FMLAS = ["fmla v0.4s, v1.4s, v2.4s", "fmla v0.2s, v1.2s, v2.2s", "fmls v0.4s, v1.4s, v2.4s",
         "fmul v0.4s, v1.4s, v2.4s", "fmla v0.2d, v1.2d, v2.2d", "fmla v0.4s, v1.4s, v31.s[3]",
         "fmls v0.4s, v1.4s, v2.s[0]", "fmul v0.2s, v1.2s, v2.s[1]", "fmla v0.2d, v1.2d, v17.d[1]",
         "fmla v0.8h, v1.8h, v2.8h", "fmls v0.4h, v1.4h, v2.4h", "fmul v0.8h, v1.8h, v2.8h",
         "fmla v0.8h, v1.8h, v15.h[7]", "fmls v0.8h, v1.8h, v2.h[0]", "fmul v0.4h, v1.4h, v2.h[3]",
         "fmlal v0.4s, v1.4h, v2.4h", "fmlal2 v0.4s, v1.4h, v2.4h", "fmlal v0.4s, v1.4h, v2.h[5]",
         "fmlal2 v0.2s, v1.2h, v2.h[1]"]
OTHERS = ["fmadd s0, s1, s2, s3", "fmul s0, s1, s2", "fadd v0.4s, v1.4s, v2.4s", "fmla s0, s1, v2.s[1]",
          "mla v0.4s, v1.4s, v2.4s", "mul v0.4s, v1.4s, v2.s[1]", "fmax v0.4s, v1.4s, v2.4s",
          "fmulx v0.4s, v1.4s, v2.4s", "fsub v0.8h, v1.8h, v2.8h", "add x0, x1, x2", "ldr q0, [sp]",
          "fmov v0.4s, #1.0", "smlal v0.4s, v1.4h, v2.h[1]", "dup v0.4s, v1.s[1]",
          "fcmeq v0.4s, v1.4s, v2.4s"]


@needs_qemu
def test_what_an_fmla_is(program) -> None:  # type: ignore[no-untyped-def]
    body = "\n".join(["marker 1, #0", *FMLAS, "marker 1, #1", *OTHERS, "marker 0", "exit 0"])
    regions = count([program(body)], cpu="max")
    assert regions[0] == Counts(len(FMLAS) + AFTER_A_MARKER, len(FMLAS), 0, 0)
    assert regions[1] == Counts(len(OTHERS) + AFTER_A_MARKER, 0, 16, 0)
    assert regions[1].per_fmla is None
    assert regions[0] + regions[1] == Counts(len(FMLAS + OTHERS) + 2 * AFTER_A_MARKER, len(FMLAS), 16, 0)


@needs_qemu
def test_stores_to_watched_words_change_the_region(program) -> None:  # type: ignore[no-untyped-def]
    regions = count([program("""
      adr x19, words
      marker 2, x19, #2
      str x8, [x19, #16]         // behind the watched words: still no region
      b 1f
    1: str x8, [x19]
      b 2f
    2: nop
      nop
      str x8, [x19, #8]
      b 3f
    3: ldr x8, [x19]
      marker 0
      str x8, [x19]
      b 4f
    4: exit 0
    .data
    .balign 16
    words: .zero 64
    """)], cpu="cortex-a76")
    assert regions == {0: Counts(4, 0, 0, 8), 1: Counts(1 + AFTER_A_MARKER, 0, 8, 0)}


@needs_qemu
def test_a_program_that_fails_is_an_error(program) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EspalierError, match="program failed under qemu-aarch64 -cpu cortex-a76: exit code 7"):
        count([program("exit 7")], cpu="cortex-a76")
    with pytest.raises(EspalierError, match=r"failed under .*Illegal instruction"):  # a feature the A76 lacks
        count([program("fmlal v0.4s, v1.4h, v2.4h")], cpu="cortex-a76")
    with pytest.raises(EspalierError, match="at most 4096 regions"):
        count([program("marker 1, #4096")], cpu="cortex-a76")


@needs_qemu
def test_threads_in_a_region_are_an_error(program) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EspalierError, match="ran 2 threads while counted; expected 1"):
        count([program("""
          marker 1, #0
          mov x8, #220               // clone: shared memory, files and signals, same thread group
          ldr x0, =0x50f00
          adr x1, stack
          svc #0
          cbz x0, 2f
          ldr x1, =20000000
        1: subs x1, x1, #1
          b.ne 1b
          exit 0
        2: mov x8, #93
          svc #0
        .data
        .balign 16
        .zero 4096
        stack: .zero 64
        """)], cpu="cortex-a76")


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EspalierError, match=r"needs qemu-aarch64 \(Debian: apt-get install qemu-user\)"):
        count(["program"], cpu="cortex-a76")


def test_a_compiler_is_needed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "qemu-aarch64").write_text("#!/bin/sh\n")
    (tmp_path / "qemu-aarch64").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(EspalierError, match="counting needs gcc"):
        count(["program"], cpu="cortex-a76")
