"""Operators that torch-mlir does not lower, or not for all arguments, by others that it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, pi
from typing import Any

import torch
from torch._decomp import get_decompositions

aten = torch.ops.aten


def roll(x: torch.Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Any:
    """``aten.roll``: two slices change places in each dimension; without ``dims`` the elements in order."""
    if not all(isinstance(size, int) for size in (*x.shape, *shifts)):
        return NotImplemented
    if not dims:
        return roll(x.reshape(-1), shifts, [0]).view(x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        size = x.shape[dim]
        at = -shift % size if size else 0
        if at:
            x = torch.cat([x.narrow(dim, at, size - at), x.narrow(dim, 0, at)], dim)
    return x.clone() if not shifts else x


def fmod_by_number(x: torch.Tensor, divisor: Any) -> torch.Tensor:
    """``aten.fmod.Scalar`` by ``aten.fmod.Tensor``."""
    return aten.fmod.Tensor(x, torch.full((), divisor, dtype=torch.result_type(x, divisor)))


def fmod(x: torch.Tensor, y: torch.Tensor) -> Any:
    """``aten.fmod.Tensor``: the remainder of magnitudes, which is exact, with the sign of ``x``; torch-mlir's
    rounds x / y, so that it gives 0 for fmod(-4.2, 0.7)."""
    if not torch.result_type(x, y).is_floating_point:
        return NotImplemented
    left = torch.remainder(x.abs(), y.abs())
    return torch.where(x < 0, -left, left)


def reciprocal(x: torch.Tensor) -> torch.Tensor:
    """``aten.reciprocal``, infinite of 0: torch-mlir's ends the run."""
    return torch.ones((), dtype=torch.result_type(x, 1.0)) / x


