"""One-shot magnitude pruning: projects every weight of a module onto a scheme, in place.

Not a replacement for training (ADMM does that); it gives exactly pruned networks for tests and measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ...sparse_dialect.errors import EspalierError
from ...sparse_dialect.schemes import Connectivity, Pattern, Unstructured, natural_library
from .spec import ConnectivitySpec, PatternSpec, PruneSpec, UnstructuredSpec, parse_spec

Projection = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Layer:
    """A layer that can be pruned; ``cuttable``: a convolution that may lose kernels (neither first nor depthwise)."""

    name: str
    module: nn.Module
    weight: nn.Parameter
    cuttable: bool

    @property
    def array(self) -> np.ndarray:
        """The weight, sharing memory."""
        return self.weight.detach().numpy()


def prune_module(module: nn.Module, spec: PruneSpec | str) -> nn.Module:
    """Projects the convolutions and linear layers of ``module`` as ``spec`` says, in place, and returns it.

    Weights are float32 on the CPU; shared weights are pruned once. Raises ``EspalierError`` for anything else, for a
    weight that is masked or reparametrised, and for a bad ``spec``.
    """
    if isinstance(spec, str):
        spec = parse_spec(spec)
    convolutions, linears = list(_convolutions(module)), list(_linears(module))
    for layer in convolutions + linears:
        _check(layer)
    library = None
    if isinstance(spec, PatternSpec) and spec.library == "net":
        patterned = [layer.array for layer in convolutions if _has_patterns(layer, spec)]
        library = natural_library(patterned, spec.entries, spec.patterns) if patterned else None
    for layer in convolutions:
        _apply(layer, _convolution_projection(layer, spec, library))
    if spec.linear > 1:
        for layer in linears:
            _apply(layer, lambda weight: Unstructured.project(weight, rate=spec.linear))
    return module


def _convolution_projection(layer: Layer, spec: PruneSpec, library: tuple[tuple[int, ...], ...] | None,
                            ) -> Projection | None:
    """What ``spec`` does to a convolution, or None to leave it alone."""
    match spec:
        case PatternSpec() if _has_patterns(layer, spec):
            rate = spec.connectivity if layer.cuttable else 1
            return lambda weight: Pattern.project(weight, entries=spec.entries, patterns=spec.patterns,
                                                  library=library, connectivity=rate, balance=spec.balance)
        case PatternSpec(connectivity=rate) | ConnectivitySpec(rate=rate) if layer.cuttable and rate > 1:
            return lambda weight: Connectivity.project(weight, rate=rate, balance=spec.balance)
        case UnstructuredSpec() if layer.cuttable:
            return lambda weight: Unstructured.project(weight, rate=spec.rate)
    return None


def _has_patterns(layer: Layer, spec: PatternSpec) -> bool:
    return tuple(layer.weight.shape[2:]) == (spec.kernel, spec.kernel)


def _convolutions(module: nn.Module) -> Iterator[Layer]:
    """Convolutions with their own weights, in order of definition."""
    for position, (name, layer) in enumerate(_unique(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)):
        depthwise = layer.groups > 1 and layer.groups == layer.in_channels
        yield Layer(name, layer, layer.weight, position > 0 and not depthwise)


def _linears(module: nn.Module) -> Iterator[Layer]:
    for name, layer in _unique(module, nn.Linear):
        yield Layer(name, layer, layer.weight, False)


def _unique(module: nn.Module, kinds: type) -> Iterator[tuple[str, nn.Module]]:
    seen: set[int] = set()
    for name, layer in module.named_modules():
        if isinstance(layer, kinds) and id(layer.weight) not in seen:
            seen.add(id(layer.weight))
            yield name, layer


def _check(layer: Layer) -> None:
    if layer.module._parameters.get("weight") is not layer.weight:
        raise EspalierError(f"layer '{layer.name}' computes its weight (a mask or a parametrization): fold it first")
    if layer.weight.dtype != torch.float32 or layer.weight.device.type != "cpu":
        raise EspalierError(f"layer '{layer.name}' expected a float32 weight on the CPU, found {layer.weight.dtype} "
                            f"on {layer.weight.device}")


def _apply(layer: Layer, projection: Projection | None) -> None:
    if projection is not None:
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(projection(layer.array)))
