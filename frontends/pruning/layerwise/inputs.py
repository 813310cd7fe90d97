"""The vectors that a layer's matrix multiplies: patches of a convolution, rows of a linear layer, inputs and
hidden states of a recurrent one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..loop import device_of
from ..project import Layer

MOST_PLACES = 128  # output places of a sample that are taken, evenly spaced: neighbours tell the same


def layer_rows(layer: Layer, arguments: tuple[Any, ...]) -> list[torch.Tensor]:
    """What ``layer`` multiplies for its module's ``arguments``: f32 [N, columns], one for each group of a
    convolution."""
    module = layer.module
    if isinstance(module, nn.RNNBase):
        return [recurrent_rows(module, layer.leaf, arguments)]
    if isinstance(module, nn.Linear):
        return [arguments[0].reshape(-1, arguments[0].shape[-1])]
    assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    return patches(module, arguments[0])


def patches(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, x: torch.Tensor) -> list[torch.Tensor]:
    """[N, channels of a group x kernel places] of x [B, C, *places], for each group."""
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    x = F.pad(x, module._reversed_padding_repeated_twice, mode=mode)
    for axis, (size, stride, dilation) in enumerate(zip(module.kernel_size, module.stride, module.dilation,
                                                        strict=True), 2):
        x = x.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    batch, channels = x.shape[:2]
    rank = len(module.kernel_size)
    places = x.flatten(2, 1 + rank)  # [B, C, output places, *kernel]
    step = max(1, places.shape[2] // MOST_PLACES)
    places = places[:, :, ::step]
    groups = places.reshape(batch, module.groups, channels // module.groups, places.shape[2], -1)
    rows = groups.permute(1, 0, 3, 2, 4).flatten(3).flatten(1, 2)  # [groups, B x places, C / groups x kernel]
    return list(rows)


def recurrent_rows(module: nn.RNNBase, leaf: str, arguments: tuple[Any, ...]) -> torch.Tensor:
    """The inputs of ``weight_ih_l1``, or the hidden states of ``weight_hh_l1_reverse``, of all steps."""
    first = module.batch_first
    x = arguments[0]
    if not isinstance(x, torch.Tensor):
        x, _ = nn.utils.rnn.pad_packed_sequence(x, batch_first=first)
    x = x.transpose(0, 1) if first and x.ndim == 3 else x
    for suffix, inputs, states in _directions(module, x):
        if leaf == f"weight_ih_{suffix}":
            return inputs.reshape(-1, inputs.shape[-1])
        if leaf == f"weight_hh_{suffix}":
            before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
            return before.reshape(-1, before.shape[-1])
    raise AssertionError(leaf)


def _directions(module: nn.RNNBase, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """(suffix of the weights' names, inputs, hidden states) [T, ...] of each layer and direction; its steps
    are in the order in which it goes."""
    for number in range(module.num_layers):
        outputs = []
        for ending in ("", "_reverse") if module.bidirectional else ("",):
            suffix = f"l{number}{ending}"
            inputs = x.flip(0) if ending else x
            states, _ = _alone(module, suffix, x.shape[-1])(inputs)
            yield suffix, inputs, states
            outputs.append(states.flip(0) if ending else states)
        x = torch.cat(outputs, -1)


def _alone(module: nn.RNNBase, suffix: str, width: int) -> nn.RNNBase:
    """One layer and direction of ``module`` as a module of its own."""
    options: dict[str, Any] = {"nonlinearity": module.nonlinearity} if isinstance(module, nn.RNN) else {}
    if module.proj_size:
        options["proj_size"] = module.proj_size
    kind: Any = type(module)
    single: nn.RNNBase = kind(width, module.hidden_size, bias=module.bias, **options)
    with torch.no_grad():
        for name, parameter in single.named_parameters():
            parameter.copy_(getattr(module, name.replace("l0", suffix)))
    return single.to(device_of(module)).eval()
