"""Tiny models, data and loops for tests of pruning that trains: everything is made here, in milliseconds."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from espalier.frontends.pruning import Sparsifier
from espalier.frontends.tasks import Task
from espalier.frontends.tasks.batches import TensorBatches
from torch import nn

PATTERNS = {"match": "*", "scheme": "pattern", "entries": 4, "patterns": 4, "connectivity": 2}


class Net(nn.Module):
    """Two 3x3 convolutions with batch norm, a 1x1 one, a linear layer: all that most recipes tell apart."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.point = nn.Conv2d(width, 2 * width, 1)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(2 * width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.first(x)))
        x = F.relu(self.point(F.relu(self.second(x))))
        return self.out(self.drop(x.mean((2, 3))))


def net(width: int = 16, seed: int = 0) -> Net:
    """A ``Net`` with seeded weights."""
    torch.manual_seed(seed)
    return Net(width)


def task(items: int = 64, size: int = 16, seed: int = 0) -> Task:
    """Four classes of noise with a mean of their own: [N, 2, 6, 6] pictures, shuffled and augmented."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(items) % 4
    x = torch.randn((items, 2, 6, 6), generator=generator) * 0.3
    x[:, 0] += (y // 2)[:, None, None]
    x[:, 1] += (y % 2)[:, None, None]
    return Task(TensorBatches(x, y, size, shuffle=True, augment=lambda x: x + 0.01 * torch.randn_like(x)),
                TensorBatches(x, y, 32))


def sgd(model: nn.Module, rate: float = 0.05) -> torch.optim.Optimizer:
    """SGD with everything that moves zeros: momentum and weight decay."""
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=1e-3)


def sparsifier_of(model: nn.Module, *rules: dict[str, Any], steps: int = 2, **parts: Any) -> Sparsifier:
    """A sparsifier of ``model`` under ``rules``, with an optimizer of its own."""
    recipe = {"layers": list(rules) or [PATTERNS], "retrain": {"epochs": 1}, **parts}
    return Sparsifier(model, recipe, optimizer=sgd(model), steps_per_epoch=steps)


def steps(sparsifier: Sparsifier, count: int, inputs: tuple[torch.Tensor, ...], seed: int = 1) -> None:
    """``count`` optimizer steps towards random outputs."""
    torch.manual_seed(seed)
    optimizer = sparsifier.optimizer
    for _ in range(count):
        optimizer.zero_grad()
        outputs = sparsifier.model(*inputs)
        output = outputs[0] if isinstance(outputs, tuple) else outputs
        loss = F.mse_loss(output, torch.randn_like(output)) + sparsifier.penalty()
        loss.backward()
        optimizer.step()


def train(sparsifier: Sparsifier, inputs: tuple[torch.Tensor, ...]) -> None:
    """All epochs, and the end."""
    while sparsifier.phase != "done":
        steps(sparsifier, sparsifier.steps_per_epoch, inputs)
        sparsifier.epoch_end()
    sparsifier.finish()
