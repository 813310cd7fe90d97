"""Pools whose window is larger than the image, which ``ceil_mode`` allows: it is cut to the image; and pools
of one image, which become those of a batch of one.

    avg_pool2d(x: 1x2560x7x7, 2560, ceil_mode=True)  ->  avg_pool2d(x, 7, stride=1)
    avg_pool3d(x: 3x6x6x6, 2)                        ->  squeeze(avg_pool3d(unsqueeze(x, 0), 2), 0)

torch-mlir would pad the image to the window's size, gigabytes of it. PyTorch counts in an average what lies
in the padded image alone, so nothing changes. Pools without a batch torch-mlir refuses; 3-D averages end the
process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_map

aten = torch.ops.aten
Sizes = Sequence[int]


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Operator -> what it becomes."""
    ours: dict[Any, Callable[..., Any]] = {}
    for spatial, pool in ((1, aten.avg_pool1d), (2, aten.avg_pool2d), (3, aten.avg_pool3d)):
        ours[pool.default] = with_a_batch(pool.default, spatial, averages(pool.default, spatial))
    for spatial, pool in ((2, aten.max_pool2d_with_indices), (3, aten.max_pool3d_with_indices)):
        ours[pool.default] = with_a_batch(pool.default, spatial, maxima(pool.default, spatial))
    return ours


def with_a_batch(operator: Any, spatial: int, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """``operator`` of [C, ...] as that of [1, C, ...]; of a batch ``otherwise``."""
    def decomposed(x: torch.Tensor, *others: Any, **named: Any) -> Any:
        if x.dim() != spatial + 1:
            return otherwise(x, *others, **named)
        return tree_map(lambda result: result.squeeze(0), operator(x.unsqueeze(0), *others, **named))

    return decomposed


def averages(operator: Any, spatial: int) -> Callable[..., Any]:
    """The decomposition of ``avg_pool1d``, ``2d`` and ``3d``."""
    def decomposed(x: torch.Tensor, kernel: Sizes, stride: Sizes = (), padding: Sizes = (0,),
                   ceil_mode: bool = False, *others: Any) -> Any:
        cut = _cut(list(x.shape)[-spatial:], kernel, stride or kernel, padding, (1,))
        return NotImplemented if not ceil_mode or cut is None else operator(
            x, *cut[:2], padding, cut[2], *others)

    return decomposed


def maxima(operator: Any, spatial: int) -> Callable[..., Any]:
    """The decomposition of ``max_pool2d_with_indices`` or ``max_pool3d_with_indices``."""
    def decomposed(x: torch.Tensor, kernel: Sizes, stride: Sizes = (), padding: Sizes = (0,),
                   dilation: Sizes = (1,), ceil_mode: bool = False) -> Any:
        cut = _cut(list(x.shape)[-spatial:], kernel, stride or kernel, padding, dilation)
        return NotImplemented if not ceil_mode or cut is None else operator(
            x, *cut[:2], padding, dilation, cut[2])

    return decomposed


def _cut(sizes: Sizes, *given: Sizes) -> tuple[list[int], list[int], bool] | None:
    """
    Kernel, stride and ``ceil_mode`` of the pool with a kernel that is no larger than the padded image; None
    where it is not anyway. Where it is cut there is one place, so that the stride does not matter.

    ``given``: kernel, stride, padding and dilation, of which one number stands for all dimensions.
    """
    if not all(isinstance(size, int) for size in sizes):
        return None
    kernel, stride, padding, dilation = (list(one) * (len(sizes) if len(one) == 1 else 1) for one in given)
    most = [(size + 2 * pad - 1) // step + 1
            for size, pad, step in zip(sizes, padding, dilation, strict=True)]
    whole = [own > limit for own, limit in zip(kernel, most, strict=True)]
    if not any(whole):
        return None
    steps = [1 if one else own for one, own in zip(whole, stride, strict=True)]
    return list(map(min, kernel, most)), steps, not all(whole)
