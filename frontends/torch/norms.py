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

NEAR = 4096  # numbers that stay in L1 between their mean and their variance


def var(x: torch.Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None,
        keepdim: bool = False) -> Any:
    """``aten.var.correction``; exact also where the mean, rounded, is far from zero; NaN of nothing."""
    dims = _reduced(x, dim)
    if dims is None:
        return NotImplemented
    total, centred, _ = _squares(x, dims, keepdim)
    shift, count = centred.sum(dims, keepdim=keepdim), prod(x.shape[at] for at in dims)
    return (total - shift * shift / count) / _divisor(count, correction)


def var_mean(x: torch.Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None,
             keepdim: bool = False) -> Any:
    """``aten.var_mean.correction``, of which PyTorch makes norms: exact to what the mean is rounded by. Long
    rows are read once: the variances of parts, and that of their means, give that of the whole (Chan, Golub
    and LeVeque, American Statistician 37, 1983)."""
    dims = _reduced(x, dim)
    if dims is None:
        return NotImplemented
    count = prod(x.shape[at] for at in dims)
    part = _part(count) if dims == list(range(dims[0], x.dim())) else count
    if part == count:
        total, _, mean = _squares(x, dims, keepdim)
        return total / _divisor(count, correction), mean.reshape(total.shape)
    within, _, means = _squares(x.reshape(*x.shape[:dims[0]], count // part, part), [-1])
    between, _, mean = _squares(means.squeeze(-1), [-1])
    variance = (within.sum(-1) + between * part) / _divisor(count, correction)
    shape = (*x.shape[:dims[0]], *(1,) * len(dims)) if keepdim else variance.shape
    return variance.reshape(shape), mean.reshape(shape)


def _part(count: int) -> int:
    """How many of ``count`` numbers, which it divides, are near; ``count`` where they are few or nothing
    fits."""
    parts = [part for part in range(NEAR, NEAR // 4, -1) if count % part == 0]
    return parts[0] if parts and count > 2 * NEAR else count


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


def _reduced(x: torch.Tensor, dim: Sequence[int] | None) -> list[int] | None:
    """Along which dimensions of ``x`` a variance is; None where it is left to PyTorch."""
    if x.dtype not in (torch.float32, torch.float64) or not all(isinstance(size, int) for size in x.shape):
        return None
    return [at % max(x.dim(), 1) for at in dim] if dim else list(range(x.dim())) or None


def _squares(x: torch.Tensor, dims: list[int], keepdim: bool = False) -> tuple[
        torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sum of squared differences from the mean, these differences, and the mean with all dimensions."""
    mean = x.mean(dims, keepdim=True)
    centred = x - mean
    return (centred * centred).sum(dims, keepdim=keepdim), centred, mean


def _divisor(count: int, correction: float | None) -> float:
    return max(0.0, count - (1 if correction is None else correction))


__all__ = ["batch_norm", "var", "var_mean"]
