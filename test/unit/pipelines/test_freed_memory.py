"""Nothing that a pass has erased is looked at again: the C library fills what is freed with rubbish."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LAYERS = """
import espalier, torch
from torch import nn

class Tanh(nn.Module):
    def forward(self, x):
        return torch.tanh(x) * 2

layers = [layer for _ in range(6) for layer in (nn.Conv2d(8, 8, 3, padding=1), Tanh())]
module = nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10), nn.Softmax(1)).eval()
espalier.compile(module, (torch.randn(1, 8, 16, 16),))
"""


@pytest.mark.slow
@pytest.mark.parametrize("filled", ["85", "165"])
def test_erased_operations_stay_unread(filled: str) -> None:
    result = subprocess.run([sys.executable, "-c", LAYERS], capture_output=True, text=True,
                            env={**os.environ, "MALLOC_PERTURB_": filled})
    assert result.returncode == 0, result.stderr
