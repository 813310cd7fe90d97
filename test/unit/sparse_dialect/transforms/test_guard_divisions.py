"""A division by 0 that a caller asks for: one error, and the process lives."""

from __future__ import annotations

import espalier
import pytest
import torch
from espalier.errors import EspalierError
from torch import nn


class Divided(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x // y, x % y


def test_a_division_by_zero_is_one_error() -> None:
    x, y = torch.tensor([7, -7, -(2**63)]), torch.tensor([2, 2, 5])
    compiled = espalier.compile(Divided(), (x, y))
    with pytest.raises(EspalierError, match="an integer is divided by 0"):
        compiled(x, torch.tensor([2, 0, 5]))
    least = compiled(x, torch.tensor([3, -1, -1]))  # the quotient of the last has no place in 64 bits
    assert [part[:2].tolist() for part in least] == [[2, 7], [1, 0]]
    assert least[1][2] == 0
