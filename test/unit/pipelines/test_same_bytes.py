"""Compiling twice gives the same bytes: in two processes, for the host and for AArch64."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Prints a digest of the host's model file and of the AArch64 object of five networks of every family.
SCRIPT = """
import hashlib
import torch
from torch import nn
from espalier.frontends.compile import compile_file
from espalier.frontends.pruning.project import prune_module
from espalier.pipelines.codegen.emit import emit
from espalier.pipelines.target import Target

torch.manual_seed(0)
convs = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
    nn.MaxPool2d(2), nn.Conv2d(32, 32, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
mobile = nn.Sequential(
    nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU6(), nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU6(),
    nn.Conv2d(16, 24, 1), nn.Conv2d(24, 48, 1, groups=4), nn.Hardswish())
volumes = nn.Sequential(
    nn.Conv3d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool3d((1, 2, 2)), nn.Conv3d(16, 24, 3))
rows = nn.Sequential(nn.Linear(200, 128), nn.GELU(), nn.LayerNorm(128), nn.Linear(128, 64), nn.Softmax(-1))
networks = {
    "convs": (prune_module(convs, "pattern:connectivity=3.6"), torch.randn(1, 3, 32, 32)),
    "mobile": (prune_module(mobile, "connectivity:rate=3"), torch.randn(1, 3, 24, 24)),
    "volumes": (prune_module(volumes, "kgs:rate=3"), torch.randn(1, 3, 4, 12, 12)),
    "rows": (prune_module(rows, "bcr:rate=5"), torch.randn(3, 200)),
    "steps": (prune_module(nn.LSTM(32, 40), "bcr:rows=4,columns=8,rate=4"), torch.randn(6, 1, 32)),
}
for name, (module, x) in networks.items():
    file = compile_file(module.eval(), (x,), Target.host())
    target = Target.cross("aarch64-linux-gnu")
    code = emit("obj", compile_file(module.eval(), (x,), target), target, "net")
    print(name, hashlib.sha256(file.to_bytes()).hexdigest(), hashlib.sha256(code).hexdigest(), flush=True)
"""


@pytest.mark.slow
def test_two_processes_give_the_same_bytes() -> None:
    outputs = []
    for seed in ("1", "2"):
        done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=600,
                              env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert len(outputs[0].splitlines()) == 5
    assert outputs[0] == outputs[1]
