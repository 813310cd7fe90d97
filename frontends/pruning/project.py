"""One-shot magnitude pruning: projects every weight of a module onto a scheme, in place.

Not a replacement for training (ADMM does that); it gives exactly pruned networks for tests and measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from ...sparse_dialect.errors import EspalierError
from ...sparse_dialect.schemes import Connectivity, Pattern, Unstructured, natural_library
from .spec import ConnectivitySpec, PatternSpec, PruneSpec, UnstructuredSpec, parse_spec

Projection = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Layer:
    """A layer that can be pruned; ``cuttable``: a convolution, neither the first nor depthwise."""

    name: str
    module: nn.Module
    weight: torch.Tensor
    cuttable: bool

    @property
    def array(self) -> np.ndarray:
        """The weight, sharing memory."""
        return self.weight.detach().numpy()


def prune_module(module: nn.Module, spec: PruneSpec | str) -> nn.Module:
    """Projects the convolutions and linear layers of ``module`` as ``spec`` says, in place, and returns it.

    Weights are float32 on the CPU; shared weights are pruned once. Raises ``EspalierError`` for anything
    else, for a weight that is masked or reparametrised, and for a bad ``spec``.
    """
    if isinstance(spec, str):
        spec = parse_spec(spec)
    layers = list(_layers(module))
    for layer in layers:
        _check(layer)
    convolutions = [layer for layer in layers if not isinstance(layer.module, nn.Linear)]
    library = None
    if isinstance(spec, PatternSpec) and spec.library == "net":
        patterned = [layer.array for layer in convolutions if _has_patterns(layer, spec)]
        library = natural_library(patterned, spec.entries, spec.patterns) if patterned else None
    for layer in convolutions:
        _apply(layer, _convolution_projection(layer, spec, library))
    for layer in layers:
        if isinstance(layer.module, nn.Linear) and spec.linear > 1:
            _apply(layer, partial(Unstructured.project, rate=spec.linear))
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


def _layers(module: nn.Module) -> Iterator[Layer]:
    """Convolutions and linear layers in order of definition; a shared weight comes once."""
    seen: set[int] = set()
    first = True
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            continue
        if id(layer.weight) in seen:
            continue
        seen.add(id(layer.weight))
        if isinstance(layer, nn.Linear):
            yield Layer(name, layer, layer.weight, cuttable=False)
            continue
        depthwise = layer.groups > 1 and layer.groups == layer.in_channels
        yield Layer(name, layer, layer.weight, cuttable=not first and not depthwise)
        first = False


def _check(layer: Layer) -> None:
    if layer.module._parameters.get("weight") is not layer.weight:
        raise EspalierError(f"layer '{layer.name}' computes its weight (a mask or the like): fold it first")
    if layer.weight.dtype != torch.float32 or layer.weight.device.type != "cpu":
        raise EspalierError(f"layer '{layer.name}' needs a float32 weight on the CPU, found "
                            f"{layer.weight.dtype} on {layer.weight.device}")


def _apply(layer: Layer, projection: Projection | None) -> None:
    if projection is not None:
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(projection(layer.array)))
