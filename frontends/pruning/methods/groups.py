"""The groups of weights that a scheme cuts together, as energies spread back over the weight's shape."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from ..project import has_patterns
from ..spec import BcrSpec, ConnectivitySpec, KgsSpec, PatternSpec
from ..targets import Target, nominal_rate


class Energies(NamedTuple):
    """``squares``: the sum of squares of each weight's group, in the weight's shape; ``mean``: what a group
    of the same layer (of the same kernel, for places) has on average, broadcast against it."""

    squares: torch.Tensor
    mean: torch.Tensor


def group_energies(target: Target) -> list[Energies]:
    """The energies of every kind of group that the target's scheme cuts: a kernel's places and whole kernels
    for patterns, and one kind for every other scheme. Empty where nothing is cut."""
    squares = target.weight.detach().square()
    spec = target.spec
    if spec is None:
        return []
    cuts_kernels = nominal_rate(spec, target.layer) > 1
    if isinstance(spec, PatternSpec):
        found = [_of(_kernels(squares))] if cuts_kernels else []
        if has_patterns(target.layer, spec):
            places = tuple(range(2, squares.ndim))
            found.append(Energies(squares, squares.mean(places, keepdim=True)))
        return found
    if not cuts_kernels:
        return []
    if isinstance(spec, ConnectivitySpec):
        return [_of(_kernels(squares))]
    if isinstance(spec, KgsSpec):
        return [_of(_kernel_groups(squares, spec))]
    if isinstance(spec, BcrSpec):
        return _block_parts(squares, spec)
    return [_of(squares)]


def _of(squares: torch.Tensor) -> Energies:
    return Energies(squares, squares.mean())


def _kernels(squares: torch.Tensor) -> torch.Tensor:
    places = tuple(range(2, squares.ndim))
    return squares.sum(places, keepdim=True).expand(squares.shape) if places else squares


def _kernel_groups(squares: torch.Tensor, spec: KgsSpec) -> torch.Tensor:
    """The same place of all kernels of a group; the whole group where ``vanilla``."""
    flat = squares.flatten(2)
    filters, channels = min(spec.filters, flat.shape[0]), min(spec.channels, flat.shape[1])
    padded = F.pad(flat, (0, 0, 0, -flat.shape[1] % channels, 0, -flat.shape[0] % filters))
    split = padded.unflatten(0, (-1, filters)).unflatten(2, (-1, channels))  # [P, f, Q, c, places]
    summed = split.sum((1, 3, 4) if spec.vanilla else (1, 3), keepdim=True).expand(split.shape)
    whole = summed.flatten(2, 3).flatten(0, 1)
    return whole[: flat.shape[0], : flat.shape[1]].reshape(squares.shape)


def _block_parts(squares: torch.Tensor, spec: BcrSpec) -> list[Energies]:
    """The columns of each block, and its rows where the scheme cuts those too."""
    matrix = squares.flatten(1)
    parts = [_strips(matrix, spec.rows)] if spec.rate > spec.row_rate else []
    if spec.row_rate > 1:
        parts.append(_strips(matrix.T, spec.columns).T)
    return [_of(part.reshape(squares.shape)) for part in parts]


def _strips(matrix: torch.Tensor, height: int) -> torch.Tensor:
    """Each column's sum within strips of ``height`` rows, spread over the strip."""
    padded = F.pad(matrix, (0, 0, 0, -len(matrix) % height)).unflatten(0, (-1, height))
    return padded.sum(1, keepdim=True).expand(padded.shape).flatten(0, 1)[: len(matrix)]
