"""Places of extremes as PyTorch finds them, in operations that vectorise: the first of equal ones, or of NaN.

    %i = aten.argmax(%x, 1)   ->   %m = aten.amax(%x, [1], keepdim)
                                   %i = aten.amin(where((%x == %m) | (%x != %x), 0 1 2 ..., n), [1])

torch-mlir's own lowering carries a place beside each extreme, one number at a time, and does not see NaN.
"""

from __future__ import annotations

from typing import Any

import torch


def argmax(x: torch.Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """``aten.argmax``."""
    return _place_in(x, dim, keepdim, largest=True)


def argmin(x: torch.Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """``aten.argmin``."""
    return _place_in(x, dim, keepdim, largest=False)


def max_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    """``aten.max.dim``: the largest numbers and their places."""
    return _extreme(x, dim, keepdim, largest=True)


def min_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    """``aten.min.dim``."""
    return _extreme(x, dim, keepdim, largest=False)


def _place_in(x: torch.Tensor, dim: int | None, keepdim: bool, largest: bool) -> Any:
    """The place along ``dim``; without one, among all elements in order."""
    if not all(isinstance(size, int) and size for size in x.shape):
        return NotImplemented
    if dim is None:
        place = _extreme(x.reshape(-1), 0, False, largest)[1]
        return place.view([1] * x.dim()) if keepdim else place
    if x.dim() == 0:
        return torch.zeros_like(x, dtype=torch.int64)
    return _extreme(x, dim, keepdim, largest)[1]


def _extreme(x: torch.Tensor, dim: int, keepdim: bool, largest: bool) -> Any:
    if not all(isinstance(size, int) and size for size in x.shape):
        return NotImplemented
    if x.dim() == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    number = x.to(torch.int32) if x.dtype == torch.bool else x
    best = torch.amax(number, dim, keepdim=True) if largest else torch.amin(number, dim, keepdim=True)
    found = number == best
    if x.dtype.is_floating_point:
        found = found | (number != number)
    count = x.shape[dim]
    shape = [1] * x.dim()
    shape[dim] = count
    places = torch.arange(count, dtype=torch.int32).view(shape)
    none = torch.full((), count, dtype=torch.int32)
    place = torch.amin(torch.where(found, places, none), dim, keepdim=keepdim).to(torch.int64)
    value = best if keepdim else best.squeeze(dim)
    return value.to(x.dtype), place


__all__ = ["argmax", "argmin", "max_dim", "min_dim"]
