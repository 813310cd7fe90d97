"""Transposed convolutions and ``nn.Fold`` as what they are: ordinary convolutions whose outputs interleave.

    conv_transpose(x [N, C, I], w [C, F, K], stride s)
      ->  y_a = convolution(x, w[:, :, the taps of phase a, backwards])     for a in 0 .. s - 1, [N, F, B]
          y[:, :, b * s + a] = y_a[:, :, b]                                 cut to the output's size

An output at ``o`` reads input ``i`` through tap ``k`` where ``o + padding = i * stride + k * dilation``, so
the outputs at equal ``a = o mod stride`` share their taps. Phases with equally many taps are one convolution
of more filters, so the input is read once; the weights, being constants, are cut by constant folding, and a
pruned one keeps its scheme. (Shi et al., "Is the deconvolution layer the same as a convolutional layer?",
2016, show the same for sub-pixel convolution.)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from ..phases import Geometry, Joint, Phase


def window(x: torch.Tensor, low: Sequence[int], high: Sequence[int], value: float = 0.0) -> torch.Tensor:
    """``x`` padded by ``low`` and ``high`` in its last dimensions, or cropped where these are negative."""
    first = x.dim() - len(low)
    amounts: list[int] = []
    shape = list(x.shape)
    for dim, (before, after) in enumerate(zip(low, high, strict=True), first):
        size = x.shape[dim]
        start, stop = min(max(-before, 0), size), max(min(size + after, size), 0)
        shape[dim] = size + before + after
        kept = max(stop - start, 0)
        if kept < size:
            x = x.narrow(dim, start, kept)
        left = min(max(before, 0), shape[dim])
        amounts = [left, shape[dim] - left - kept, *amounts]
    if 0 in x.shape and 0 not in shape:
        return x.new_full(shape, value)
    return torch.constant_pad_nd(x, amounts, value) if any(amounts) else x


def interleave(parts: torch.Tensor, strides: Sequence[int], size: Sequence[int]) -> torch.Tensor:
    """[N, F, product of strides, *B] to [N, F, *size], where place ``b * stride + a`` comes from phase a."""
    batch, filters, _, *places = parts.shape
    spatial = len(strides)
    split = parts.view(batch, filters, *strides, *places)
    pairs = [dim for at in range(spatial) for dim in (2 + spatial + at, 2 + at)]
    merged = [count * stride for count, stride in zip(places, strides, strict=True)]
    whole = split.permute(0, 1, *pairs).reshape(batch, filters, *merged)
    return window(whole, [0] * spatial, [wanted - found for wanted, found in zip(size, merged, strict=True)])


def transposed_convolution(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
                           stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
                           output_padding: Sequence[int], groups: int) -> Any:
    """``aten.convolution`` with ``transposed``; one number a spatial dimension in each sequence."""
    kernel = weight.shape[2:]
    size = [(image - 1) * s - 2 * p + d * (k - 1) + extra + 1 for image, s, p, d, k, extra in
            zip(x.shape[2:], stride, padding, dilation, kernel, output_padding, strict=True)]
    if min(size) < 1:
        return NotImplemented  # an empty output, or none that there is
    geometry = Geometry.of(kernel, stride, padding, dilation, size)
    # [C, F/G, *kernel] -> [F, C/G, *kernel]
    ordered = weight.view(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
    parts = _phase_outputs(x, ordered, bias, geometry, groups)
    return interleave(parts, geometry.strides, geometry.size)


def _phase_outputs(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, geometry: Geometry,
                   groups: int) -> torch.Tensor:
    """The outputs of all phases, [N, F, phases, *places]; ``weight`` is [F, C/G, *kernel]."""
    combined = geometry.combined()
    outputs: dict[int, torch.Tensor] = {}
    for members in geometry.alike(groups):
        chosen = [combined[number] for number in members]
        if not all(part.taps for part in chosen[0]):
            empty = x.new_zeros(x.shape[0], weight.shape[0], *geometry.places)
            outputs |= dict.fromkeys(members, empty if bias is None else _with_bias(empty, bias))
            continue
        joint = geometry.joint(chosen)
        whole = _convolution(x, weight, bias, chosen, joint, groups)
        if len(members) == len(combined) and len(set(joint.starts)) == 1:
            return whole
        for at, (number, start) in enumerate(zip(members, joint.starts, strict=True)):
            part = whole[:, :, at]
            for dim, (first, count) in enumerate(zip(start, geometry.places, strict=True), 2):
                part = part.narrow(dim, first, count)
            outputs[number] = part
    return torch.stack([outputs[number] for number in range(len(combined))], 2)


def _with_bias(empty: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return empty + bias.view(-1, *(1,) * (empty.dim() - 2))


def _convolution(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
                 chosen: list[tuple[Phase, ...]], joint: Joint, groups: int) -> torch.Tensor:
    """The outputs of ``chosen``, [N, F, phases, *counts]."""
    high = [end - image for end, image in zip(joint.ends, x.shape[2:], strict=True)]
    image = window(x, [-begin for begin in joint.begins], high)
    kernels = torch.stack([_taps(weight, phase) for phase in chosen], 1).flatten(0, 1)
    biases = None if bias is None else bias.repeat_interleave(len(chosen))
    spatial = len(joint.counts)
    result = torch.ops.aten.convolution.default(image, kernels, biases, [1] * spatial, [0] * spatial,
                                                joint.steps, False, [0] * spatial, groups)
    return result.view(x.shape[0], weight.shape[0], len(chosen), *joint.counts)


def _taps(weight: torch.Tensor, phase: tuple[Phase, ...]) -> torch.Tensor:
    """The weights of the phase's taps, in the order in which they meet the input."""
    for dim, part in enumerate(phase, 2):
        first, last = part.taps[-1], part.taps[0]
        apart = part.taps[0] - part.taps[1] if len(part.taps) > 1 else 1
        weight = torch.ops.aten.slice.Tensor(weight, dim, first, last + 1, apart)
    return weight.flip([*range(2, weight.dim())])


