"""Two training processes by torchrun (gloo): the same masks on both, and what one process would have got."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import torch
from pathlib import Path
from espalier.frontends.pruning.engine import PruningRun
from espalier.frontends.pruning.processes import rank, world
from espalier.frontends.pruning.recipe import Phase, load_recipe
from espalier.frontends.pruning.stepper import train_dense
from support.training import PATTERNS, net, task
torch.set_num_threads(1)
model = net()
train_dense(model, task(512, 64), Phase(epochs=4, peak=0.1))
recipe = load_recipe({{"layers": [PATTERNS], "method": {{"name": "admm", "epochs": 2, "stages": [1, 3],
                      "peak": 0.05}}, "retrain": {{"epochs": 2, "peak": 0.05}},
                      "optimizer": {{"momentum": 0.9}}}})
run = PruningRun(model, task(512, 64), recipe)
outcome = run.run()
torch.save({{"masks": run.sparsifier.masks, "retrained": outcome.retrained, "world": world(),
            "weights": model.state_dict()}}, Path({folder!r}) / f"rank{{rank()}}.pt")
"""


def outcome_of(folder: Path, processes: int) -> list[dict[str, object]]:
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[3]), folder=str(folder)))
    command = [sys.executable, str(script)] if processes == 1 else [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
        str(script)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(processes)]


@pytest.mark.slow
def test_two_processes_make_the_same_masks_and_the_metric_of_one(tmp_path: Path) -> None:
    first, second = outcome_of(tmp_path / "two", 2)
    alone, = outcome_of(tmp_path / "one", 1)
    assert (first["world"], alone["world"]) == (2, 1)
    for one, other in zip(first["masks"], second["masks"], strict=True):  # type: ignore[call-overload]
        assert torch.equal(one, other)
    for name, value in first["weights"].items():  # type: ignore[attr-defined]
        if "running" not in name and "batches" not in name:  # batch norm's statistics are each process's own
            assert torch.equal(value, second["weights"][name]), name  # type: ignore[index]
    assert first["retrained"] == second["retrained"]
    assert abs(float(str(first["retrained"])) - float(str(alone["retrained"]))) < 15