def elu(x: torch.Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> torch.Tensor:
    """``aten.elu``, small arguments too: torch-mlir's takes 1 from exp(x)."""
    return torch.where(x > 0, scale * x, (alpha * scale) * torch.expm1(x * input_scale))


def hypot(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``aten.hypot``, finite where the sum of squares is not."""
    size, other = x.abs(), y.abs()
    large, small = torch.maximum(size, other), torch.minimum(size, other)
    ratio = small / torch.where(large == 0, torch.ones_like(large), large)
    endless = torch.full((), inf, dtype=large.dtype)
    return torch.where((size == inf) | (other == inf), endless, large * torch.sqrt(1 + ratio * ratio))


def angle(x: torch.Tensor) -> torch.Tensor:
    """``aten.angle`` of real numbers: pi below 0."""
    dtype = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
    value = torch.where(x < 0, torch.full((), pi, dtype=dtype), torch.zeros((), dtype=dtype))
    return torch.where(x.isnan(), x, value) if x.dtype.is_floating_point else value


def isfinite(x: torch.Tensor) -> torch.Tensor:
    """``aten.isfinite``."""
    return x.abs() < inf if x.dtype.is_floating_point else torch.ones_like(x, dtype=torch.bool)


def signbit(x: torch.Tensor) -> torch.Tensor:
    """``aten.signbit``, by 1 / x for zeros; NaN counts as positive."""
    return (x < 0) | ((x == 0) & (1 / x < 0)) if x.dtype.is_floating_point else x < 0


def copysign(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``aten.copysign``: the size of ``x``, the sign of ``y``."""
    size = x.to(torch.result_type(x, y) if x.dtype.is_floating_point or y.dtype.is_floating_point
                else torch.get_default_dtype()).abs()
    return torch.where(signbit(y), -size, size)


def all_along(x: torch.Tensor, dim: Sequence[int] | None = None, keepdim: bool = False) -> torch.Tensor:
    """``aten.all.dims`` by ``aten.all.dim``."""
    for at in sorted((at % max(x.dim(), 1) for at in (range(x.dim()) if dim is None else dim)), reverse=True):
        x = aten.all.dim(x, at, keepdim)
    return x


def median_of(x: torch.Tensor, dim: int, keepdim: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """``aten.median.dim``: the lower one of two, NaN where there is any."""
    if x.dim() == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    values, indices = torch.sort(x, dim=dim)  # NaN comes last
    middle = (x.shape[dim] - 1) // 2
    value, index = (t.narrow(dim, middle, 1) for t in (values, indices))
    if x.dtype.is_floating_point:
        last, last_index = (t.narrow(dim, x.shape[dim] - 1, 1) for t in (values, indices))
        value, index = torch.where(last.isnan(), last, value), torch.where(last.isnan(), last_index, index)
    return (value, index) if keepdim else (value.squeeze(dim), index.squeeze(dim))


def sort_stable(x: torch.Tensor, *, stable: bool | None = None, dim: int = -1,
                descending: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """``aten.sort.stable``; every sort of ours is stable."""
    values, indices = aten.sort.default(x, dim, descending)
    return values, indices


def kthvalue(x: torch.Tensor, k: int, dim: int = -1,
             keepdim: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """``aten.kthvalue``: the k-th smallest number and its place."""
    if x.dim() == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    value, index = (t.narrow(dim, k - 1, 1) for t in torch.topk(x, k, dim, largest=False, sorted=True))
    return (value, index) if keepdim else (value.squeeze(dim), index.squeeze(dim))


def median(x: torch.Tensor) -> torch.Tensor:
    """``aten.median.default``."""
    return median_of(x.reshape(-1), 0)[0]


def distances(x: torch.Tensor, y: torch.Tensor, p: float, compute_mode: int | None = None) -> torch.Tensor:
    """``aten._cdist_forward``: [*, P, M] and [*, R, M] to [*, P, R]."""
    return _norm(x.unsqueeze(-2) - y.unsqueeze(-3), p)


def own_distances(x: torch.Tensor, p: float = 2.0) -> torch.Tensor:
    """``aten._pdist_forward``: [N, M] to [N * (N - 1) / 2]."""
    first, second = torch.triu_indices(x.shape[0], x.shape[0], 1).unbind(0)
    return _norm(x.index_select(0, first) - x.index_select(0, second), p)


def _norm(difference: torch.Tensor, p: float) -> torch.Tensor:
    """The p-norm over the last dimension; p = 0 counts."""
    size = difference.abs()
    if p == 2:
        return (size * size).sum(-1).sqrt()
    if p == 1:
        return size.sum(-1)
    if p == inf:
        return size.amax(-1)
    if p == 0:
        return size.ceil().clamp(max=1).sum(-1)  # NaN stays
    return size.pow(p).sum(-1).pow(1 / p)


def rrelu(x: torch.Tensor, noise: torch.Tensor, lower: float = 0.125, upper: float = 1 / 3,
          training: bool = False, generator: Any = None) -> Any:
    """``aten.rrelu_with_noise``, whose slope is drawn in training only."""
    return NotImplemented if training else aten.leaky_relu.default(x, (lower + upper) / 2)


def rrelu_and_noise(x: torch.Tensor, noise: torch.Tensor, lower: float = 0.125, upper: float = 1 / 3,
                    training: bool = False, generator: Any = None) -> Any:
    """``aten.rrelu_with_noise_functional``."""
    return NotImplemented if training else (rrelu(x, noise, lower, upper), noise)


def power(x: torch.Tensor, exponent: Any) -> Any:
    """``aten.pow.Tensor_Scalar`` of whole numbers, as products."""
    whole = not x.dtype.is_floating_point and isinstance(exponent, int) and not isinstance(exponent, bool)
    if not whole or x.dtype == torch.bool or exponent < 0:
        return NotImplemented
    result = torch.ones_like(x) if exponent == 0 else None
    while exponent:
        if exponent & 1:
            result = x if result is None else result * x
        exponent >>= 1
        x = x * x if exponent else x
    return result


def rsub(x: torch.Tensor, number: Any, alpha: Any = 1) -> Any:
    """``aten.rsub.Scalar``: ``number`` - ``alpha`` x; PyTorch's decomposition has numbers in f32, of doubles
    too."""
    if x.dtype != torch.float64:
        operator = aten.rsub.Scalar
        return get_decompositions([operator])[operator](x, number, alpha)
    return torch.full((), number, dtype=x.dtype) - (x if alpha == 1 else x * alpha)


def with_a_tensor(operator: Any) -> Callable[[torch.Tensor, Any], torch.Tensor]:
    """``operator``, of two tensors, for a tensor and a number."""
    return lambda x, number: operator(x, torch.full((), number, dtype=torch.result_type(x, number)))


def scatter_reduce(x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, reduce: str, *,
                   include_self: bool = True) -> Any:
    """``aten.scatter_reduce.two`` without what was there before: torch-mlir starts from zeros, or from it."""
    if include_self:
        return NotImplemented
    counted = torch.zeros(x.shape).scatter_add(dim, index, torch.ones(index.shape))
    written = counted > 0
    start = torch.where(written, torch.full((), _neutral(reduce, x.dtype), dtype=x.dtype), x)
    if reduce != "mean":
        return aten.scatter_reduce.two(start, dim, index, source, reduce)
    total = start.scatter_add(dim, index, source)
    share = torch.div(total, counted.clamp(min=1).to(x.dtype),
                      rounding_mode=None if x.dtype.is_floating_point else "floor")
    return torch.where(written, share, x)


def histc(x: torch.Tensor, bins: int = 100, low: Any = 0, high: Any = 0) -> Any:
    """``aten.histc`` between known ends, the last one in the last bin."""
    if low >= high or not x.dtype.is_floating_point:
        return NotImplemented
    inside = (x >= low) & (x <= high)
    place = torch.where(inside, (x - low) / (high - low) * bins, torch.zeros_like(x)).to(torch.int64)
    counts = torch.zeros(bins, dtype=x.dtype)
    return counts.scatter_add(0, place.clamp(max=bins - 1).reshape(-1), inside.to(x.dtype).reshape(-1))


def index_reduce(x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, reduce: str, *,
                 include_self: bool = True) -> Any:
    """``aten.index_reduce`` by ``aten.scatter_reduce``."""
    dim %= max(x.dim(), 1)
    shape = [1] * source.dim()
    shape[dim] = -1
    places = index.view(shape).expand(source.shape)
    return aten.scatter_reduce.two(x, dim, places, source, reduce, include_self=include_self)


def _neutral(reduce: str, dtype: torch.dtype) -> Any:
    """What changes nothing: 0, 1, or the last number on the other side."""
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    if dtype.is_floating_point:
        return -inf if reduce == "amax" else inf
    limits = torch.iinfo(dtype)
    return limits.min if reduce == "amax" else limits.max


__all__ = ["all_along", "angle", "copysign", "distances", "elu", "fmod", "fmod_by_number", "histc",
           "hypot", "index_reduce", "isfinite", "kthvalue", "median", "median_of", "own_distances", "power",
           "reciprocal", "roll", "rrelu", "rrelu_and_noise", "rsub", "scatter_reduce", "signbit",
           "sort_stable", "with_a_tensor"]
