"""The command line: every subcommand on a fake compiler, and every bad input as one line and an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from espalier.errors import EspalierError
from support.command_line import CommandLine, Result, one_line
from support.fake_compiler import FakeCompiler, FakeModel, FakeOptions, fake_layer


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> FakeCompiler:
    return FakeCompiler().install(monkeypatch)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


def test_compile(cli: CommandLine, compiler: FakeCompiler, tmp_path: Path) -> None:
    result = cli("compile", "vgg16", "-o", tmp_path / "m", "--prune", "pattern:entries=4", "--seed", "3")
    assert result.code == 0, result.err
    assert "vgg16, 2 layers, weights 80.0 KiB -> 10.0 KiB (8.0x)" in result.out
    assert compiler.seen == [("vgg16", "pattern:entries=4", 3), ("model.mlir", FakeOptions())]
    assert (tmp_path / "m").is_file()


def test_compile_options(cli: CommandLine, compiler: FakeCompiler, tmp_path: Path) -> None:
    assert cli("compile", "vgg16", "-o", tmp_path / "m", "--dense", "--no-lre").code == 0
    assert compiler.seen[1][1] == FakeOptions(sparse=False, eliminate_redundant_loads=False)


def test_run_and_check(cli: CommandLine, compiler: FakeCompiler, tmp_path: Path) -> None:
    model, x, y = tmp_path / "m", tmp_path / "x.npy", tmp_path / "y.npy"
    compiler.model.save(model)
    np.save(x, np.array([[1, 2, 3]], np.float32))
    result = cli("run", model, "--input", x, "--output", y, "--check", "--threads", "2")
    assert result.code == 0, result.err
    assert np.array_equal(np.load(y), [[2, 4, 6]])
    assert "check passed: max abs error 1.0e-07" in result.out
    assert "y: float32[1, 3], min 2, max 6" in result.out
    assert "2 threads" in result.out


def test_repeated_runs(cli: CommandLine, compiler: FakeCompiler, tmp_path: Path) -> None:
    compiler.model.save(tmp_path / "m")
    np.save(tmp_path / "x.npy", np.ones((1, 3), np.float32))
    result = cli("run", tmp_path / "m", "--input", tmp_path / "x.npy", "--repeat", "3")
    assert result.code == 0, result.err
    assert "median of 3), 1 thread\n" in result.out
    assert cli("run", tmp_path / "m", "--check", "--repeat", "0").code == 2


def test_failed_check(cli: CommandLine, compiler: FakeCompiler, tmp_path: Path) -> None:
    for error in (2e-3, float("nan")):
        FakeModel(error=error).save(tmp_path / "m")
        assert one_line(cli("run", tmp_path / "m", "--check"), "differ from the recorded ones", str(tmp_path))


def test_inspect(cli: CommandLine, compiler: FakeCompiler, tmp_path: Path) -> None:
    compiler.model.save(tmp_path / "m")
    result = cli("inspect", tmp_path / "m")
    assert result.code == 0, result.err
    for text in ("99 B", "target", "x: float32[1, 3]", "sparse 7x2", "5.0 KiB"):
        assert text in result.out
    assert json.loads(cli("inspect", tmp_path / "m", "--json").out)["target"] == {"name": "host"}
    forged: Any = "\x1b[31m"
    FakeModel(layers=(fake_layer("0", bytes_packed=forged),)).save(tmp_path / "m")
    result = cli("inspect", tmp_path / "m")
    assert (result.code, "\x1b" in result.out) == (0, False)


def test_report(cli: CommandLine, compiler: FakeCompiler, tmp_path: Path) -> None:
    page, data = tmp_path / "r.html", tmp_path / "r.json"
    result = cli("report", "a/vgg16.pt2", "--runs", "3", "--html", page, "--json", data)
    assert result.code == 0, result.err
    assert "8.1x fewer MACs" in result.out
    report = json.loads(data.read_text())
    assert report["network"] == "vgg16"
    assert report["rows"][1]["measured_ms"] == pytest.approx(2.0)
    assert "8.1x fewer MACs" in page.read_text()


def test_a_narrow_terminal_keeps_every_column(cli: CommandLine, compiler: FakeCompiler,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = cli("report", "vgg16", "--runs", "1").out
    for part in ("3x8x8 -> 4x8x8, 3x3", "pattern", "87.6%", "sparse 7x2", "8.1 k → 1 k", "pred. ms"):
        assert part in text


@pytest.mark.parametrize("columns", [30, 60, 100])
def test_no_line_is_wider_than_the_terminal(cli: CommandLine, compiler: FakeCompiler, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    compiler.model.save(tmp_path / "m")
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in (["inspect", tmp_path / "m"], ["report", "vgg16", "--runs", "1"],
                  ["bench", "model.mlir", "--threads", "1,2", "--runs", "2", "--warmup", "0", "--layers"]):
        result = cli(*words)
        assert result.code == 0, result.err
        assert max(map(len, result.out.splitlines())) <= columns, words
    monkeypatch.delenv("COLUMNS")  # a pipe has no width
    assert max(map(len, cli("report", "vgg16", "--runs", "1").out.splitlines())) > 100


def test_report_without_runs(cli: CommandLine, compiler: FakeCompiler) -> None:
    assert cli("report", "vgg16", "--runs", "0").code == 0
    assert compiler.model.threads == []


def test_bench_without_torch_model(cli: CommandLine, compiler: FakeCompiler, tmp_path: Path) -> None:
    compiler.example = ()
    result = cli("bench", "model.mlir", "--threads", "2,1", "--runs", "2", "--warmup", "0",
                 "--against", "ncnn", "--json", tmp_path / "b.json", "--trace", tmp_path / "t.json",
                 "--layers")
    assert result.code == 0, result.err
    assert {x.dtype.name for x in compiler.model.ran} == {"float32"}  # drawn: the file brings no inputs
    records = json.loads((tmp_path / "b.json").read_text())["records"]
    assert [(r["engine"], r["variant"], r["threads"], r["runs"]) for r in records] == [
        ("espalier", "sparse", 1, 2), ("espalier", "dense", 1, 2),
        ("espalier", "sparse", 2, 2), ("espalier", "dense", 2, 2)]
    assert [layer["ours_ms"] for layer in records[0]["layers"]] == pytest.approx([1.0, 2.0])
    assert "layers" not in records[1]
    assert "ncnn: left out, 'model.mlir' is no PyTorch model" in result.out
    assert "warm-up 0, runs 2, interleaved" in result.out
    assert "wake-up, 2 threads: the second one claims its first work 40 us after the call" in result.out
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert [(e["name"], e["ts"], e["dur"]) for e in events[1:]] == [("0", 0.0, 1000.0), ("2", 1000.0, 2000.0)]


def test_bench_of_frames_beside_other_work(cli: CommandLine, compiler: FakeCompiler) -> None:
    compiler.example = ()
    result = cli("bench", "model.mlir", "--threads", "1", "--runs", "2", "--warmup", "0", "--every", "1",
                 "--busy", "1")
    assert result.code == 0, result.err
    said = " ".join(result.out.split())
    assert "runs 2, 1 ms pause before each, interleaved, one process, 1 process competing" in said


class Multiply:
    """As much of a torch module as the benchmark needs."""

    def __init__(self, by: int) -> None:
        self.by = by

    def eval(self) -> Multiply:
        return self

    def __call__(self, x: Any) -> Any:
        return self.by * x


def test_bench_against_torch(cli: CommandLine, compiler: FakeCompiler, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    compiler.torch_model, compiler.example = Multiply(2), (torch.ones(1, 3),)
    assert cli("bench", "m.pt2", "--prune", "p", "--threads", "1", "--runs", "2", "--json",
               tmp_path / "b.json").code == 0
    records = json.loads((tmp_path / "b.json").read_text())["records"]
    assert [(r["engine"], r["variant"]) for r in records] == [
        ("espalier", "sparse"), ("espalier", "dense"), ("torch", "dense")]
    assert ("m.pt2", None, 0) in compiler.seen  # PyTorch runs the unpruned weights

    compiler.torch_model = Multiply(3)
    assert one_line(cli("bench", "m.pt2", "--runs", "1"), "sparse outputs differ from PyTorch's by 3.3e-01")


@pytest.mark.parametrize(("arguments", "parts"), [
    (["compile", "nothing", "-o", "OUT"], ["unknown model 'nothing'"]),
    (["compile", "vgg16", "-o", "/no/such/folder/m"], ["cannot write '/no/such/folder/m'", "no folder"]),
    (["compile", "vgg16", "-o", "DIR"], ["it is a folder"]),
    (["bench", "vgg16", "--count"], ["--count needs --target aarch64-..., found ''"]),
    (["bench", "vgg16", "--count", "--target", "x86_64-linux-gnu"], ["found 'x86_64-linux-gnu'"]),
    (["bench", "vgg16", "--target", "aarch64-linux-gnu"], ["--precision and --accumulate need --count"]),
    (["bench", "vgg16", "--device", "vulkan:1"], ["--device and --gpu-profile need --target vulkan"]),
    (["bench", "vgg16", "--count", "--target", "aarch64-linux-gnu", "--layers"], ["leave out --threads"]),
    (["bench", "vgg16", "--count", "--target", "aarch64-linux-gnu", "--against", "torch"],
     ["--count --against knows ncnn, mnn, litert; found 'torch'"]),
    (["run", "/absent", "--check"], ["cannot read '/absent'", "No such file"]),
    (["run", "FOREIGN", "--check"], ["not an Espalier model file"]),
    (["run", "MODEL"], ["nothing to do"]),
    (["run", "/absent"], ["cannot read '/absent'", "No such file"]),
    (["run", "FOREIGN"], ["not an Espalier model file"]),
    (["run", "MODEL", "--check", "--output", "OUT"], ["--output needs --input"]),
    (["run", "MODEL", "--input", "/absent.npy"], ["cannot read '/absent.npy'"]),
    (["run", "MODEL", "--input", "FOREIGN"], ["not a .npy file"]),
    (["run", "MODEL", "--input", "WRONG.npy"], ["input x expects shape (1, 3), found (2,)"]),
    (["run", "MODEL", "--input", "X.npy", "--output", "OUT", "--output", "OUT"],
     ["two outputs are to be this file"]),
    (["run", "MODEL", "--input", "X.npy", "--output", "OUT", "--output", "/tmp/other.npy"],
     ["has 1 outputs, found 2"]),
    (["inspect", "FOREIGN"], ["not an Espalier model file"]),
    (["report", "vgg16", "--html", "/no/such/folder/r.html"], ["cannot write"]),
    (["bench", "vgg16", "--threads", "0"], ["--threads expects"]),
    (["bench", "vgg16", "--threads", "two"], ["--threads expects", "'two'"]),
    (["bench", "vgg16", "--against", "torch,tvm"], ["found 'tvm'", "onnxruntime"]),
])
def test_bad_input(cli: CommandLine, compiler: FakeCompiler, tmp_path: Path, arguments: list[str],
                   parts: list[str]) -> None:
    names = {"OUT": "out", "DIR": ".", "FOREIGN": "foreign", "MODEL": "m", "WRONG.npy": "w.npy",
             "X.npy": "x.npy"}
    (tmp_path / "foreign").write_text("hello")
    np.save(tmp_path / "w.npy", np.zeros(2, np.float32))
    np.save(tmp_path / "x.npy", np.zeros((1, 3), np.float32))
    compiler.model.save(tmp_path / "m")
    result = cli(*(tmp_path / names[a] if a in names else a for a in arguments))
    assert one_line(result, *parts), result
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["compile"], ["compile", "vgg16"],
                                       ["run", "m", "--threads", "-1"], ["bench", "vgg16", "--nonsense"]])
def test_usage_errors(cli: CommandLine, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert result.code == 2
    assert "Traceback" not in result.err


@pytest.mark.parametrize(("failure", "code", "text"), [
    (KeyboardInterrupt(), 130, "espalier: interrupted"),
    (EspalierError("weight 'w' holds NaN"), 1, "espalier: error: weight 'w' holds NaN"),
    (EspalierError("two\nlines"), 1, "espalier: error: two lines"),
    (MemoryError(), 1, "espalier: error: out of memory"),
    (OSError(28, "No space left on device"), 1, "espalier: error: [Errno 28] No space left on device"),
    (KeyError("bug"), 1, "espalier: internal error: KeyError: 'bug' (--debug shows where)"),
])
def test_failures_are_one_line(cli: CommandLine, compiler: FakeCompiler, tmp_path: Path,
                               failure: BaseException, code: int, text: str) -> None:
    compiler.failure = failure
    assert cli("compile", "vgg16", "-o", tmp_path / "m") == Result(code, "", text + "\n")
    assert not list(tmp_path.iterdir())
    debug = cli("compile", "vgg16", "-o", tmp_path / "m", "--debug")
    assert debug.code == code
    assert "Traceback" in debug.err
    assert debug.err.splitlines()[-1] == text


def test_version_and_help(cli: CommandLine) -> None:
    assert cli("--version").out.startswith("espalier 0.")
    result = cli("--help")
    assert result.code == 0
    assert all(name in result.out for name in ("compile", "run", "bench", "report", "inspect"))


def test_help_imports_neither_torch_nor_mlir() -> None:
    script = ("import sys; sys.argv = ['espalier', '--help']\nfrom espalier.tools.espalier import main\n"
              "try: main()\nexcept SystemExit: pass\n"
              "sys.exit(' '.join(m for m in ('torch', 'torch_mlir', 'onnxruntime') if m in sys.modules))")
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stderr.strip() == ""
