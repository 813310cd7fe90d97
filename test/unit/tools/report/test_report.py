"""The report: totals, number formats, the table and the page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from espalier.runtime.records import StatementRecord
from espalier.tools.bench.trace import chrome_trace
from espalier.tools.report.data import Report, count, factor, milliseconds, size
from espalier.tools.report.page import report_page
from espalier.tools.report.table import others_table, reason_lines, report_table
from rich.console import Console
from support.command_line import CommandLine
from support.fake_compiler import FakeModel, fake_layer


def report(model: FakeModel, measured: list[float] | None = None) -> Report:
    return Report.of("net", model, measured, machine="a machine", threads=2, runs=5)


def test_totals() -> None:
    totals = report(FakeModel(), [1.5, 2.0]).totals
    assert (totals.macs_dense, totals.bytes_packed, totals.loads_after) == (16200, 10240, 600)
    assert totals.measured_ms == 3.5
    assert totals.predicted_ms is None  # one layer has no prediction
    assert report(FakeModel(layers=())).totals.measured_ms is None


def test_one_time_a_layer() -> None:
    with pytest.raises(ValueError, match="zip"):
        report(FakeModel(), [1.0])


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (999, "999"), (1000, "1 k"), (1.85e9, "1.85 G"),
                                         (12_345_678, "12.3 M"), (999_700, "1000 k")])
def test_count(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(("value", "text"), [
    (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**30, "1.0 GiB")])
def test_size(value: float, text: str) -> None:
    assert size(value) == text


def test_times_and_factors() -> None:
    assert (milliseconds(None), milliseconds(0.12345), milliseconds(12.345)) == ("-", "0.123", "12.3")
    assert (factor(81, 10), factor(0, 10), factor(10, 0)) == ("8.1x", "", "")


def text_of(value: Report) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))
    console.print(report_table(value), others_table(value), *reason_lines(value), sep="\n", markup=False)
    return console.export_text()


def test_table() -> None:
    text = " ".join(text_of(report(FakeModel(), [0.5, 0.25])).split())  # a long caption is wrapped
    for part in ("net on a machine", "pattern", "87.6%", "8.1 k → 1 k", "40.0 KiB → 5.0 KiB", "900 → 300",
                 "0.250", "0.500", "2 layers", "0.750", "8.1x fewer", "loads 3.0x fewer",
                 "4.5 KiB → 512 B", "index 1.0 KiB of 10.0 KiB (9.0x less than CSR's, 32-bit columns)",
                 "median of 5 runs, 2 threads", "sparse 7x2: 8.1x fewer MACs (0, 2)"):
        assert part in text
    assert "median of" not in text_of(report(FakeModel()))


def test_markup_in_names_is_text() -> None:
    model = FakeModel(layers=(fake_layer("[red]<b>x</b>"),))
    assert "[red]<b>x</b>" in text_of(report(model))
    page = report_page(report(model, [1.0]))
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page


class Page(HTMLParser):
    """Collects what a page refers to, and checks that its tags nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.bars = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.bars += ("class", "bar") in attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("measured", [None, [1.0, 2.0]])
def test_page(measured: list[float] | None) -> None:
    text = report_page(report(FakeModel(), measured))
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.links == []  # readable without a network
    assert "http" not in text
    assert page.bars == 2 * (4 if measured else 3)
    assert ("measured, all layers" in text) == bool(measured)


def test_page_without_layers() -> None:
    assert "0 layers" in report_page(report(FakeModel(layers=())))


def test_a_fused_layer_has_no_time_of_its_own() -> None:
    layers = (fake_layer("expand", fused_into="depthwise"), fake_layer("depthwise"))
    found = report(FakeModel(layers), [0.0, 2.0])
    assert [row.measured_ms for row in found.rows] == [None, 2.0]
    assert found.totals.measured_ms == 2.0


# -- everything else -----------------------------------------------------------------------------------------

LOOP = StatementRecord("head: aten.topk", "head", "aten.topk", "loop", shared=False,
                       reason="loop: no kernel for aten.topk; one thread runs it")
WAITING = StatementRecord("waiting", "", "waiting", "waiting", shared=True, reason="waiting")


def measured(runs: list[list[float]], dense_ms: float | None = None) -> Report:
    model = FakeModel(layers=(fake_layer("0"),), others=(WAITING, LOOP))
    return Report.measured("net", model, runs, machine="a machine", threads=2, dense_ms=dense_ms)


def test_rows_add_up_to_the_run() -> None:
    found = measured([[1.0, 0.5, 3.0], [2.0, 0.1, 3.5], [1.5, 0.2, 3.1]])
    assert found.whole_ms == pytest.approx(4.8)
    assert found.least_ms == pytest.approx(4.5)
    times = [row.measured_ms for row in (*found.rows, *found.others)]
    assert sum(time for time in times if time is not None) == pytest.approx(found.whole_ms)
    assert sum(row.share or 0 for row in (*found.rows, *found.others)) == pytest.approx(1)
    assert [(row.label, row.threads) for row in found.others] == [("head: aten.topk", 1), ("waiting", 2)]
    text = text_of(found)
    for part in ("aten.topk", "no kernel for aten.topk", "the whole run", "100.0%"):
        assert part in text
        assert part.replace("100.0%", "100.0 %") in report_page(found)


