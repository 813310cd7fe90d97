"""Per-layer times, ours against PyTorch's, from whole-network runs that alternate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Protocol


class LayeredEngine(Protocol):
    """An engine that can time its layers: seconds by layer name, from one run."""

    def set_threads(self, threads: int) -> None: ...
    def layer_seconds(self) -> dict[str, float]: ...


@dataclass(frozen=True)
class LayerTime:
    """Median times of one layer; PyTorch's and ``ratio`` are None where it has no module of that name."""

    name: str
    ours_ms: float
    torch_ms: float | None

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is."""
        return self.torch_ms / self.ours_ms if self.torch_ms is not None and self.ours_ms > 0 else None

    def as_json(self) -> dict[str, object]:
        return {"name": self.name, "ours_ms": self.ours_ms, "torch_ms": self.torch_ms, "ratio": self.ratio}


def measure_layers(
    ours: LayeredEngine, theirs: LayeredEngine | None, *, threads: int, warmup: int, runs: int,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> list[LayerTime]:
    """Medians over ``runs`` alternating runs, in the order of our layers."""
    engines = [engine for engine in (ours, theirs) if engine is not None]
    samples: list[dict[str, list[float]]] = [defaultdict(list) for _ in engines]
    for engine in engines:
        engine.set_threads(threads)
    for run in range(warmup + runs):
        for engine, sample in zip(engines, samples, strict=True):
            for name, seconds in engine.layer_seconds().items():
                if run >= warmup:
                    sample[name].append(1000 * seconds)
        progress("timing layers", run + 1, warmup + runs)
    peer = samples[1] if theirs is not None else {}
    return [LayerTime(name, median(times), _sum_of_medians(peer, name.split("+")))
            for name, times in samples[0].items()]


def _sum_of_medians(samples: dict[str, list[float]], names: list[str]) -> float | None:
    """The time of layers that the other side runs as one; None where a name is not known."""
    return sum(median(samples[name]) for name in names) if all(samples.get(name) for name in names) else None


def median_ratio(times: list[LayerTime]) -> float | None:
    """The median of the layers' ratios; None when no layer has one."""
    ratios = [layer.ratio for layer in times if layer.ratio is not None]
    return median(ratios) if ratios else None
