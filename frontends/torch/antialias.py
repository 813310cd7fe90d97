"""Resizing with antialiasing: each place is a weighted sum of a window, one dimension after the other.

    aten._upsample_bilinear2d_aa %x : [N, C, 9, 9], [4, 4]
    -> %w = aten.index_select(%x, 3, places)    # 4 windows of 5
       the sum of %w * weights over each window; the same along the other dimension
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from typing import Any

import torch

aten = torch.ops.aten
CUBIC = -0.5  # of the cubic's family, which differs from that of resizing without antialiasing


def _resized(x: torch.Tensor, output_size: Sequence[int], align_corners: bool, scales_h: float | None = None,
             scales_w: float | None = None, *, taps: int) -> Any:
    """``aten._upsample_bilinear2d_aa`` (``taps`` is 2) and ``aten._upsample_bicubic2d_aa`` (4)."""
    if not all(isinstance(size, int) and size for size in (*x.shape, *output_size)):
        return NotImplemented
    if not x.dtype.is_floating_point or (output_size[1] == 1 and output_size[0] != x.shape[2]):
        return NotImplemented  # PyTorch 2.13 repeats the first row in images of one column
    for dim, wanted, factor in ((3, output_size[1], scales_w), (2, output_size[0], scales_h)):
        size = x.shape[dim]
        if size == wanted:  # whatever the factor says
            continue
        if align_corners:
            scale = (size - 1) / (wanted - 1) if wanted > 1 else 0.0
        else:
            scale = 1 / factor if factor else size / wanted
        places, weights = _window(size, wanted, scale, taps)
        found = x.index_select(dim, places.reshape(-1)).unflatten(dim, places.shape)
        shape = [1] * found.dim()
        shape[dim], shape[dim + 1] = weights.shape
        x = (found * weights.to(x.dtype).view(shape)).sum(dim + 1)
    return x


def _window(size: int, wanted: int, scale: float, taps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[wanted, longest] places and their weights, 0 for those that only fill up."""
    stretch = max(scale, 1.0)
    support = taps / 2 * stretch
    centre = scale * (torch.arange(wanted, dtype=torch.float64) + 0.5)
    begin = torch.floor((centre - support + 0.5).clamp(min=0)).unsqueeze(1)
    end = torch.floor((centre + support + 0.5).clamp(max=size)).unsqueeze(1)
    longest = min(2 * ceil(support) + 1, size)
    place = begin + torch.arange(longest, dtype=torch.float64)
    distance = ((place - centre.unsqueeze(1) + 0.5) / stretch).abs()
    weight = _linear(distance) if taps == 2 else _cubic(distance)
    weight = torch.where(place < end, weight, torch.zeros_like(weight))
    return torch.minimum(place, end - 1).to(torch.int64), weight / weight.sum(1, keepdim=True)


def _linear(distance: torch.Tensor) -> torch.Tensor:
    return (1 - distance).clamp(min=0)


def _cubic(distance: torch.Tensor) -> torch.Tensor:
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance * distance + 1
    far = ((distance - 5) * distance + 8) * distance * CUBIC - 4 * CUBIC
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Operator -> what it becomes."""
    return {aten._upsample_bilinear2d_aa.default: partial(_resized, taps=2),
            aten._upsample_bicubic2d_aa.default: partial(_resized, taps=4)}


__all__ = ["decompositions"]
