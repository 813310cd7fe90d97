"""The measuring core on fake engines and a fake clock, the tables, and each peer on a tiny network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from espalier.tools.bench import peers
from espalier.tools.bench.busy import busy
from espalier.tools.bench.engines import EspalierEngine, TorchEngine
from espalier.tools.bench.layers import LayerTime, measure_layers, median_ratio
from espalier.tools.bench.machine import Machine, circumstances
from espalier.tools.bench.measure import Record, interleave, measure, percentile, relative_error
from espalier.tools.bench.show import doubt_lines, layers_table, records_table, scaling_lines
from rich.console import Console
from support.fake_compiler import FakeModel


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Fake:
    """Takes ``ms`` a run, divided by its threads; writes down when it ran."""

    def __init__(self, name: str, ms: float, clock: Clock, log: list[str]) -> None:
        self.name, self.variant, self.ms, self.clock, self.log = name, "dense", ms, clock, log
        self.threads = 0

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def run(self) -> list[np.ndarray]:
        self.log.append(self.name)
        self.clock.now += self.ms / 1000 / self.threads
        return []


def test_measure_interleaves_and_reports() -> None:
    clock, log, steps = Clock(), [], []  # type: ignore[var-annotated]
    engines = [Fake("a", 10, clock, log), Fake("b", 20, clock, log)]
    records = measure("net", engines, threads=(1, 2), warmup=1, runs=2, clock=clock,
                      progress=lambda *step: steps.append(step))
    assert [(r.engine, r.threads, r.runs, round(r.median_ms, 6)) for r in records] == [
        ("a", 1, 2, 10), ("b", 1, 2, 20), ("a", 2, 2, 5), ("b", 2, 2, 10)]
    assert log == ["a", "b", "a", "b", "b", "a"] * 2  # a warm-up round, then each round starts one later
    assert steps[0] == ("measuring, 1 thread", 1, 4)
    assert steps[-1] == ("measuring, 2 threads", 4, 4)


def test_a_record_is_median_and_spread() -> None:
    engine = Fake("a", 1, Clock(), [])
    record = Record.of("net", engine, 1, [0.003, 0.001, 0.009, 0.002])
    assert record.as_json() == {"network": "net", "engine": "a", "variant": "dense", "threads": 1, "runs": 4,
                                "median_ms": 2.5, "min_ms": 1.0, "max_ms": 9.0, "deviation_ms": 1.0,
                                "load": record.load, "p90_ms": 9.0, "p99_ms": 9.0}
    assert record.spread == 0.4


@pytest.mark.parametrize(("percent", "expected"), [(50, 5.0), (90, 9.0), (91, 10.0), (99, 10.0), (1, 1.0)])
def test_percentiles(percent: int, expected: float) -> None:
    assert percentile([float(value) for value in range(10, 0, -1)], percent) == expected


def test_processes_compete_until_the_measurement_ends() -> None:
    def children() -> set[str]:
        return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    def fail_meanwhile() -> None:
        with busy(2):
            assert len(children() - before) == 2
            raise KeyError

    before = children()
    with pytest.raises(KeyError):
        fail_meanwhile()
    assert children() == before


def test_a_pause_before_each_run() -> None:
    pauses: list[float] = []
    engine = Fake("a", 1, Clock(), [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", pauses.append)
        measure("net", [engine], threads=[1], warmup=1, runs=2, pause=0.033)
    assert pauses == [0.033] * 3


def test_interleave_without_tasks_or_runs() -> None:
    assert interleave([], 3) == []
    assert interleave([lambda: None], 0) == [[]]


def test_relative_error() -> None:
    a = np.array([1.0, -4.0])
    assert relative_error([a], [a]) == 0
    assert relative_error([a + 0.4], [a]) == pytest.approx(0.1)
    assert relative_error([a[:, None]], [a]) == 0  # peers may drop the batch axis
    for wrong in ([], [a[:1]], [a * np.nan]):
        assert relative_error(wrong, [a]) == float("inf")


def shown(table: object) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))
    console.print(table)
    return console.export_text()


def test_records_table() -> None:
    records = [Record("net", "espalier", "sparse", 1, 5, 10, 9, 12),
               Record("net", "torch", "dense", 1, 5, 71, 70, 80),
               Record("net", "espalier", "sparse", 2, 5, 5, 5, 6)]
    text = shown(records_table(records, 2))
    assert "7.10x faster" in text
    assert "70.00..80.00" in text
    assert text.count("faster") == 1
    assert "2.00x slower" in shown(records_table([*records, Record("net", "mnn", "dense", 1, 5, 5, 5, 5)], 2))
    assert scaling_lines(records) == ["espalier sparse: 2 threads 2.00x faster than 1"]


def test_times_that_prove_little_are_marked() -> None:
    steady = Record("net", "espalier", "sparse", 1, 5, 10, 9, 12, deviation_ms=0.9, load=2.0)
    spread = Record("net", "torch", "dense", 2, 5, 10, 9, 30, deviation_ms=1.1, load=0.5)
    loaded = Record("net", "ncnn", "dense", 1, 5, 10, 9, 12, deviation_ms=0.1, load=2.1)
    unknown = Record("net", "mnn", "dense", 1, 5, 10, 9, 12)  # a system that tells no load
    assert doubt_lines([steady, unknown], 2) == []
    assert doubt_lines([spread, steady, loaded], 2) == [
        "! torch dense, 2 threads: spread 11%: measure again on a quiet machine",
        "! ncnn dense, 1 thread: load 2.1 on 2 cores: measure again on a quiet machine"]
    text = shown(records_table([steady, spread, loaded], 2))
    assert [line.count("!") for line in text.splitlines() if "dense" in line] == [1, 1]


def test_circumstances() -> None:
    found = circumstances()
    assert found["machine"]["cores"] >= 1
    assert found["versions"]["torch"].startswith("2.")
    assert found["date"].endswith("+00:00")
    assert found["command"]


class Layered:
    def __init__(self, *runs: dict[str, float]) -> None:
        self.runs, self.threads = list(runs), 0

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def layer_seconds(self) -> dict[str, float]:
        return self.runs.pop(0)


def test_measure_layers() -> None:
    ours = Layered({"a": 9, "b": 9}, {"a": 0.001, "b": 0.002}, {"a": 0.003, "b": 0.002})
    theirs = Layered({"a": 9}, {"a": 0.008}, {"a": 0.016})
    times = measure_layers(ours, theirs, threads=2, warmup=1, runs=2)
    assert times == [LayerTime("a", 2.0, 12.0), LayerTime("b", 2.0, None)]
    assert [time.ratio for time in times] == [6.0, None]
    assert median_ratio(times) == 6.0
    assert median_ratio([]) is None
    assert ours.threads == theirs.threads == 2
    text = shown(layers_table(times))
    assert "6.00x" in text
    assert "median 6.00x" in text


def test_espalier_engine() -> None:
    model = FakeModel()
    engine = EspalierEngine(model, [np.ones((1, 3), np.float32)], "sparse")
    engine.set_threads(2)
    assert np.array_equal(engine.run()[0], [[2, 2, 2]])
    assert model.threads == [2]
    assert engine.layer_seconds() == {"0": 0.001, "2": 0.002}


def test_pytorchs_nested_outputs_are_flat() -> None:
    import torch

    found = TorchEngine(torch.nn.LSTM(5, 8), [torch.ones(4, 2, 5)]).run()
    assert [output.shape for output in found] == [(4, 2, 8), (1, 2, 8), (1, 2, 8)]


def test_machine(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("model name\t: A CPU\nflags\t: sse avx2 avx512f\n\nmodel name\t: B\n")
    machine = Machine.here(tmp_path / "cpuinfo")
    assert machine.cpu == "A CPU"
    assert machine.isa.endswith("AVX-512")
    assert Machine.here(tmp_path / "absent").isa.endswith("unknown")
    assert str(machine).startswith("A CPU, ")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> peers.Network:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)).eval()
    return peers.Network(model, (torch.randn(1, 3, 6, 6),), tmp_path_factory.mktemp("peers"))


@pytest.mark.parametrize("name", sorted(peers.PEERS))
def test_peer(network: peers.Network, name: str) -> None:
    try:
        peer = peers.load_peer(name, network)
    except peers.Unavailable as reason:
        if "needs the package" in str(reason):
            pytest.skip(str(reason))
        raise
    peer.set_threads(2)
    assert relative_error(peer.run(), network.reference) < 1e-4
    assert (peer.name, peer.variant) == (name, "dense")


class Wrong:
    name, variant = "wrong", "dense"

    def __init__(self, files: list[str], inputs: list[np.ndarray]) -> None:
        self.outputs = list(np.load(files[0]).values())

    @staticmethod
    def convert(network: peers.Network) -> list[str]:
        path = str(network.folder / "outputs.npz")
        np.savez(path, *network.reference)
        return [path]

    def set_threads(self, threads: int) -> None:
        pass

    def run(self) -> list[np.ndarray]:
        return [x + 1 for x in self.outputs]


class Broken(Wrong):
    def run(self) -> list[np.ndarray]:
        raise ValueError("no such layer\nand a long story")


def test_a_peer_that_fails_is_unavailable_with_the_reason(network: peers.Network,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "wrong", Wrong)
    monkeypatch.setitem(peers.PEERS, "broken", Broken)
    with pytest.raises(peers.Unavailable, match="differs from PyTorch by"):
        peers.load_peer("wrong", network)
    with pytest.raises(peers.Unavailable, match=r"^ValueError: no such layer$"):
        peers.load_peer("broken", network)
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(peers.Unavailable, match="needs the package ncnn"):
        peers.load_peer("ncnn", network)


def test_mnn_reports_nothing_home(network: peers.Network) -> None:
    """Importing MNN.tools installs a logging package and sends usage data; the peer must not."""
    pytest.importorskip("MNN")
    peers.load_peer("mnn", network)
    assert "MNN.tools" not in sys.modules


@pytest.mark.slow
def test_an_exported_program_is_a_network_too(network: peers.Network, tmp_path: Path) -> None:
    import torch

    pytest.importorskip("onnxruntime")
    program = torch.export.export(network.module, network.tensors)
    exported = peers.Network(program, network.tensors, tmp_path)
    peer = peers.load_peer("onnxruntime", exported)
    assert relative_error(peer.run(), network.reference) < 1e-4


def test_torch_layers(network: peers.Network) -> None:
    engine = TorchEngine(network.module, network.tensors)
    engine.set_threads(1)
    seconds = engine.layer_seconds()
    assert list(seconds) == ["0", "3"]
    assert all(value > 0 for value in seconds.values())
    assert np.array_equal(engine.run()[0], network.reference[0])
    assert not any(module._forward_hooks for module in network.module.modules())


def test_quiet_hides_what_c_code_prints(capfd: pytest.CaptureFixture[str]) -> None:
    with peers.quiet():
        os.write(1, b"chatter")
    print("after")
    assert capfd.readouterr().out == "after\n"