def test_the_verdict_names_what_limits() -> None:
    assert measured([[1.0, 0.0, 3.0]], 8.0).verdict() == (
        "A run takes 4.000 ms, 2.00 times as fast as our dense kernels (8.000 ms); the largest part is loop "
        "head: aten.topk with 75% of the time: pruning does not change it; replace the operation by a "
        "cheaper one.")
    assert "times slower than our dense kernels" in measured([[1.0, 0.0, 3.0]], 2.0).verdict()
    assert "more pruning of this layer" in measured([[9.0, 0.0, 3.0]]).verdict()
    assert report(FakeModel()).verdict() == ""


def test_a_busy_machine_is_a_warning() -> None:
    assert "busy" in measured([[1.0, 0.0, 1.0], [3.0, 0.0, 3.0], [3.0, 0.0, 3.0]]).warning()
    assert "10 times their prediction" in measured([[9.0, 0.0, 1.0]]).warning()
    assert measured([[0.3, 0.0, 1.0]]).warning() == ""


def test_rows_of_a_real_network(tmp_path: Path) -> None:
    """Layer, loop, re-layout and waiting are told apart, and nothing is missing."""
    import espalier
    import torch
    from torch import nn

    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 8, 3), nn.Softmax(1)).eval()
    x = torch.randn(1, 3, 12, 12)
    compiled = espalier.compile(module, (x,))
    kinds = {other.label: other.kind for other in compiled.others}
    assert kinds["1: aten.gelu"] == "loop"
    assert kinds["waiting"] == "waiting"
    assert "re-layout" in kinds.values()
    assert any("no kernel for aten._softmax" in other.reason or "no kernel for aten.softmax" in other.reason
               for other in compiled.others)
    timeline = compiled.timeline([x.numpy()])
    assert {label for label, _ in timeline} <= {layer.name for layer in compiled.layers} | set(kinds)
    events = chrome_trace("net", compiled.layers, timeline)["traceEvents"][1:]
    assert {event["name"]: event["cat"] for event in events} == {
        **{label: "other" for label, _ in timeline}, **{layer.name: layer.op for layer in compiled.layers}}
    assert events[-1]["ts"] + events[-1]["dur"] == pytest.approx(1e6 * sum(spent for _, spent in timeline))


# -- real layers: the index of shared columns against CSR's --------------------------------------------------

LAYERS = """
import torch
from torch import nn

def matrices():
    return nn.Sequential(nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 500)), (torch.randn(1, 1024),)

def recurrent():
    return nn.GRU(153, 256), (torch.randn(4, 1, 153),)

def volumes():
    layers = nn.Conv3d(3, 32, 3, padding=1), nn.Conv3d(32, 64, 3, padding=1), nn.Conv3d(64, 60, (1, 3, 3))
    return nn.Sequential(*layers), (torch.randn(1, 3, 4, 9, 9),)

def images():
    return nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 250, 1)), (torch.randn(1, 3, 9, 9),)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("model", "prune", "scheme", "layers"), [
    ("matrices", "bcr:rows=4,columns=16,rate=10", "bcr", 2),
    ("matrices", "bcr:rows=8,columns=16,rate=20", "bcr", 2),
    ("recurrent", "bcr:rows=4,columns=16,rate=10", "bcr", 2),
    ("volumes", "kgs:filters=8,channels=4,rate=3.6", "kgs", 2),
    ("images", "bcr:rows=8,columns=16,rate=4", "bcr", 1),
])
def test_index_bytes_are_an_eighth_of_csrs(model: str, prune: str, scheme: str, layers: int, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    """CSR: 4 bytes a nonzero and a row start, at the same mask; printed, and in the JSON."""
    (tmp_path / "layers.py").write_text(LAYERS)
    done = CommandLine(monkeypatch, capsys)("report", f"{tmp_path / 'layers.py'}:{model}", "--prune", prune,
                                            "--runs", "0", "--json", tmp_path / "report.json")
    assert done.code == 0, done.err
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    found = [row for row in rows if row["scheme"] == scheme]
    assert len(found) == layers
    for row in found:
        outputs = int(row["shape"].split("-> ")[1].split()[0])
        nonzeros = round((1 - row["sparsity"]) * row["bytes_dense"] / 4)
        assert row["csr_index_bytes"] == 4 * (nonzeros + outputs + 1)
        assert 0 < 8 * row["index_bytes"] <= row["csr_index_bytes"]
    printed = re.search(r"\(([0-9.]+)x less than CSR's, 32-bit columns\)", " ".join(done.out.split()))
    assert printed is not None
    assert float(printed[1]) >= 8
