"""Adaptive pools whose windows differ in length, one dimension after the other.

    %y = aten._adaptive_avg_pool2d(%x: [1, 8, 17, 23], [5, 7])
    -> %w = aten.index_select(%x, 2, 0 1 2 3 3 4 5 6 ...)         # the rows of each window, 5 times 5 of them
       %r = aten.sum(where(%inside, view(%w, [1, 8, 5, 5, 23]), 0), [3])
       the same along the last dimension, and a division by the windows' sizes

A window that is shorter than the longest one repeats its last element, which changes no maximum and counts
nothing in a sum. PyTorch's own decomposition gathers along all dimensions at once, and has none for maxima;
windows of one length are ordinary pools, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch

aten = torch.ops.aten
AVERAGE: dict[int, Any] = {1: aten.avg_pool1d.default, 2: aten.avg_pool2d.default, 3: aten.avg_pool3d.default}
MAXIMUM: dict[int, Any] = {2: aten.max_pool2d_with_indices.default, 3: aten.max_pool3d_with_indices.default}


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Operator -> what it becomes."""
    averages = (aten.adaptive_avg_pool1d, aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d)
    maxima = (aten.adaptive_max_pool2d, aten.adaptive_max_pool3d)
    return {pool.default: average for pool in averages} | {pool.default: maximum for pool in maxima}


def average(x: torch.Tensor, output_size: Sequence[int]) -> Any:
    """``aten.adaptive_avg_pool1d``, ``_adaptive_avg_pool2d``, ``_adaptive_avg_pool3d``."""
    ordinary = _ordinary(x, output_size, AVERAGE)
    if ordinary is not None:
        return ordinary
    for dim, wanted in _from_the_end(output_size):
        places, inside = _windows(x.shape[dim], wanted)
        shape = [1] * (-dim + 1)
        shape[0], shape[1] = inside.shape
        part = _gathered(x, dim, places)
        part = torch.where(inside.view(shape), part, torch.zeros((), dtype=x.dtype))
        x = part.sum(dim) / inside.sum(1).to(x.dtype).view([wanted] + [1] * (-dim - 1))
    return x


def maximum(x: torch.Tensor, output_size: Sequence[int]) -> Any:
    """``aten.adaptive_max_pool2d`` and ``3d``: maxima, and the place of each in its image."""
    ordinary = _ordinary(x, output_size, MAXIMUM)
    if ordinary is not None:
        return ordinary
    best = x
    for dim, wanted in _from_the_end(output_size):
        best = _gathered(best, dim, _windows(x.shape[dim], wanted)[0]).amax(dim)
    return best, _places(x, best, output_size)


def _places(x: torch.Tensor, best: torch.Tensor, output_size: Sequence[int]) -> torch.Tensor:
    """Where in its image each of ``best`` stands first; windows side by side: [..., out, window, out, ...]"""
    spatial = len(output_size)
    image = list(x.shape[-spatial:])
    number = torch.arange(prod(image)).view(image)
    candidates = x
    shape: list[int] = list(best.shape[:-spatial])
    for dim, wanted in _from_the_end(output_size):
        places = _windows(image[dim], wanted)[0]
        candidates = candidates.index_select(dim, places.view(-1))
        number = number.index_select(dim, places.view(-1))
        shape += places.shape
    kept = shape[:len(shape) - 2 * spatial]
    wide = [size if at % 2 == 0 else 1 for at, size in enumerate(shape[len(kept):])]
    candidates, most = candidates.view(shape), best.view(kept + wide)
    found = (candidates == most) | (candidates != candidates)
    none = torch.full((), prod(image), dtype=torch.int64)
    where = torch.where(found, number.view(shape[len(kept):]), none)
    return where.amin([2 * at - 2 * spatial + 1 for at in range(spatial)])


def _ordinary(x: torch.Tensor, output_size: Sequence[int], pools: dict[int, Any]) -> Any:
    """The one of ``pools`` that it is, where all windows have one size and do not overlap; NotImplemented for
    sizes that are empty or not known; else None."""
    if not all(isinstance(size, int) and size for size in (*x.shape, *output_size)):
        return NotImplemented
    sizes = list(zip(x.shape[-len(output_size):], output_size, strict=True))
    if any(size % wanted for size, wanted in sizes):
        return None
    window = [size // wanted for size, wanted in sizes]
    return pools[len(output_size)](x, window, window)


def _from_the_end(output_size: Sequence[int]) -> list[tuple[int, int]]:
    """Each pooled dimension, counted from the end, and its size in the output."""
    return [(at - len(output_size), wanted) for at, wanted in enumerate(output_size)]


def _windows(size: int, wanted: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[wanted, longest] places that each window reads, and which of them are no repetitions."""
    longest = max(-(-(at + 1) * size // wanted) - at * size // wanted for at in range(wanted))
    window = torch.arange(wanted)[:, None]  # no list of numbers: tracing takes tensors from operators alone
    begin = torch.div(window * size, wanted, rounding_mode="floor")
    end = torch.div((window + 1) * size + wanted - 1, wanted, rounding_mode="floor")
    reach = torch.arange(longest)[None, :]
    return torch.minimum(begin + reach, end - 1), reach < end - begin


def _gathered(x: torch.Tensor, dim: int, places: torch.Tensor) -> torch.Tensor:
    """``x`` with dimension ``dim`` (counted from the end) as [windows, places]."""
    rows = x.index_select(dim, places.view(-1))
    at = x.dim() + dim
    return rows.view([*x.shape[:at], *places.shape, *x.shape[at + 1:]])


__all__ = ["average", "decompositions", "maximum"]
