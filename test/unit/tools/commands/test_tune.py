"""``espalier tune``: a small network tuned for real, what compile then uses, and bad input in one line."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
from espalier.errors import EspalierError
from espalier.pipelines.records import calibrated
from espalier.pipelines.target import Target
from espalier.sparse_dialect.devices.calibration import calibrations
from espalier.sparse_dialect.schedule.database import Database, Place
from espalier.sparse_dialect.schedule.schedule import Schedule
from espalier.tools.calibrate import measure
from espalier.tools.commands.tune import duration
from espalier.tools.compiled import Source
from espalier.tools.tune import judge
from espalier.tools.tune.network import TunedNetwork
from support.command_line import CommandLine, one_line

NETWORK = """
from torch import nn
import torch

def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3)
    return nn.Sequential(*layers).eval(), (torch.randn(1, 3, 20, 20),)
"""


@pytest.fixture
def espalier(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "net.py"
    path.write_text(NETWORK)
    return f"{path}:network"


@pytest.mark.slow
def test_a_network_is_tuned_and_goes_on(network: str, tmp_path: Path, espalier: CommandLine,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    # Whether chance finds something faster here must not matter: on other lane grids other trials are known.
    monkeypatch.setattr(judge.Verdict, "faster", False)
    page = tmp_path / "page.html"
    result = espalier("tune", network, "--trials", "2", "--time", "2m", "--html", page)
    assert result.code == 0, result.err
    database = tmp_path / "config" / "espalier" / "tuned.sqlite"
    place = Place(Target.host().machine)
    with Database(database) as kept:
        trials = kept.trials(place)
    assert len(trials) >= 4
    assert all(trial.state == "ok" for trial in trials)
    assert "<svg" in page.read_text()
    again = espalier("tune", network, "--trials", "2", "--time", "2m")
    assert "0 trials (0 failed) in" in again.out
    assert f"{len(trials)} known before" in again.out


@pytest.mark.slow
def test_a_phone_is_calibrated_and_tuned_for(network: str, tmp_path: Path, espalier: CommandLine,
                                             phone: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torch", "llvmlite", "ziglang"):
        pytest.importorskip(package)
    monkeypatch.setattr(measure, "REPEATS", 1)
    there = "--device", "adb:R58", "--target", f"{platform.machine()}-linux-gnu", "--mcpu", "native"
    result = espalier("calibrate", *there)
    assert result.code == 0, result.err
    target = Target.cross(*there[3::2])
    known = calibrations(tmp_path / "config" / "espalier" / "calibration.json")[target.machine]
    assert set(known.levels) == {str(kib) for kib in measure.LEVELS}
    assert calibrated(target)
    result = espalier("tune", network, *there, "--trials", "1", "--time", "5m")
    assert result.code == 0, result.err
    assert "on adb:R58, for " in result.out
    with Database(tmp_path / "config" / "espalier" / "tuned.sqlite") as kept:
        trials = kept.trials(Place(target.machine))
    assert {(trial.state, (trial.cost or 0) > 0) for trial in trials} == {("ok", True)}
    assert len({trial.layer for trial in trials if trial.schedule != Schedule()}) == 3  # others are of grids
    assert not list(phone.iterdir()), "the folder on the phone is gone"


@pytest.mark.slow
def test_compile_uses_what_was_confirmed(network: str, tmp_path: Path, espalier: CommandLine) -> None:
    pytest.importorskip("torch")
    made = TunedNetwork.of(Source(network), Target.host(), lambda *_: None)
    unit = made.units[0]
    wanted = Schedule(tile=(1, 1, 2))
    _, tiles = made.keys_with({})
    database = tmp_path / "mine.sqlite"
    with Database(database) as kept:
        kept.confirm({tiles[name]: (wanted, 0.5) for name in unit.clocks}, Place(made.target.machine), "net")
    for words, same in ((("--database", database), False), (("--no-tuned",), True), ((), True)):
        output = tmp_path / "net.espalier"
        result = espalier("compile", network, "-o", output, *words)
        assert result.code == 0, result.err
        plain = tmp_path / "plain.espalier"
        espalier("compile", network, "-o", plain, "--no-tuned")
        assert (output.read_bytes() == plain.read_bytes()) == same


def test_results_move_from_one_database_to_another(network: str, tmp_path: Path,
                                                   espalier: CommandLine) -> None:
    mine, file = tmp_path / "mine.sqlite", tmp_path / "results.json"
    with Database(mine) as kept:
        kept.confirm({"a": (Schedule(passes=2), 0.5)}, Place("x"), "net")
    assert "wrote 1 results" in espalier("tune", "--export", file, "--database", mine).out
    assert "took 1 of 1" in espalier("tune", "--import", file).out
    assert "took 0 of 1" in espalier("tune", "--import", file).out


@pytest.mark.parametrize(("words", "error"), [
    ((), "give a MODEL to tune"),
    (("net.mlir", "--export", "x.json"), "give one of MODEL, --export and --import"),
    (("--export", "x.json"), "there is no database"),
    (("net.mlir", "--device", "toaster"), "--device expects one of host, qemu, adb:SERIAL, ssh:HOST"),
    (("net.mlir", "--device", "adb:"), "local, found 'adb:'"),
    (("net.mlir", "--device", "local:7"), "local, found 'local:7'"),
    (("net.mlir", "--device", "adb:R58"), "the device adb:R58 needs a --target"),
    (("net.mlir", "--objective", "beauty"), "--objective expects one of time, instructions, static-cycles, "
     "found 'beauty'"),
    (("net.mlir", "--target", "aarch64-linux-android", "--device", "ssh:board", "--objective",
      "instructions"), "cannot be measured on the device ssh:board, which measures time"),
    (("net.mlir", "--objective", "instructions"), "cannot be measured on the device host"),
    (("net.mlir", "--device", "qemu"), "counted for an AArch64 --target"),
    (("net.mlir", "--target", "x86_64-linux-gnu"), "counted for an AArch64 --target"),
    (("net.mlir", "--target", "aarch64-linux-gnu", "--device", "host"), "the device host takes no --target"),
    (("net.mlir", "--target", "aarch64-linux-gnu", "--objective", "time"), "cannot be measured on"),
    (("net.mlir", "--workers", "2"), "--workers 2 would disturb each other's times on host"),
    (("net.mlir", "--workers", "2", "--device", "adb:A,adb:B", "--target", "aarch64-linux-android"),
     "would disturb each other's times on adb:A,adb:B"),
    (("net.mlir", "--device", "adb:A,toaster", "--target", "aarch64-linux-android"), "found 'toaster'"),
    (("net.mlir", "--time", "soon"), "--time expects a time such as 90s"),
    (("net.mlir", "--html", "/no/such/folder/x.html"), "there is no folder"),
])
def test_bad_input_is_one_line(network: str, espalier: CommandLine, words: tuple[str, ...],
                               error: str) -> None:
    result = espalier("tune", *words)
    assert one_line(result, error)


@pytest.mark.parametrize(("words", "error"), [
    (("--device", "adb:R58"), "reaching an Android device needs adb"), (("--ray", "local"), "package ray"),
    ((), "emulating AArch64 needs qemu-aarch64"),
    (("--objective", "static-cycles"), "predicting cycles needs llvm-mca"),
])
def test_what_is_missing_is_said_at_once(network: str, espalier: CommandLine, words: tuple[str, ...],
                                         error: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ray", None)
    result = espalier("tune", "net.mlir", "--target", "aarch64-linux-gnu", *words)
    assert one_line(result, error)


@pytest.mark.parametrize("text", [
    "{", "[]", '{"entries": []}', '{"espalier-tuned": 2, "entries": []}',
    '{"espalier-tuned": 1, "entries": [{}]}', '{"espalier-tuned": 1, "entries": 7}'])
def test_a_file_that_export_did_not_write(network: str, tmp_path: Path, espalier: CommandLine,
                                          text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    result = espalier("tune", "--import", path)
    assert one_line(result)


def test_compile_says_which_database_is_not_there(network: str, tmp_path: Path,
                                                  espalier: CommandLine) -> None:
    words = "compile", network, "-o", tmp_path / "x", "--database", tmp_path / "none"
    result = espalier(*words)
    assert one_line(result, "espalier tune makes one")
    result = espalier(*words, "--no-tuned")
    assert one_line(result, "give one of them")


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0)])
def test_times(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "m", "-1s", "1d", "10", "1.s"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(EspalierError, match="expects a time"):
        duration(text)
