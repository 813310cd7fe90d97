"""Numbers for networks that come without trained weights: statistics that normalisation has seen, so that
neither what it folds nor the size of what reaches the output is trivial."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

SAMPLES = 4  # inputs whose statistics are taken


def settle(module: nn.Module, inputs: tuple[Any, ...], affine: bool = True) -> nn.Module:
    """``module`` in evaluation mode, its batch norms with the statistics of seeded inputs like ``inputs``
    and, where ``affine``, seeded scales and shifts; one without batch norms is left as it is."""
    module.eval()
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm) and norm.track_running_stats]
    if not norms:
        return module
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None  # the mean of all that it sees
            if affine and norm.affine:
                norm.weight.uniform_(0.5, 1.5, generator=generator)
                norm.bias.normal_(0, 0.1, generator=generator)
        module(*(_several(value, generator) for value in inputs))
    return module.eval()


def another(value: Any) -> Any:
    """Another input like ``value``: other floats, or integers in the opposite order."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.asarray(np.random.default_rng(2).standard_normal(value.shape), value.dtype)
    if not isinstance(value, torch.Tensor):
        return value
    if not value.is_floating_point():
        return value.flip(-1) if value.dim() else value
    return torch.randn(value.shape, generator=torch.Generator().manual_seed(2))


def _several(value: Any, generator: torch.Generator) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    if not value.is_floating_point():
        return value.repeat_interleave(SAMPLES, 0)
    return torch.randn((SAMPLES * value.shape[0], *value.shape[1:]), generator=generator)


__all__ = ["another", "settle"]
