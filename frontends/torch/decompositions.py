"""Operators that PyTorch's or torch-mlir's decompositions leave whole, or take apart badly: ours.

``table()`` is what a program is decomposed by. An entry that returns ``NotImplemented`` leaves the operator
as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch._decomp.decompositions import _grid_sampler_2d

from . import (
    adaptive_pools,
    antialias,
    borders,
    extremes,
    integers,
    norms,
    operators,
    places,
    pools,
    scans,
    special,
)
from .bags import embedding_bag
from .frames import depthwise_over_frames
from .linear import linear
from .recurrent import decompositions as with_recurrent
from .transposed import fold, transposed_convolution

aten = torch.ops.aten


def table() -> dict[Any, Callable[..., Any]]:
    """Operator -> what it becomes: torch-mlir's choice of PyTorch's decompositions, and ours over it."""
    from torch_mlir.extras.fx_decomp_util import get_decomposition_table

    ours: dict[Any, Callable[..., Any]] = {
        aten.linear.default: linear, aten.convolution.default: convolution,
        aten.col2im.default: fold, aten.roll.default: operators.roll,
        aten.fmod.Scalar: operators.fmod_by_number, aten.fmod.Tensor: operators.fmod,
        aten.reciprocal.default: operators.reciprocal, aten.elu.default: operators.elu,
        aten.hypot.default: operators.hypot,
        aten.angle.default: operators.angle,
        aten.isfinite.default: operators.isfinite, aten.signbit.default: operators.signbit,
        aten.copysign.Tensor: operators.copysign, aten.all.dims: operators.all_along,
        aten.median.default: operators.median, aten.median.dim: operators.median_of,
        aten.sort.stable: operators.sort_stable, aten.kthvalue.default: operators.kthvalue,
        aten._cdist_forward.default: operators.distances,
        aten._pdist_forward.default: operators.own_distances,
        aten._embedding_bag_forward_only.default: embedding_bag,
        aten._embedding_bag.default: embedding_bag,
        aten._native_batch_norm_legit_no_training.default: norms.batch_norm,
        aten.var.correction: norms.var, aten.var_mean.correction: norms.var_mean}
    ours |= {aten.argmax.default: extremes.argmax, aten.argmin.default: extremes.argmin,
             aten.max.dim: extremes.max_dim, aten.min.dim: extremes.min_dim}
    ours |= {aten.rrelu_with_noise.default: operators.rrelu,
             aten.rrelu_with_noise_functional.default: operators.rrelu_and_noise,
             aten.scatter_reduce.two: operators.scatter_reduce,
             aten.index_reduce.default: operators.index_reduce,
             aten.pow.Tensor_Scalar: operators.power,
             aten.rsub.Scalar: operators.rsub, aten.histc.default: operators.histc,
             aten.polygamma.default: special.polygamma}
    for operator in (aten.bitwise_and, aten.bitwise_or, aten.bitwise_xor):
        ours[operator.Scalar] = operators.with_a_tensor(operator.Tensor)
    for operator in (aten.bitwise_left_shift, aten.bitwise_right_shift):
        ours[operator.Tensor_Scalar] = operators.with_a_tensor(operator.Tensor)
    for pad in (aten.reflection_pad1d, aten.reflection_pad2d, aten.reflection_pad3d):
        ours[pad.default] = borders.reflection_pad
    for pad in (aten.replication_pad1d, aten.replication_pad2d, aten.replication_pad3d):
        ours[pad.default] = borders.replication_pad
    # places and weights are those of all channels
    ours[aten.grid_sampler_2d.default] = partial(_grid_sampler_2d, _expand_grid=False)
    ours[aten._pad_circular.default] = borders.circular_pad
    return with_recurrent({**get_decomposition_table(), **ours,
                           **pools.decompositions(), **adaptive_pools.decompositions(),
                           **integers.decompositions(), **places.decompositions(),
                           **scans.decompositions(), **special.decompositions(),
                           **antialias.decompositions()})


def whole_layers() -> dict[Any, Callable[..., Any]]:
    """What comes before ``table()`` where layers must be found whole: recurrent ones, and linear ones as one
    product."""
    ours = table()
    return {operator: ours[operator] for operator in (
        aten.linear.default, aten.gru.input, aten.lstm.input)}


def convolution(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Sequence[int],
                padding: Sequence[int], dilation: Sequence[int], transposed: bool,
                output_padding: Sequence[int], groups: int) -> Any:
    """Transposed convolutions and depthwise 3-D ones; ordinary ones stay as they are."""
    spatial = weight.dim() - 2
    if not all(isinstance(size, int) and size for size in (*x.shape, *weight.shape)):
        return NotImplemented
    stride, padding, dilation, output_padding = (
        list(values) * (spatial if len(values) == 1 else 1)
        for values in (stride, padding, dilation, output_padding))
    if transposed:
        return transposed_convolution(x, weight, bias, stride, padding, dilation, output_padding, groups)
    if spatial == 3 and groups > 1 and weight.shape[1] == 1 and weight.shape[0] == groups:
        return depthwise_over_frames(x, weight, bias, stride, padding, dilation)
    return NotImplemented


__all__ = ["table", "whole_layers"]
