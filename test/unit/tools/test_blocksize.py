"""``espalier blocksize``: the rule that recommends, sizes as text, and a whole search on a small network."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from espalier.errors import EspalierError
from espalier.pipelines.target import Target
from espalier.tools.blocksize import Curve, Point, Size, curve_page
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import CommandLine, one_line

NETWORK = """
from torch import nn
import torch

def first_layer_alone():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (torch.ones(1, 3, 9, 9),)

def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.Flatten(), nn.Linear(64 * 64, 32)
    return nn.Sequential(*layers).eval(), (torch.randn(1, 3, 12, 12),)
"""


def curve(*times: float, tolerance: float = 0.1) -> Curve:
    points = tuple(Point(Size(2**at, 16), ms) for at, ms in enumerate(times))
    return Curve("net", 10, tolerance, True, points)


def test_the_smallest_size_within_the_tolerance_is_recommended() -> None:
    assert str(curve(2.0, 1.5, 1.09, 1.0).recommended.size) == "4x16"
    assert str(curve(2.0, 1.5, 1.11, 1.0).recommended.size) == "8x16"
    assert str(curve(0.9, 1.5, 1.0).recommended.size) == "1x16"


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.floats(0, 1))
def test_there_is_always_a_recommendation(times: list[float], tolerance: float) -> None:
    found = curve(*times, tolerance=tolerance)
    assert found.recommended.ms <= found.coarse.ms * (1 + tolerance)


@pytest.mark.parametrize("text", ["", "4", "4x", "x16", "0x4", "4x16x2", "-1x4", "4.5x2"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(EspalierError, match="expected rows x columns, such as 4x16"):
        Size.parse(text)


def test_the_page_shows_every_size_and_escapes_names() -> None:
    page = curve_page(Curve("<net>", 10, 0.1, True, curve(2.0, 1.0).points))
    assert "&lt;net&gt;" in page
    assert "1x16" in page
    assert "<b>2x16</b>" in page


@pytest.fixture
def espalier(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


@pytest.mark.slow
def test_a_search(espalier: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    done = espalier("blocksize", f"{tmp_path / 'net.py'}:network", "--rate", "4", "--runs", "2", "--sizes",
                    "2x4,8x4", "--json", str(tmp_path / "curve.json"), "--html", str(tmp_path / "curve.html"))
    assert done.code == 0, done.err
    assert "recommended: bcr:rows=" in done.out
    found = json.loads((tmp_path / "curve.json").read_text())
    assert [point["size"]["rows"] for point in found["points"]] == [2, 8]
    assert all(point["ms"] > 0 for point in found["points"])
    assert "<svg" in (tmp_path / "curve.html").read_text()


@pytest.mark.slow
def test_a_prediction_and_its_picture(espalier: CommandLine, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of the table and a bar for each size; the recommended one, a Zen 4's, is marked in both."""
    core = replace(Target.host(), core="zen4")
    monkeypatch.setattr(Target, "host", staticmethod(lambda: core))
    (tmp_path / "net.py").write_text(NETWORK)
    done = espalier("blocksize", f"{tmp_path / 'net.py'}:network", "--rate", "10", "--runs", "0", "--sizes",
                    "1x16,4x16,8x16", "--html", str(tmp_path / "curve.html"))
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines() if re.match(r" *\d+x16 ", line)]
    assert "one weight in 10, predicted" in done.out
    assert [row[0] for row in rows] == ["1x16", "4x16", "8x16"]
    assert [row[0] for row in rows if row[1] == "<-"] == ["4x16"]  # rows of one are slower: nothing is shared
    page = (tmp_path / "curve.html").read_text()
    assert page.count("<circle") == 3
    assert "<b>4x16</b>" in page


@pytest.mark.parametrize(("model", "options", "message"), [
    ("net.py:network", ["--sizes", "4x16,4x289"], "blocks of 4 x 289 are larger than the 64 x 288 matrix"),
    ("net.py:network", ["--rate", "1"], "blocks that keep one weight in 1 cut nothing of it"),
    ("net.py:first_layer_alone", ["--sizes", "2x4,4x4"], "cut nothing of it"),
    ("net.mlir", [], "--prune works on reference networks, path.py:function and"),
])
def test_models_that_blocks_do_not_fit(espalier: CommandLine, tmp_path: Path, model: str, options: list[str],
                                       message: str) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "net.mlir").write_text("module {}")
    assert one_line(espalier("blocksize", tmp_path / model, *options), message)


@pytest.mark.parametrize(("options", "message"), [
    (["--sizes", "4x16"], "expected two block sizes or more"),
    (["--sizes", "4x16,big"], "block size 'big': expected rows x columns"),
    (["--html", "/nowhere/curve.html"], "/nowhere"),
])
def test_bad_input_is_one_line(espalier: CommandLine, options: list[str], message: str) -> None:
    assert one_line(espalier("blocksize", "resnet18", *options), message)
