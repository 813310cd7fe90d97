"""Variances in the numbers' own type, in two passes; torch-mlir's decomposition goes through f64.

Layer, group and instance norms are made of them by PyTorch's own decompositions. A batch norm of inference is
four operations on the image here, and what its constants need; PyTorch's traces twice as many, for each of
fifty layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch._decomp import get_decompositions


def var(x: torch.Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None,
        keepdim: bool = False) -> Any:
    """``aten.var.correction``; exact also where the mean, rounded, is far from zero; NaN of nothing."""
    found = _squares(x, dim, keepdim)
    if found is NotImplemented:
        return found
    total, centred, _, count, dims = found
    shift = centred.sum(dims, keepdim=keepdim)
    return (total - shift * shift / count) / _divisor(count, correction)


def var_mean(x: torch.Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None,
             keepdim: bool = False) -> Any:
    """``aten.var_mean.correction``, of which PyTorch makes norms: exact to what the mean is rounded by."""
    found = _squares(x, dim, keepdim)
    if found is NotImplemented:
        return found
    total, _, mean, count, _ = found
    return total / _divisor(count, correction), mean.reshape(total.shape)


def batch_norm(x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, mean: torch.Tensor,
               variance: torch.Tensor, momentum: float, eps: float) -> Any:
    """``aten._native_batch_norm_legit_no_training``, in PyTorch's order; numbers of mixed or narrow types are
    left to its own decomposition."""
    if any(part is not None and part.dtype != torch.float32 for part in (x, weight, bias, mean, variance)):
        operator = torch.ops.aten._native_batch_norm_legit_no_training.default
        return get_decompositions([operator])[operator](x, weight, bias, mean, variance, momentum, eps)
    along = [-1] + [1] * (x.dim() - 2)
    y = (x - mean.view(along)) * torch.reciprocal(torch.sqrt(variance + eps)).view(along)
    y = y if weight is None else y * weight.view(along)
    y = y if bias is None else y + bias.view(along)
    unused = x.new_empty(0)  # statistics, of training alone
    return y, unused, unused


def _squares(x: torch.Tensor, dim: Sequence[int] | None, keepdim: bool) -> Any:
    """The sum of squared differences from the mean, these differences, the mean with all dimensions, how many
    numbers it is of, and along which dimensions."""
    if x.dtype not in (torch.float32, torch.float64) or not all(isinstance(size, int) for size in x.shape):
        return NotImplemented
    dims = [at % max(x.dim(), 1) for at in dim] if dim else list(range(x.dim()))
    count = prod(x.shape[at] for at in dims)
    if not dims:
        return NotImplemented
    mean = x.mean(dims, keepdim=True)
    centred = x - mean
    return (centred * centred).sum(dims, keepdim=keepdim), centred, mean, count, dims


def _divisor(count: int, correction: float | None) -> float:
    return max(0.0, count - (1 if correction is None else correction))


__all__ = ["batch_norm", "var", "var_mean"]
