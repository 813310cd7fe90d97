"""Operators that torch-mlir does not lower, or not for all arguments, by others that it does."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import torch

aten = torch.ops.aten


def roll(x: torch.Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Any:
    """``aten.roll``: two slices change places in each dimension; without ``dims`` the elements in order."""
    if not all(isinstance(size, int) for size in (*x.shape, *shifts)):
        return NotImplemented
    if not dims:
        return roll(x.reshape(-1), shifts, [0]).view(x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        size = x.shape[dim]
        at = -shift % size if size else 0
        if at:
            x = torch.cat([x.narrow(dim, at, size - at), x.narrow(dim, 0, at)], dim)
    return x.clone() if not shifts else x


def fmod(x: torch.Tensor, divisor: Any) -> torch.Tensor:
    """``aten.fmod.Scalar`` by ``aten.fmod.Tensor``."""
    return aten.fmod.Tensor(x, torch.full((), divisor, dtype=torch.result_type(x, divisor)))


def median_of(x: torch.Tensor, dim: int, keepdim: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """``aten.median.dim``: the lower one of two, NaN where there is any."""
    if x.dim() == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    values, indices = torch.sort(x, dim=dim)  # NaN comes last
    middle = (x.shape[dim] - 1) // 2
    value, index = (t.narrow(dim, middle, 1) for t in (values, indices))
    if x.dtype.is_floating_point:
        last, last_index = (t.narrow(dim, x.shape[dim] - 1, 1) for t in (values, indices))
        value, index = torch.where(last.isnan(), last, value), torch.where(last.isnan(), last_index, index)
    return (value, index) if keepdim else (value.squeeze(dim), index.squeeze(dim))


def sort_stable(x: torch.Tensor, *, stable: bool | None = None, dim: int = -1,
                descending: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """``aten.sort.stable``; every sort of ours is stable."""
    values, indices = aten.sort.default(x, dim, descending)
    return values, indices


def kthvalue(x: torch.Tensor, k: int, dim: int = -1,
             keepdim: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """``aten.kthvalue``: the k-th smallest number and its place."""
    if x.dim() == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    value, index = (t.narrow(dim, k - 1, 1) for t in torch.topk(x, k, dim, largest=False, sorted=True))
    return (value, index) if keepdim else (value.squeeze(dim), index.squeeze(dim))


def median(x: torch.Tensor) -> torch.Tensor:
    """``aten.median.default``."""
    return median_of(x.reshape(-1), 0)[0]


def distances(x: torch.Tensor, y: torch.Tensor, p: float, compute_mode: int | None = None) -> torch.Tensor:
    """``aten._cdist_forward``: [*, P, M] and [*, R, M] to [*, P, R]."""
    return _norm(x.unsqueeze(-2) - y.unsqueeze(-3), p)


def own_distances(x: torch.Tensor, p: float = 2.0) -> torch.Tensor:
    """``aten._pdist_forward``: [N, M] to [N * (N - 1) / 2]."""
    first, second = torch.triu_indices(x.shape[0], x.shape[0], 1).unbind(0)
    return _norm(x.index_select(0, first) - x.index_select(0, second), p)


def _norm(difference: torch.Tensor, p: float) -> torch.Tensor:
    """The p-norm over the last dimension; p = 0 counts."""
    size = difference.abs()
    if p == 2:
        return (size * size).sum(-1).sqrt()
    if p == 1:
        return size.sum(-1)
    if p == inf:
        return size.amax(-1)
    if p == 0:
        return (size != 0).to(size.dtype).sum(-1)
    return size.pow(p).sum(-1).pow(1 / p)


def embedding_bag(weight: torch.Tensor, indices: torch.Tensor, offsets: torch.Tensor,
                  scale_grad_by_freq: bool = False, mode: int = 0, sparse: bool = False,
                  per_sample_weights: torch.Tensor | None = None, include_last_offset: bool = False,
                  padding_idx: int = -1) -> Any:
    """``aten._embedding_bag_forward_only``: a sum (mode 0), mean or maximum of the rows of each bag.

    A bag's members are a row of a matrix [bags, indices], so that sums are one product. Only the first of
    the four results is meant to be read.
    """
    places = torch.arange(indices.shape[0], dtype=offsets.dtype)
    begins = offsets[:-1] if include_last_offset else offsets
    end = torch.full((1,), indices.shape[0], dtype=offsets.dtype)
    ends = torch.cat([offsets[1:], end]) if not include_last_offset else offsets[1:]
    member = (begins[:, None] <= places) & (places < ends[:, None])
    if padding_idx >= 0:
        member = member & (indices != padding_idx)
    rows = weight.index_select(0, indices)
    if mode == 2:
        lowest = torch.full((), -inf, dtype=weight.dtype)
        most = torch.where(member[:, :, None], rows, lowest).amax(1)
        result = torch.where(member.any(1, keepdim=True), most, torch.zeros((), dtype=weight.dtype))
    else:
        share = member.to(weight.dtype)
        if mode == 1:
            share = share / share.sum(1, keepdim=True).clamp(min=1)
        if per_sample_weights is not None:
            share = share * per_sample_weights
        result = share @ rows
    none = indices.new_empty(0)
    return result, none, none, none


__all__ = ["distances", "embedding_bag", "fmod", "kthvalue", "median", "median_of", "own_distances", "roll",
           "sort_stable"]
