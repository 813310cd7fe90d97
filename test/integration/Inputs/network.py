"""A small network with everything that VGG and ResNet have: ``network.py:network``."""

from __future__ import annotations

import torch
from torch import nn


class Network(nn.Module):
    """Stem, a residual block with batch norm, a pool, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.body = nn.Conv2d(16, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.narrow = nn.Conv2d(16, 32, 1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 3, 24, 20] to [1, 10]."""
        x = torch.relu(self.stem(x))
        x = torch.relu(self.norm(self.body(x)) + x)
        x = torch.max_pool2d(torch.relu(self.narrow(x)), 2)
        return self.head(x.mean((2, 3)))


def network() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """The network with seeded weights, and an example input."""
    torch.manual_seed(0)
    return Network(), (torch.randn(1, 3, 24, 20),)
