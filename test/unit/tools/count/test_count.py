"""Counting under emulation: the plugin on programs of known counts, peers, and what is said on failures."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from espalier.errors import EspalierError
from espalier.programs import lacking
from espalier.runtime.model_file import ModelFile
from espalier.tools.count import arm_python
from espalier.tools.count.emulator import Counts, count
from espalier.tools.count.ours import count_ours
from espalier.tools.count.peers import PeerCounts
from espalier.tools.count.table import counts_table, rows
from rich.console import Console
from support.command_line import CommandLine
from support.fake_compiler import fake_layer

MISSING = lacking("qemu-aarch64", "gcc")
needs_qemu = pytest.mark.skipif(bool(MISSING), reason=MISSING)

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


@pytest.fixture(scope="module")
def compiled() -> ModelFile:
    """A small network for AArch64, with a runner."""
    torch = pytest.importorskip("torch")
    for package in ("llvmlite", "ziglang"):
        pytest.importorskip(package)
    from espalier.frontends.compile import compile_model
    from espalier.pipelines.target import Target

    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                          nn.Linear(8 * 64, 5)).eval()
    target = Target.cross("aarch64-linux-musl", "cortex-a76")
    file: ModelFile = compile_model(model, (torch.randn(1, 3, 16, 16),), target=target)._file
    return file


@needs_qemu
@pytest.mark.slow
def test_a_model_is_counted_by_statement(compiled: ModelFile, tmp_path: Path) -> None:
    labelled = count_ours(compiled, compiled.sample_inputs)
    labels = list(dict.fromkeys(label for label, _ in labelled))
    assert [label for label in labels if label in ("0", "4", "end")] == ["0", "4", "end"]
    counts = {row.name: row.counts for row in rows(labelled, [], [])}
    assert 8 * 3 * 9 * 256 / 4 <= counts["0"].fmlas < 1.1 * 8 * 3 * 9 * 256 / 4
    assert 5 * 8 * 64 / 4 <= counts["4"].fmlas
    total = sum((c for _, c in labelled), Counts())
    assert total == sum(counts.values(), Counts())

    runner, model = tmp_path / "runner", tmp_path / "model.espalier"
    compiled.write(model)
    runner.write_bytes(compiled.runner)
    runner.chmod(0o755)
    few, many = (count([str(runner), str(model), "--repeat", n], cpu="cortex-a76", whole=True)[0]
                 for n in ("1", "21"))
    assert many.fmlas - few.fmlas == 20 * total.fmlas
    # not in the sum: what a run does before its first stamp, and printing times, whose digits differ
    assert (many.instructions - few.instructions) / 20 == pytest.approx(total.instructions, abs=1500)


@needs_qemu
@pytest.mark.slow
def test_a_model_that_computes_something_else_is_not_counted(compiled: ModelFile) -> None:
    wrong = replace(compiled, sample_outputs=[y + 1 for y in compiled.sample_outputs])
    with pytest.raises(EspalierError, match=r"our outputs differ from PyTorch's by .* nothing"):
        count_ours(wrong, compiled.sample_inputs)


def test_rows_match_the_peers_layers_by_their_work() -> None:
    ours = [("in", Counts(1)), ("a", Counts(10, 1)), ("b", Counts(20, 2)), ("a", Counts(5)), ("c", Counts(7))]
    layers = [fake_layer(name, macs_dense=macs, shape="a shape") for name, macs in
              (("a", 100), ("b", 200), ("c", 100), ("folded", 100))]
    layers.insert(1, fake_layer("in", macs_dense=300, shape="another", fused_into="b"))
    peer = PeerCounts("ncnn", Counts(999), ((200, Counts(40)), (100, Counts(30)), (300, Counts(8)),
                                            (100, Counts(31))))
    found = rows(ours, layers, [peer, PeerCounts("mnn", Counts(500), ())])
    assert [(row.name, row.shapes, row.counts.instructions) for row in found] == [
        ("in", [], 1), ("a", ["a shape"], 15), ("b", ["another", "a shape"], 20), ("c", ["a shape"], 7)]
    assert [{name: counts.instructions for name, counts in row.peers.items()} for row in found] == [
        {}, {"ncnn": 30}, {"ncnn": 48}, {"ncnn": 31}]
    text = shown(counts_table(found, [peer, PeerCounts("mnn", Counts(500), ())]))
    assert "23.23x our instructions" in text  # 999 / 43
    assert "(2.40x)" in text  # b
    assert "mnn" in text


def shown(table: object) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EspalierError, match=r"needs qemu-aarch64 4.2 or newer \(Debian: qemu-user"):
        count(["program"], cpu="cortex-a76")


def fake_qemu(folder: Path, script: str) -> None:
    program = folder / "qemu-aarch64"
    program.write_text(f"#!/bin/sh\n[ \"$1\" != --version ] || {{ echo 8.0.0; exit; }}\n{script}\n")
    program.chmod(0o755)


def test_a_compiler_is_needed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_qemu(tmp_path, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(EspalierError, match="C code here needs gcc"):
        count(["program"], cpu="cortex-a76")


def test_a_qemu_without_plugins_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    fake_qemu(tmp_path, "echo \"qemu: unknown option 'plugin'\" >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(EspalierError, match=r"cannot load the counting plugin .* Debian 12's qemu-user"):
        count(["program"], cpu="cortex-a76")


def test_what_cannot_be_fetched_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(EspalierError, match=r"cannot fetch the AArch64 wheel of ncnn==0 .*No matching"):
        arm_python.wheel("ncnn==0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EspalierError, match="an AArch64 Python from Debian needs apt-get"):
        arm_python.interpreter()
    assert [path.name for path in (tmp_path / "espalier" / "count").iterdir()] == ["python3.11-arm64-wheels"]
    assert not list((tmp_path / "espalier" / "count" / "python3.11-arm64-wheels").iterdir())


MODELS = """
import torch
from espalier.sparse_dialect.schemes import Pattern
from torch import nn

