"""One-shot magnitude pruning: projects every weight of a module onto a scheme, in place.

Not a replacement for training (ADMM does that); it gives exactly pruned networks for tests and measurements.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
import torch
from torch import nn

from ...sparse_dialect.errors import EspalierError
from ...sparse_dialect.schemes import (
    NM,
    Bcr,
    Connectivity,
    Kgs,
    Pattern,
    Unstructured,
    natural_library,
)
from .names import Names
from .spec import (
    BcrSpec,
    ConnectivitySpec,
    KgsSpec,
    NmSpec,
    PatternSpec,
    PruneSpec,
    UnstructuredSpec,
    parse_specs,
)

logger = logging.getLogger(__name__)  # warnings reach stderr unless the program says otherwise
Projection = Callable[[np.ndarray], np.ndarray]
Library = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Layer:
    """A weight that can be pruned, the parameter ``leaf`` of ``module``; ``cuttable``: of a convolution,
    not the first, whose filters have more than one kernel (depthwise ones have one)."""

    name: str
    module: nn.Module
    weight: torch.Tensor
    cuttable: bool
    leaf: str = "weight"

    @property
    def is_matrix(self) -> bool:
        """Whether it belongs to a linear or a recurrent layer."""
        return isinstance(self.module, nn.Linear | nn.RNNBase)

    @property
    def array(self) -> np.ndarray:
        """The weight, sharing memory."""
        return self.weight.detach().numpy()


def prune_module(module: nn.Module, specs: Sequence[PruneSpec] | str,
                 names: Names | None = None) -> nn.Module:
    """Projects the convolutions, linear and recurrent layers of ``module`` in place and returns it.

    The first of ``specs`` (or of the text that ``parse_specs`` reads) that covers a layer prunes it, if
    ``names`` chooses it (default: all). A layer that it does not fit, such as a small head that is no whole
    block, stays as it is, and the log lists it with the reason. Weights are float32 on the CPU, finite;
    shared weights are pruned once. Raises ``EspalierError`` before anything is changed: for other weights,
    for a weight that is masked or reparametrised, for a bad specification, for one that fits no layer that
    it covers, and for a pattern that no name fits.
    """
    if isinstance(specs, str):
        specs = parse_specs(specs)
    every = list(weight_layers(module))
    chosen = (names or Names()).choose([layer.name for layer in every])
    layers = [layer for layer, wanted in zip(every, chosen, strict=True) if wanted]
    for layer in layers:
        _check(layer)
    libraries = {spec: _net_library(layers, spec) for spec in specs}
    reasons, pruned = [], 0
    for layer in layers:
        found = (projection_of(layer, spec, libraries[spec]) for spec in specs)
        projection = next((p for p in found if p is not None), None)
        if projection is None:
            continue
        reason = _apply(layer, projection)
        pruned += not reason
        reasons += [reason] if reason else []
    if reasons and not pruned:
        raise EspalierError(f"--prune: {reasons[0]}")
    if reasons:
        logger.warning("--prune leaves %d of %d layers as they are: %s", len(reasons), len(reasons) + pruned,
                       "; ".join(reasons))
    return module


def _net_library(layers: Sequence[Layer], spec: PruneSpec) -> Library | None:
    """The patterns that all layers share, where ``spec`` asks for that."""
    if not isinstance(spec, PatternSpec) or spec.library != "net":
        return None
    patterned = [layer.array for layer in layers if has_patterns(layer, spec)]
    return natural_library(patterned, spec.entries, spec.patterns) if patterned else None


def projection_of(layer: Layer, spec: PruneSpec, library: Library | None) -> Projection | None:
    """What ``spec`` does to a layer, or None where it does not cover it."""
    if layer.is_matrix:
        return _matrix_projection(spec)
    match spec:
        case PatternSpec() if has_patterns(layer, spec):
            rate = spec.connectivity if layer.cuttable else 1
            return lambda weight: Pattern.project(weight, entries=spec.entries, patterns=spec.patterns,
                                                  library=library, connectivity=rate, balance=spec.balance)
        case PatternSpec(connectivity=rate) | ConnectivitySpec(rate=rate) if layer.cuttable and rate > 1:
            return lambda weight: Connectivity.project(weight, rate=rate, balance=spec.balance)
        case UnstructuredSpec() if layer.cuttable:
            return partial(Unstructured.project, rate=spec.rate)
        case NmSpec() if layer.cuttable:
            return partial(NM.project, n=spec.n, m=spec.m)
        case KgsSpec() if layer.cuttable:
            return partial(Kgs.project, filters=spec.filters, channels=spec.channels, rate=spec.rate,
                           vanilla=spec.vanilla, score=spec.score)
        case BcrSpec(layers="all" | "convolutions") if layer.cuttable:
            return _block_projection(spec)
        case BcrSpec(layers="pointwise") if layer.cuttable and prod(layer.weight.shape[2:]) == 1:
            return _block_projection(spec)
    return None


def _matrix_projection(spec: PruneSpec) -> Projection | None:
    """What ``spec`` does to a matrix, or None where it does not cover it."""
    if isinstance(spec, BcrSpec):
        return _block_projection(spec) if spec.layers in ("all", "matrices") else None
    if isinstance(spec, NmSpec):
        return partial(NM.project, n=spec.n, m=spec.m)
    rate = getattr(spec, "linear", 1)
    return partial(Unstructured.project, rate=rate) if rate > 1 else None


def _block_projection(spec: BcrSpec) -> Projection:
    return partial(Bcr.project, rows=spec.rows, columns=spec.columns, rate=spec.rate,
                   row_rate=spec.row_rate)


def has_patterns(layer: Layer, spec: PatternSpec) -> bool:
    return tuple(layer.weight.shape[2:]) == (spec.kernel, spec.kernel)


def weight_layers(module: nn.Module) -> Iterator[Layer]:
    """Convolutions and matrices in order of definition; a shared weight comes once."""
    seen: set[int] = set()
    first = True
    for name, layer in module.named_modules():
        if isinstance(layer, nn.RNNBase):
            for leaf, weight in layer._parameters.items():
                if leaf.startswith("weight") and weight is not None and id(weight) not in seen:
                    seen.add(id(weight))
                    yield Layer(f"{name}.{leaf}".lstrip("."), layer, weight, cuttable=False, leaf=leaf)
        if not isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            continue
        if id(layer.weight) in seen:
            continue
        seen.add(id(layer.weight))
        if isinstance(layer, nn.Linear):
            yield Layer(name, layer, layer.weight, cuttable=False)
            continue
        yield Layer(name, layer, layer.weight, cuttable=not first and layer.weight.shape[1] > 1)
        first = False


def _check(layer: Layer) -> None:
    if layer.module._parameters.get(layer.leaf) is not layer.weight:
        raise EspalierError(f"layer '{layer.name}' computes its weight (a mask or the like): fold it first")
    if layer.weight.dtype != torch.float32 or layer.weight.device.type != "cpu":
        raise EspalierError(f"layer '{layer.name}' needs a float32 weight on the CPU, found "
                            f"{layer.weight.dtype} on {layer.weight.device}")
    if not all(torch.isfinite(end) for end in torch.aminmax(layer.weight)):  # copies nothing
        raise EspalierError(f"layer '{layer.name}' has weights that are NaN or infinite: repair them first")


def _apply(layer: Layer, projection: Projection) -> str:
    """Prunes the layer and answers ""; one that does not fit stays as it is, and the answer says why."""
    try:
        pruned = projection(layer.array)
    except EspalierError as error:
        return f"layer '{layer.name}' {list(layer.weight.shape)}: {error}"
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(pruned))
    return ""