def fold(x: torch.Tensor, output_size: Sequence[int], kernel_size: Sequence[int], dilation: Sequence[int],
         padding: Sequence[int], stride: Sequence[int]) -> Any:
    """A decomposition of ``torch.ops.aten.col2im.default``, without scattered writes: [N, C * taps, L] (or
    one without N) to [N, C, *output_size], a sum of shifted images for each phase."""
    if not all(isinstance(size, int) for size in x.shape):
        return NotImplemented
    batched = x if x.dim() == 3 else x.unsqueeze(0)
    geometry = Geometry.of(kernel_size, stride, padding, dilation, output_size)
    image = [(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, p, d, k, s in
             zip(output_size, padding, dilation, kernel_size, stride, strict=True)]
    columns = batched.reshape(batched.shape[0], -1, *kernel_size, *image)
    parts = [_sum_of_taps(columns, phase, geometry.places) for phase in geometry.combined()]
    whole = interleave(torch.stack(parts, 2), geometry.strides, geometry.size)
    return whole if x.dim() == 3 else whole.squeeze(0)


def _sum_of_taps(columns: torch.Tensor, phase: tuple[Phase, ...], places: Sequence[int]) -> torch.Tensor:
    """[N, C, *kernel, *image] to [N, C, *places]."""
    image = columns.shape[2 + len(places) :]
    total = None
    for numbers in itertools.product(*(range(len(part.taps)) for part in phase)):
        tap = columns
        for part, number in zip(phase, numbers, strict=True):
            tap = tap.select(2, part.taps[number])
        begins = [part.start + part.step * number for part, number in zip(phase, numbers, strict=True)]
        high = [begin + count - size for begin, count, size in zip(begins, places, image, strict=True)]
        shifted = window(tap, [-begin for begin in begins], high)
        total = shifted if total is None else total + shifted
    return columns.new_zeros(*columns.shape[:2], *places) if total is None else total


__all__ = ["fold", "interleave", "transposed_convolution", "window"]
