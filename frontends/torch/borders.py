"""Borders that repeat what is inside, as copies of slices; PyTorch's own decomposition looks each element up.

    reflection_pad1d(x [C, W], (2, 1))   ->   cat([x[:, 2:3], x[:, 1:2], x, x[:, -2:-1]], 1)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

WIDEST = 16  # slices of one border


def reflection_pad(x: torch.Tensor, padding: Sequence[int]) -> Any:
    """``aten.reflection_pad1d``, 2d and 3d; ``padding`` begins with the last dimension."""
    return _padded(x, padding, lambda size, distance: distance, lambda size, distance: size - 1 - distance)


def replication_pad(x: torch.Tensor, padding: Sequence[int]) -> Any:
    """``aten.replication_pad1d``, 2d and 3d."""
    return _padded(x, padding, lambda size, distance: 0, lambda size, distance: size - 1)


def circular_pad(x: torch.Tensor, padding: Sequence[int]) -> Any:
    """``aten._pad_circular``: what lies before the first element is the last, and so on."""
    if not all(isinstance(number, int) and number >= 0 for number in (*x.shape, *padding)):
        return NotImplemented
    for back, (low, high) in reversed(list(enumerate(zip(padding[::2], padding[1::2], strict=True)))):
        dim = x.dim() - 1 - back
        parts = [x.narrow(dim, x.shape[dim] - low, low), x, x.narrow(dim, 0, high)]
        used = [part for part, amount in zip(parts, (low, 1, high), strict=True) if amount]
        x = torch.cat(used, dim) if len(used) > 1 else x
    return x.clone() if not any(padding) else x


def _padded(x: torch.Tensor, padding: Sequence[int], low_place: Any, high_place: Any) -> Any:
    """``x`` with slices before and behind it, the outermost dimension first, whose slices are long."""
    if not all(isinstance(size, int) and size for size in x.shape):
        return NotImplemented
    if not all(isinstance(amount, int) and 0 <= amount <= WIDEST for amount in padding):
        return NotImplemented
    pairs = list(zip(padding[::2], padding[1::2], strict=True))
    for back, (low, high) in reversed(list(enumerate(pairs))):
        dim = x.dim() - 1 - back
        size = x.shape[dim]
        before = [x.narrow(dim, low_place(size, distance), 1) for distance in range(low, 0, -1)]
        behind = [x.narrow(dim, high_place(size, distance), 1) for distance in range(1, high + 1)]
        if before or behind:
            x = torch.cat([*before, x, *behind], dim)
    return x.clone() if not any(padding) else x


__all__ = ["circular_pad", "reflection_pad", "replication_pad"]
