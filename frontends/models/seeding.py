"""Seeded weights that behave like trained ones, for networks whose real weights are not at hand.

Trained kernels differ widely in norm, which is why pruning works on them. Plain normal weights would lose two
thirds of their energy in every pruned layer, so that after thirteen layers only the biases would reach the
output and an equality check would prove nothing. Kernels therefore get log-normal norms, with He's variance
on average.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from .r2plus1d import SplitBlock
from .resnet import BasicBlock, Bottleneck

SPREAD = 1.0  # sigma of the log of a kernel's norm
BRANCH = 0.3  # scale of the last batch norm of a residual branch: keeps sums of many branches near 1


def seed_weights(module: nn.Module, seed: int) -> None:
    """Fills every parameter and buffer of ``module``, made of the layers of this folder, from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    branch_ends = {id(end) for block in module.modules() if (end := _branch_end(block)) is not None}
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
                _seed_weight(layer, generator)
            elif isinstance(layer, nn.RNNBase):
                _seed_recurrent(layer, generator)
            elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
                _seed_norm(layer, BRANCH if id(layer) in branch_ends else 1.0, generator)


def _branch_end(block: nn.Module) -> nn.Module | None:
    """The last batch norm of a residual branch."""
    match block:
        case BasicBlock():
            return block.bn2
        case Bottleneck():
            return block.bn3
        case SplitBlock():
            return block.conv2[1]
    return None


def _seed_weight(layer: nn.Conv2d | nn.Conv3d | nn.Linear, generator: torch.Generator) -> None:
    """He's variance 2 / fan_in; one log-normal factor a kernel (convolutions) or an input (linear layers)."""
    weight = layer.weight
    weight.normal_(0, math.sqrt(2 / weight[0].numel()), generator=generator)
    factors = torch.empty(weight.shape[1:] if isinstance(layer, nn.Linear) else weight.shape[:2])
    factors.log_normal_(-SPREAD * SPREAD, SPREAD, generator=generator)  # the mean of the squares is 1
    weight.mul_(factors.reshape(*factors.shape, *[1] * (weight.dim() - 2))
                if not isinstance(layer, nn.Linear) else factors)
    if layer.bias is not None:
        layer.bias.normal_(0, 0.02, generator=generator)


def _seed_recurrent(layer: nn.RNNBase, generator: torch.Generator) -> None:
    """Variance 1 / fan_in, with a log-normal factor for each weight: gates that neither saturate nor rest."""
    for name, parameter in layer.named_parameters():
        if name.startswith("weight"):
            parameter.normal_(0, math.sqrt(1 / parameter.shape[1]), generator=generator)
            factors = torch.empty_like(parameter)
            parameter.mul_(factors.log_normal_(-SPREAD * SPREAD, SPREAD, generator=generator))
        else:
            parameter.normal_(0, 0.02, generator=generator)


def _seed_norm(layer: nn.BatchNorm2d | nn.BatchNorm3d, scale: float, generator: torch.Generator) -> None:
    """Statistics and affine terms differ from channel to channel, so that folding them is put to the test."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    layer.running_mean.normal_(0, 0.1, generator=generator)
    layer.running_var.uniform_(0.5, 1.5, generator=generator)
    layer.weight.uniform_(0.5 * scale, 1.5 * scale, generator=generator)
    layer.bias.normal_(0, 0.1, generator=generator)
    layer.num_batches_tracked.zero_()
