"""Sorting as we do it, by PyTorch: equal numbers in the order in which they come.

PyTorch leaves the places of equal numbers open in ``sort``, ``topk``, ``kthvalue`` and ``median``, and its
own choice depends on the machine. A recorded answer is one of those that are right: the stable one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .operators import kthvalue, median_of

aten = torch.ops.aten


def topk(x: torch.Tensor, k: int, dim: int = -1, largest: bool = True,
         sorted: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """``aten.topk`` as a stable sort."""
    if x.dim() == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    values, indices = sort(x, dim, largest)
    return values.narrow(dim, 0, k).contiguous(), indices.narrow(dim, 0, k).contiguous()


def sort(x: torch.Tensor, dim: int = -1, descending: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """``aten.sort.default``, stable."""
    values, indices = aten.sort.stable(x, stable=True, dim=dim, descending=descending)
    return values, indices


def argsort(x: torch.Tensor, dim: int = -1, descending: bool = False) -> torch.Tensor:
    """``aten.argsort.default``, stable; in inference mode it is not taken apart before it comes here."""
    return sort(x, dim, descending)[1]


OURS: dict[Any, Callable[..., Any]] = {
    aten.argsort.default: argsort, aten.sort.default: sort, aten.topk.default: topk,
    aten.kthvalue.default: kthvalue, aten.median.dim: median_of}


class StableOrder(TorchDispatchMode):
    """``with StableOrder(): module(x)``: whatever sorts, sorts stably."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten.sort.stable:
            kwargs = {**kwargs, "stable": True}
        if func not in OURS:
            return func(*args, **kwargs)
        with self:
            return OURS[func](*args, **kwargs)


__all__ = ["StableOrder"]
