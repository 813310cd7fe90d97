"""Selections by masks: known ones are places, those of the input stay refused."""

from __future__ import annotations

from typing import Any

import espalier
import pytest
import torch
from espalier.errors import EspalierError
from torch import nn


class Selecting(nn.Module):
    """Selects by a buffer, by what is computed of it and of a parameter, and assigns."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([1, 0, 1, 1, 0], dtype=torch.bool))
        self.register_buffer("both", torch.tensor([[1, 0, 1, 0, 0], [0, 0, 1, 1, 0]], dtype=torch.bool))
        self.register_buffer("counts", torch.tensor([2, 0]))
        self.scale = nn.Parameter(torch.tensor([1.0, -1.0, 2.0, 0.0, 3.0]))
        self.head = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> Any:
        written = x.clone()
        written[self.both] = torch.arange(4.0)
        written[:, self.mask] = 7
        kept = x[:, self.mask]
        own = torch.tensor([True, False])
        return (self.head(kept), x[own], torch.masked_select(x, self.mask),
                x[self.both], x.masked_select(self.both), x[:, ~self.mask].sum(1),
                x[:, self.scale > 0] * 2, x[:, self.mask.nonzero().squeeze(1)].view(-1), written,
                x.repeat_interleave(self.counts, 0), kept.reshape(kept.shape[1], 2))


def test_known_masks_select() -> None:
    module, x = Selecting(), torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    compiled = espalier.compile(module, (x,))
    assert [layer.name for layer in compiled.layers] == ["head"]
    for ours, theirs in zip(compiled(x), module(x), strict=True):
        torch.testing.assert_close(torch.as_tensor(ours), theirs.detach())


class Own(nn.Module):
    """Selects by its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[x > 0]


def test_masks_of_the_input_are_refused() -> None:
    with pytest.raises(EspalierError, match="gives a shape that depends on the data"):
        espalier.compile(Own(), (torch.ones(3),))


class Changing(nn.Module):
    """Selects by what ``forward`` writes: a buffer, or a copy of one in place."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = self.mask
        if self.how == "in place":
            self.mask[1:].logical_not_()
        elif self.how == "assigned":
            self.mask = x[0] > 0
        else:
            mask = self.mask.clone()
            mask[:2] = x[0, :2] > 0
        return x[:, mask]


@pytest.mark.parametrize("how", ["in place", "assigned", "a copy"])
def test_masks_that_are_written_are_refused(how: str) -> None:
    with pytest.raises(EspalierError, match="gives a shape that depends on the data"):
        espalier.compile(Changing(how), (torch.ones(2, 3),))
