"""How long each layer takes at each rate: whole networks are profiled, and t = a + b share is fitted a layer.

Time is affine in the share of kept weights (reference page on pruning, section 6.1: at most 7 % off in any
layer of ResNet-18), so three uniform rates and the dense network fill the table for all rates, in context.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from ....runtime.compiled_model import CompiledModel
from ....sparse_dialect.errors import EspalierError

Progress = Callable[[str, int, int], None]  # (step, done, total)
QUARTILE = 25  # of repeated times: a median would hold other processes' time as well
WARMUP = 2
LEAST_SECONDS = 0.5  # that a network is run for
MOST_RUNS = 1000


@dataclass(frozen=True)
class LayerTime:
    """Milliseconds of a layer: ``fixed_ms`` + ``share_ms`` x the share of weights that is kept; dense apart,
    for it has other kernels."""

    fixed_ms: float
    share_ms: float
    dense_ms: float

    def ms(self, share: float | None) -> float:
        """At a kept ``share``; None: dense."""
        return self.dense_ms if share is None else self.fixed_ms + self.share_ms * share


@dataclass(frozen=True)
class TimeTable:
    """The times of a network's layers on one machine; ``rest_ms`` is everything that is not searched.
    ``measured``: by runs, not by the compiler's prediction."""

    layers: dict[str, LayerTime]
    rest_ms: float
    dense_ms: float
    measured: bool


@dataclass(frozen=True)
class NetworkTimes:
    """One network: its whole time and that of its layers, ``fused`` layers counted in another's."""

    whole_ms: float
    layers: dict[str, float]
    fused: dict[str, str]
    macs: dict[str, int]


def compiled(model: nn.Module, inputs: Sequence[Any]) -> CompiledModel:
    """``model`` compiled for this machine."""
    from ...compile import compile_model

    return compile_model(model.eval(), tuple(inputs))


def network_times(models: Sequence[CompiledModel], inputs: Sequence[np.ndarray], *, threads: int, runs: int,
                  progress: Progress) -> list[NetworkTimes]:
    """Times of ``models``, run in turns so that a slow minute hits all alike; predictions where ``runs`` is
    0. Layer times are scaled to add up to the whole."""
    if runs == 0:
        return [_predicted(model) for model in models]
    profiles: list[list[list[float]]] = [[] for _ in models]
    rounds = runs + WARMUP
    done = 0
    while done < rounds:
        for model, rows in zip(models, profiles, strict=True):
            rows.append(model.profile(inputs, threads))
        done += 1
        if done == WARMUP:  # short runs need more of them
            slowest = max(sum(rows[-1]) for rows in profiles)
            rounds = WARMUP + max(runs, min(MOST_RUNS, round(LEAST_SECONDS / max(slowest, 1e-9))))
        progress("profiling", done, rounds)
    return [_measured(model, 1000 * np.array(rows[WARMUP:]))
            for model, rows in zip(models, profiles, strict=True)]


def _measured(model: CompiledModel, rows: np.ndarray) -> NetworkTimes:
    """``rows``: milliseconds [runs, layers and other statements]."""
    whole = float(np.percentile(rows.sum(1), QUARTILE))
    low = np.percentile(rows, QUARTILE, axis=0)
    low *= whole / max(float(low.sum()), 1e-9)
    names = [layer.name for layer in model.layers]
    return NetworkTimes(whole, dict(zip(names, low[: len(names)].tolist(), strict=True)), *_facts(model))


def _predicted(model: CompiledModel) -> NetworkTimes:
    layers = {layer.name: layer.predicted_ms or 0.0 for layer in model.layers}
    return NetworkTimes(sum(layers.values()), layers, *_facts(model))


def _facts(model: CompiledModel) -> tuple[dict[str, str], dict[str, int]]:
    fused = {layer.name: layer.fused_into for layer in model.layers if layer.fused_into}
    return fused, {layer.name: layer.macs_dense for layer in model.layers}


def fitted(dense: NetworkTimes, uniform: Sequence[NetworkTimes], shares: Mapping[str, Sequence[float]], *,
           measured: bool) -> TimeTable:
    """The table of the layers in ``shares``, which says what share of each is kept in each of ``uniform``.

    Layers that run as one in any of the networks are fitted together and share the result by their
    multiply-adds. Raises ``EspalierError`` for a layer that the compiled network does not have.
    """
    missing = next((name for name in shares if name not in dense.layers), None)
    if missing is not None:
        raise EspalierError(f"layer '{missing}' is not in the compiled network, so no time can be found for "
                            f"it: give it a rule of its own rate, or scheme dense")
    layers: dict[str, LayerTime] = {}
    for group in _groups([dense, *uniform], list(dense.layers)):
        searched = [name for name in group if name in shares]
        if not searched:
            continue
        weights = np.array([float(dense.macs[name]) for name in searched])
        weights = weights / weights.sum() if weights.sum() > 0 else np.full(len(searched), 1 / len(searched))
        kept = [sum(w * shares[name][at] for w, name in zip(weights, searched, strict=True))
                for at in range(len(uniform))]
        times = [sum(network.layers.get(name, 0.0) for name in group) for network in uniform]
        slope, fixed = _line(kept, times)
        whole = sum(dense.layers[name] for name in group)
        for weight, name in zip(weights.tolist(), searched, strict=True):
            layers[name] = LayerTime(fixed * weight, slope * weight, whole * weight)
    rest = [network.whole_ms - sum(layers[name].ms(shares[name][at]) for name in shares)
            for at, network in enumerate(uniform)]
    return TimeTable(layers, max(0.0, float(np.median(rest))), dense.whole_ms, measured)


def _line(kept: Sequence[float], times: Sequence[float]) -> tuple[float, float]:
    """(slope, value at 0) of the least-squares line that does not fall and does not begin below 0."""
    if len(set(kept)) > 1:
        slope, fixed = np.polyfit(kept, times, 1).tolist()
        if slope >= 0 and fixed >= 0:
            return slope, fixed
        if slope < 0:
            return 0.0, float(np.mean(times))
    return float(np.dot(kept, times) / np.dot(kept, kept)), 0.0


def _groups(networks: Sequence[NetworkTimes], names: Sequence[str]) -> list[list[str]]:
    """Layers that run as one in any network, each group in order; the others alone."""
    head = {name: name for name in names}

    def find(name: str) -> str:
        while head[name] != name:
            name = head[name]
        return name

    for network in networks:
        for inner, outer in network.fused.items():
            if inner in head and outer in head:
                head[find(inner)] = find(outer)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(find(name), []).append(name)
    return list(groups.values())
