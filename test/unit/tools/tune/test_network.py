"""What a network's layers may be tuned in: whatever a space holds compiles, and computes the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from espalier.pipelines.target import Target
from espalier.tools.compiled import Source
from espalier.tools.tune.apart import OK, run_apart
from espalier.tools.tune.judge import HostJudge
from espalier.tools.tune.network import TunedNetwork

NETWORK = """
import torch
from torch import nn

class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.out = nn.GRU(32, 48), nn.Linear(48, 96)

    def forward(self, x):
        return self.out(self.gru(x)[0][-1])

def steps():
    torch.manual_seed(0)
    return Steps().eval(), (torch.randn(5, 1, 32),)

def images():
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 96, 1), nn.ReLU6(), nn.Conv2d(96, 96, 3, 2, 1, groups=96), nn.ReLU6(),
              nn.Conv2d(96, 16, 1), nn.Conv2d(16, 16, 3))
    return nn.Sequential(*layers).eval(), (torch.randn(1, 3, 72, 72),)
"""
PATTERNS = "pattern:entries=4,connectivity=3"
AXES = {"steps": {"storage", "filters_per_group of 0", "window of 0"},
        "images": {"storage", "by_chunk", "chunks", "filters_per_group", "tile.2"}}


@pytest.mark.slow
@pytest.mark.parametrize(("function", "prune"), [("steps", "bcr:rate=6"), ("images", PATTERNS)])
def test_every_schedule_computes_the_same(tmp_path: Path, function: str, prune: str) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "net.py"
    path.write_text(NETWORK)
    network = TunedNetwork.of(Source(f"{path}:{function}", prune), Target.host(), lambda *_: None)
    found = {axis.label.removesuffix(" of 0") if function == "images" else axis.label
             for unit in network.units for axis in unit.space.axes}
    assert AXES[function] <= found
    judge, drawn = HostJudge(network, 1), random.Random(1)
    classes = network.classes()
    assert bool(classes.grids) == (function == "images")
    for _ in range(3):
        assignment = tuple(drawn.randrange(len(grids)) for grids in classes.grids)
        network.take_grids(classes.chosen(assignment))
        chosen = {name: unit.space.schedule(unit.space.draw(drawn))
                  for unit in network.units for name in unit.clocks}
        chosen = network.complete(chosen)
        outcome = run_apart(lambda chosen=chosen: judge._model(chosen) and None, 120)
        assert outcome.state == OK, (outcome, chosen)
