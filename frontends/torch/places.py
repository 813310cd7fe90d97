"""Assignments to places of a tensor that are no rectangle: of a mask, of a diagonal, and at strides.

    y[mask] = 2               aten.index_put %y, [%mask], %2      ->   aten.where %mask, %2, %y
    y.diagonal().fill_(3)     aten.diagonal_scatter %y, %threes   ->   aten.where %on_it, %threes, %y
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

aten = torch.ops.aten


def index_put(x: torch.Tensor, indices: Sequence[torch.Tensor | None], values: torch.Tensor,
              accumulate: bool = False) -> Any:
    """``aten.index_put`` by one mask, of a value that is the same wherever the mask holds."""
    given = [index for index in indices if index is not None]
    if len(given) != 1 or given[0].dtype != torch.bool:
        return NotImplemented
    mask = given[0]
    behind = x.dim() - (len(indices) - 1) - mask.dim()
    if values.dim() > behind:
        sizes = list(values.shape)
        at = len(sizes) - behind - 1
        if sizes[at] != 1:
            return NotImplemented  # as many values as places, which only data tell
        values = values.reshape([*sizes[:at], *[1] * mask.dim(), *sizes[at + 1:]])
    mask = mask.reshape([*mask.shape, *[1] * behind])
    return torch.where(mask, x + values if accumulate else values.to(x.dtype), x)


def diagonal_scatter(x: torch.Tensor, source: torch.Tensor, offset: int = 0, dim1: int = 0,
                     dim2: int = 1) -> torch.Tensor:
    """``aten.diagonal_scatter``: the number of row r stands in column r + ``offset``."""
    dim1, dim2 = dim1 % x.dim(), dim2 % x.dim()
    matrix = x.movedim((dim1, dim2), (-2, -1))
    rows, columns = matrix.shape[-2:]
    before = max(-offset, 0)
    by_row = F.pad(source, [before, rows - before - source.shape[-1]])
    on_it = torch.arange(rows).unsqueeze(1) + offset == torch.arange(columns)
    return torch.where(on_it, by_row.unsqueeze(-1).to(x.dtype), matrix).movedim((-2, -1), (dim1, dim2))


def as_strided_scatter(x: torch.Tensor, source: torch.Tensor, size: Sequence[int], stride: Sequence[int],
                       offset: int | None = None) -> Any:
    """``aten.as_strided_scatter`` (of ``fill_diagonal_``) into a tensor that memory holds without gaps."""
    strides = x.stride()
    order = sorted(range(x.dim()), key=lambda at: strides[at], reverse=True)
    held = x.permute(order)
    if not all(isinstance(n, int) for n in (*x.shape, *size, *stride)) or not held.is_contiguous():
        return NotImplemented
    places = torch.full((1,), offset or 0)
    for n, step in zip(size, stride, strict=True):
        places = (places.unsqueeze(-1) + torch.arange(n) * step).reshape(-1)
    written = aten.index_put(held.reshape(-1), [places], source.reshape(-1)).view(held.shape)
    return written.permute([order.index(at) for at in range(x.dim())])


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Operator -> what it becomes."""
    return {aten.index_put.default: index_put, aten.diagonal_scatter.default: diagonal_scatter,
            aten.as_strided_scatter.default: as_strided_scatter}


__all__ = ["decompositions"]
