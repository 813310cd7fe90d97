"""The largest and smallest numbers so far, and logarithms of sums of exponentials, in as many steps
as doublings reach the length.

    aten.cummax %x, 0 : [8]   ->   %a = where(%x[1:] >= %x[:-1], %x[1:], %x[:-1]), behind %x[:1]
                                   the same with 2 and with 4 in place of 1; places go along
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

aten = torch.ops.aten


def _extremes_so_far(x: torch.Tensor, dim: int, largest: bool) -> Any:
    """Values and places; of equal ones the last, and from the first NaN on the last NaN."""
    if not all(isinstance(size, int) and size for size in x.shape):
        return NotImplemented
    if x.dim() == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    dim %= x.dim()
    count, step = x.shape[dim], 1
    shape = [1] * x.dim()
    shape[dim] = count
    values, places = x, torch.arange(count).view(shape).expand(x.shape)
    while step < count:
        before, later = (values.narrow(dim, at, count - step) for at in (0, step))
        first, second = (places.narrow(dim, at, count - step) for at in (0, step))
        taken = later >= before if largest else later <= before
        if x.dtype.is_floating_point:
            taken = taken | (later != later)
        values, places = (torch.cat([whole.narrow(dim, 0, step), torch.where(taken, new, old)], dim)
                          for whole, new, old in ((values, later, before), (places, second, first)))
        step *= 2
    return values.clone(), places.clone()


def logcumsumexp(x: torch.Tensor, dim: int) -> Any:
    """``aten.logcumsumexp``, finite where exp(x) is not: torch-mlir's sums exp(x)."""
    if not all(isinstance(size, int) and size for size in x.shape):
        return NotImplemented
    found, count, step = x.clone(), x.shape[dim] if x.dim() else 1, 1
    while step < count:
        before, later = (found.narrow(dim, at, count - step) for at in (0, step))
        rest = torch.where(before == later, torch.zeros_like(later), -(before - later).abs())
        both = torch.maximum(before, later) + torch.log1p(torch.exp(rest))
        found = torch.cat([found.narrow(dim, 0, step), both], dim)
        step *= 2
    return found


def bucketize(x: Any, boundaries: torch.Tensor, *, out_int32: bool = False, right: bool = False) -> Any:
    """``aten.bucketize``: how many boundaries lie below a number; NaN is above all of them."""
    return _places(x, boundaries, out_int32, right)


def searchsorted(boundaries: torch.Tensor, x: torch.Tensor, *, out_int32: bool = False, right: bool = False,
                 side: str | None = None, sorter: torch.Tensor | None = None) -> Any:
    """``aten.searchsorted``; boundaries are [n], or [*, n] for numbers of [*, m]."""
    if sorter is not None:
        boundaries = boundaries.gather(-1, sorter)
    return _places(x, boundaries if boundaries.dim() == 1 else boundaries.unsqueeze(-2), out_int32,
                   right or side == "right")


def _places(x: torch.Tensor, boundaries: torch.Tensor, out_int32: bool, right: bool) -> torch.Tensor:
    number = x.unsqueeze(-1)
    above = boundaries > number if right else boundaries >= number
    found = torch.logical_not(above).to(torch.int32).sum(-1, dtype=torch.int64)
    return found.to(torch.int32) if out_int32 else found


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Operator -> what it becomes."""
    return {aten.cummax.default: partial(_extremes_so_far, largest=True),
            aten.cummin.default: partial(_extremes_so_far, largest=False),
            aten.logcumsumexp.default: logcumsumexp, aten.bucketize.Tensor: bucketize,
            aten.searchsorted.Tensor: searchsorted}


__all__ = ["decompositions"]
