"""Imports a small module and prints it, weights left out."""

import torch
from espalier.frontends.torch.import_torch import import_module
from torch import nn


class Model(nn.Module):
    """One named convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.stem(x))


module = import_module(Model(), (torch.zeros(1, 3, 8, 8),))
print(module.operation.get_asm(large_elements_limit=4, large_resource_limit=4, enable_debug_info=True))