def net():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 1), nn.Flatten(),
                          nn.Linear(24 * 144, 16))
    return model.eval(), (torch.randn(1, 16, 12, 12),)

def layer():
    torch.manual_seed(0)
    conv = nn.Conv2d(256, 256, 3, padding=1)
    library = ((0, 1, 3, 4), (1, 2, 4, 5), (3, 4, 6, 7), (4, 5, 7, 8),
               (1, 3, 4, 5), (3, 4, 5, 7), (1, 4, 5, 7), (1, 3, 4, 7))
    kept = Pattern.project(conv.weight.detach().numpy(), entries=4, patterns=8, library=library,
                           connectivity=3.6)
    conv.weight.data = torch.from_numpy(kept)
    return nn.Sequential(conv, nn.ReLU()).eval(), (torch.randn(1, 256, 56, 56),)
"""
MULTIPLY_ADDS = [16 * 16 * 9 * 144, 16 * 24 * 144, 24 * 144 * 16]

Bench = Callable[..., dict[str, Any]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    for package in ("llvmlite", "ziglang"):
        pytest.importorskip(package)
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def bench(tmp_path: Path, cli: CommandLine) -> Bench:
    """``espalier bench --count`` on a function of MODELS; its JSON. Fetches Python and wheels, once."""
    def call(function: str, against: str) -> dict[str, Any]:
        for package in {"ncnn": ("ncnn", "pnnx"), "mnn": ("MNN",), "litert": ("litert_torch",)}[against]:
            pytest.importorskip(package)
        try:
            arm_python.interpreter()
        except EspalierError as reason:
            pytest.skip(str(reason))
        (tmp_path / "models.py").write_text(MODELS)
        result = cli("bench", f"{tmp_path}/models.py:{function}", "--count", "--target", "aarch64-linux-gnu",
                     "--mcpu", "cortex-a76", "--against", against, "--json", tmp_path / "counts.json")
        assert result.code == 0, result.err
        assert "executed instructions, not times" in result.out
        counted: dict[str, Any] = json.loads((tmp_path / "counts.json").read_text())
        assert list(counted["peers"]) == [against], counted["left_out"]
        return counted

    return call


MLIR = """
func.func @main(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %empty = tensor.empty() : tensor<4x4xf32>
  %y = linalg.add ins(%x, %x : tensor<4x4xf32>, tensor<4x4xf32>) outs(%empty : tensor<4x4xf32>)
      -> tensor<4x4xf32>
  return %y : tensor<4x4xf32>
}
"""


@pytest.mark.slow
@needs_qemu
def test_an_mlir_file_is_counted_without_peers(tmp_path: Path, cli: CommandLine) -> None:
    """It brings no inputs, and no PyTorch model to convert."""
    (tmp_path / "add.mlir").write_text(MLIR)
    result = cli("bench", tmp_path / "add.mlir", "--count", "--target", "aarch64-linux-musl", "--against",
                 "ncnn", "--json", tmp_path / "counts.json")
    assert result.code == 0, result.err
    assert "add.mlir' is no PyTorch model" in result.out
    counted = json.loads((tmp_path / "counts.json").read_text())
    assert sum(layer["instructions"] for layer in counted["layers"]) > 8
    assert sum(layer["fmlas"] for layer in counted["layers"]) == 0


@needs_qemu
@pytest.mark.slow
@pytest.mark.parametrize("peer", ["ncnn", "mnn", "litert"])
def test_bench_count_against(bench: Bench, peer: str) -> None:
    counted = bench("net", peer)
    layers = {layer["name"]: layer for layer in counted["layers"]}
    for name, multiply_adds in zip(("0", "2", "4"), MULTIPLY_ADDS, strict=True):
        assert multiply_adds / 4 <= layers[name]["fmlas"] < 1.3 * multiply_adds / 4
        if peer == "ncnn":
            assert layers[name]["peers"]["ncnn"]["fmlas"] > multiply_adds / 4 / 4  # Winograd needs fewer
    fewest = 1 if peer == "litert" else 0.25  # which has no Winograd
    assert fewest * sum(MULTIPLY_ADDS) / 4 <= counted["peers"][peer]["fmlas"] < 1.3 * sum(MULTIPLY_ADDS) / 4
    assert [layer["name"] for layer in counted["inner_loops"]] == ["0", "2", "4"] or any(
        "llvm-mca" in line for line in counted["left_out"])


@needs_qemu
@pytest.mark.slow
@pytest.mark.parametrize(("peer", "factor"), [("litert", 8), ("ncnn", 1.7)])
def test_a_pruned_layer_against_dense_engines(bench: Bench, peer: str, factor: float) -> None:
    """
    256 -> 256 3x3 at 56x56, 8.1 times fewer multiply-adds than LiteRT's GEMM, 2.1 times fewer than ncnn's
    Winograd: ``factor`` times fewer instructions.
    """
    counted = bench("layer", peer)
    ours = sum(layer["instructions"] for layer in counted["layers"])
    assert counted["peers"][peer]["instructions"] >= factor * ours
