"""Schedules for another machine are judged by what they execute under emulation."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from espalier.pipelines.target import Target
from espalier.sparse_dialect.schedule.schedule import Schedule
from espalier.tools.compiled import Source
from espalier.tools.tune.apart import IMPOSSIBLE, LATE, OK
from espalier.tools.tune.count_judge import CountJudge
from espalier.tools.tune.network import TunedNetwork

NETWORK = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU()).eval(), (torch.randn(1, 8, 12, 12),)
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-aarch64"), reason="needs qemu-aarch64")
def test_what_a_schedule_executes_is_counted(tmp_path: Path) -> None:
    for package in ("torch", "llvmlite", "ziglang"):
        pytest.importorskip(package)
    path = tmp_path / "net.py"
    path.write_text(NETWORK)
    target = Target.cross("aarch64-linux-gnu", "cortex-a76")
    network = TunedNetwork.of(Source(f"{path}:network"), target, lambda *_: None)
    judge, (unit,) = CountJudge(network), network.units
    (name,) = unit.clocks
    today = judge.measure({}, 1.0, 300.0).value[name]
    assert today[0] == today[1] > 1000  # the same code counts the same
    narrow = {name: Schedule(tile=(1, 1, 1), filters_per_group=1)}
    outcome = judge.measure(narrow, 1.0, 300.0)
    assert outcome.state == OK
    assert outcome.value[name][0] > today[0] == outcome.value[name][1]
    assert not judge.confirm(narrow, 1.0, 300.0).value.faster
    assert judge.measure(narrow, 1.0, 0.01).state == LATE
    judge.file = replace(judge.file, sample_outputs=[array + 1 for array in judge.file.sample_outputs])
    wrong = judge.measure(narrow, 1.0, 300.0)
    assert (wrong.state, "outputs differ" in wrong.reason) == (IMPOSSIBLE, True)
