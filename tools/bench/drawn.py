"""Layers drawn by chance, pruned by common schemes: is any forced code faster than the chosen one?

A layer's number decides all about it, so that any of them can be drawn again. Nothing here prints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from ...frontends.compile import compile_model
from ...pipelines.driver import CompileOptions
from ...sparse_dialect.schemes import NM, Bcr, Connectivity, Kgs, Pattern, Unstructured
from .measure import interleave

KINDS = {"3x3": 3, "5x5": 5, "1x1": 1, "linear": 0}  # and their kernels' sizes
SCHEMES = ("unstructured", "connectivity", "pattern", "bcr", "kgs", "filters", "2:4")
NOT_OF = {"linear": ("connectivity", "pattern", "kgs"), "1x1": ("pattern", "kgs")}  # what has no kernels
BATCHES = (1, 1, 2, 4, 8, 16, 32)
WIDTHS = (24, 32, 48, 64, 81, 96, 128, 160, 192, 256, 271, 320, 384, 512)
SIZES = (7, 14, 20, 28, 56)
FEATURES = (128, 200, 256, 384, 512, 768, 1000, 1024, 1500, 2048, 3072)
MOST_MACS = 4e8  # of a whole layer, so that many can be measured
FEWEST_RUNS, MOST_RUNS = 15, 200


@dataclass(frozen=True)
class Drawn:
    """One layer: ``weight`` [F, C, k, k] or [M, K], f32; ``shape`` of its input; ``kept`` of its weights."""

    number: int
    kind: str
    scheme: str
    kept: float
    weight: np.ndarray
    shape: tuple[int, ...]

    def __str__(self) -> str:
        rows, columns = self.weight.shape[:2]
        image = f" {self.shape[2]}x{self.shape[3]}" if len(self.shape) > 2 else ""
        return (f"{self.number}: {self.kind} {columns}->{rows}{image}, batch {self.shape[0]}, {self.scheme}, "
                f"{self.kept:.0%} kept")

    def module(self) -> Any:
        """The layer as a PyTorch module, with a bias."""
        import torch
        from torch import nn

        torch.manual_seed(self.number)
        rows, columns, *kernel = self.weight.shape
        module: nn.Conv2d | nn.Linear = (
            nn.Conv2d(columns, rows, kernel[0], padding=kernel[0] // 2) if kernel
            else nn.Linear(columns, rows))
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(self.weight))
        return module.eval()


@dataclass(frozen=True)
class Judged:
    """
    Seconds of one layer's code in every round, by mode: auto, dense and sparse. Where auto is the same code
    as one of the others it has that one's times.
    """

    layer: Drawn
    chosen: str
    reason: str
    seconds: dict[str, list[float]]

    def behind(self, of: Callable[[list[float]], float] = min) -> float:
        """By what share the choice is slower than the better of the forced ones; 0 where it is not."""
        better = min(of(times) for mode, times in self.seconds.items() if mode != "auto")
        return max(0.0, of(self.seconds["auto"]) / better - 1)

    def __str__(self) -> str:
        times = ", ".join(f"{mode} {1e3 * min(times):.3f}/{1e3 * median(times):.3f}"
                          for mode, times in self.seconds.items())
        return f"{self.layer}: {self.chosen}, {times} ms, {self.behind():.1%} behind"


def draw(number: int, seed: int) -> Drawn:
    """Layer ``number`` of ``seed``."""
    random = np.random.default_rng((seed, number))
    kind = str(random.choice(list(KINDS)))
    scheme = str(random.choice([name for name in SCHEMES if name not in NOT_OF.get(kind, ())]))
    batch = int(random.choice(BATCHES))
    kernel = KINDS[kind]
    while True:
        if kernel:
            size = int(random.choice(SIZES))
            rows, columns = (int(n) for n in random.choice(WIDTHS, 2))
            shape: tuple[int, ...] = (batch, columns, size, size)
            weights: tuple[int, ...] = (rows, columns, kernel, kernel)
            places = size * size
        else:
            rows, columns = (int(n) for n in random.choice(FEATURES, 2))
            shape, weights, places = (batch, columns), (rows, columns), 1
        if np.prod(weights) * float(places * batch) <= MOST_MACS:
            break
    kept = float(random.uniform(0.05, 0.7))
    weight = random.standard_normal(weights) / np.sqrt(np.prod(weights[1:]))
    weight = _pruned(weight.astype(np.float32), scheme, kept, random)
    return Drawn(number, kind, scheme, np.count_nonzero(weight) / weight.size, weight, shape)


def _pruned(weight: np.ndarray, scheme: str, kept: float, random: np.random.Generator) -> np.ndarray:
    """``weight`` of which about a share ``kept`` stays."""
    match scheme:
        case "unstructured":
            return Unstructured.project(weight, rate=1 / kept)
        case "connectivity":
            return Connectivity.project(weight, rate=1 / kept)
        case "pattern":
            entries = int(random.choice([4, 5] if weight.shape[2] == 3 else [8, 12]))
            share = entries / np.prod(weight.shape[2:])
            return Pattern.project(weight, entries=entries, connectivity=max(1.0, share / kept))
        case "bcr":
            rows, columns = ((2, 16), (4, 16), (8, 16), (16, 16))[int(random.integers(4))]
            return Bcr.project(weight, rows=rows, columns=columns, rate=1 / kept)
        case "kgs":
            return Kgs.project(weight, filters=int(random.choice([4, 8])), channels=4, rate=1 / kept)
        case "filters":
            return _cut_whole(weight, kept, random)
    return NM.project(weight)


def _cut_whole(weight: np.ndarray, kept: float, random: np.random.Generator) -> np.ndarray:
    """Whole filters cut, and every other time input channels as well."""
    both = bool(random.integers(2))
    share = np.sqrt(kept) if both else kept
    result = weight.copy()
    result[random.permutation(len(weight))[max(1, round(share * len(weight))):]] = 0
    if both:
        result[:, random.permutation(weight.shape[1])[max(1, round(share * weight.shape[1])):]] = 0
    return result


def judge(layer: Drawn, seconds: float) -> Judged:
    """Compiles ``layer`` three times and times what differs, interleaved, for about ``seconds``; one
    thread. Raises ``EspalierError`` where code computes something else than PyTorch."""
    import torch

    module, x = layer.module(), torch.from_numpy(
        np.random.default_rng(layer.number).standard_normal(layer.shape).astype(np.float32))
    options = {"auto": CompileOptions(), "dense": CompileOptions(sparse=False),
               "sparse": CompileOptions(sparse="always")}
    models = {mode: compile_model(module, (x,), options=each) for mode, each in options.items()}
    chosen = models["auto"].layers[0]
    same = chosen.kernel if chosen.kernel in models else ""
    timed = [mode for mode in models if not (mode == "auto" and same)]
    tasks = [partial(models[mode].run, [x.numpy()]) for mode in timed]
    once = [min(times) for times in interleave(tasks, 3)]
    runs = int(min(max(seconds / sum(once), FEWEST_RUNS), MOST_RUNS))
    times = dict(zip(timed, interleave(tasks, runs), strict=True))
    times.setdefault("auto", times[same or "auto"])
    return Judged(layer, chosen.kernel, chosen.reason, times)
