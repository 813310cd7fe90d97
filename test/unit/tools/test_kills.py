"""Commands that are killed leave no half-written file, and the next run removes what they left.

30 kills each by hand: ESPALIER_KILLS=30 pytest test/unit/tools/test_kills.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("ESPALIER_KILLS", "6"))
TEST = Path(__file__).parents[2]
FILE = """
import torch
from torch import nn
from support import training

def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.Linear(16 * 16, 8)
    return nn.Sequential(*layers).eval(), (torch.randn(1, 3, 8, 8),)

def model():
    return training.net(), (torch.zeros(1, 2, 6, 6),)

def data():
    return training.task()
"""
RECIPE = """\
layers:
  - {match: "*", scheme: pattern, entries: 4, patterns: 4, connectivity: 2}
method: {name: admm, epochs: 1, stages: [1], peak: 0.05}
retrain: {epochs: 1, peak: 0.05}
"""
COMMANDS = {
    "compile": ["compile", "net.py:network", "-o", "net.espalier"],
    "bench": ["bench", "net.py:network", "--prune", "bcr:rate=3", "--runs", "1", "--warmup", "0", "--threads",
              "1", "--json", "times.json"],
    "blocksize": ["blocksize", "net.py:network", "--runs", "0", "--sizes", "1x4,2x4", "--json", "curve.json",
                  "--html", "curve.html"],
    "prune": ["prune", "net.py:model", "--data", "net.py:data", "--recipe", "recipe.yaml", "-o", "pruned.pt2",
              "--checkpoint", "checkpoints"],
    "tune": ["tune", "net.py:network", "--trials", "4", "--time", "3m", "--database", "tuned.sqlite"],
}
WRITTEN = {"compile": {"net.espalier"}, "bench": {"times.json"}, "blocksize": {"curve.json", "curve.html"},
           "prune": {"pruned.pt2", "pruned.json", "pruned.csv"}, "tune": {"tuned.sqlite"}}


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_again_and_again(tmp_path: Path, name: str) -> None:
    (tmp_path / "net.py").write_text(FILE)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "support.kills", str(tmp_path), str(KILLS), *COMMANDS[name]]
    path = os.pathsep.join([str(TEST), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, timeout=900,
                          env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    *kills, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(kills) == KILLS
    assert any(kills)
    assert last == 0, done.stderr
    left = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")
            if "__pycache__" not in path.parts and "cache" not in path.parts}
    assert WRITTEN[name] <= left
    stale = ".espalier-", ".aside", "-journal"
    assert not {file for file in left
                if any(part in file for part in stale) or file.startswith(("espalier-", "tmp"))}, left
