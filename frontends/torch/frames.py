"""3-D convolutions of one channel a group, as sums of 2-D ones over frames.

    conv3d(x [N, C, D, H, W], w [C * M, 1, K, R, S], groups C)
      ->  sum over k of conv2d(frames k, k + s, .. of x [N * B, C, H, W], w[:, :, k], groups C)

torch-mlir has no lowering of these, and a depthwise kernel reads every frame from the cache anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .transposed import window


def depthwise_over_frames(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
                          stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]) -> Any:
    """``aten.convolution`` of ``x`` [N, C, D, H, W] with ``weight`` [C * M, 1, K, R, S] in C groups."""
    batch, channels, _, *image = x.shape
    taps = weight.shape[2]
    padded = window(x.transpose(1, 2), [padding[0], 0, 0, 0], [padding[0], 0, 0, 0])
    span = (taps - 1) * dilation[0] + 1
    count = (padded.shape[1] - span) // stride[0] + 1
    total = None
    for k in range(taps):
        first = k * dilation[0]
        frames = torch.ops.aten.slice.Tensor(padded, 1, first, first + (count - 1) * stride[0] + 1, stride[0])
        part = torch.ops.aten.convolution.default(
            frames.reshape(batch * count, channels, *image), weight.select(2, k), bias if k == 0 else None,
            stride[1:], padding[1:], dilation[1:], False, [0, 0], channels)
        total = part if total is None else total + part
    assert total is not None
    return total.view(batch, count, *total.shape[1:]).transpose(1, 2)


__all__ = ["depthwise_over_frames"]
