"""Schedules for another machine are judged by what they execute under emulation."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from espalier.errors import EspalierError
from espalier.pipelines.target import Target
from espalier.programs import lacking
from espalier.sparse_dialect.schedule.schedule import Schedule
from espalier.tools.compiled import Source
from espalier.tools.tune.apart import IMPOSSIBLE, LATE, OK
from espalier.tools.tune.count_judge import CountJudge, CycleJudge
from espalier.tools.tune.network import TunedNetwork

NETWORK = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU()).eval(), (torch.randn(1, 8, 12, 12),)
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> TunedNetwork:
    for package in ("torch", "llvmlite", "ziglang"):
        pytest.importorskip(package)
    path = tmp_path_factory.mktemp("network") / "net.py"
    path.write_text(NETWORK)
    target = Target.cross("aarch64-linux-gnu", "cortex-a76")
    return TunedNetwork.of(Source(f"{path}:network"), target, lambda *_: None)


def is_judged(network: TunedNetwork, judge: CountJudge, least: float) -> None:
    """A tile of one line costs more than today's, and the same code costs the same."""
    (unit,) = network.units
    (name,) = unit.clocks
    today = judge.measure({}, 1.0, 300.0).value[name]
    assert today[0] == today[1] > least
    narrow = {name: Schedule(tile=(1, 1, 1), filters_per_group=1)}
    outcome = judge.measure(narrow, 1.0, 300.0)
    assert outcome.state == OK
    assert outcome.value[name][0] > today[0] == outcome.value[name][1]
    assert not judge.confirm(narrow, 1.0, 300.0).value.faster


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-aarch64"), reason="needs qemu-aarch64")
def test_what_a_schedule_executes_is_counted(network: TunedNetwork) -> None:
    judge = CountJudge(network)
    is_judged(network, judge, 1000)
    assert judge.measure({}, 1.0, 0.01).state == LATE
    judge.file = replace(judge.file, sample_outputs=[array + 1 for array in judge.file.sample_outputs])
    wrong = judge.measure({}, 1.0, 300.0)
    assert (wrong.state, "outputs differ" in wrong.reason) == (IMPOSSIBLE, True)


@pytest.mark.slow
@pytest.mark.skipif(bool(lacking("qemu-aarch64", "llvm-mca")), reason=lacking("qemu-aarch64", "llvm-mca"))
def test_what_its_loops_take_is_predicted(network: TunedNetwork) -> None:
    is_judged(network, CycleJudge(network), 100)
    assert CycleJudge(network).default.total() < CountJudge(network).default.total()


def test_without_an_analyser_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    nothing: Any = None
    with pytest.raises(EspalierError, match="predicting cycles needs llvm-mca"):
        CycleJudge(nothing)
