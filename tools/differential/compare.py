"""One bundle of drawn layers: compiled as one network, run on 1 to 4 threads, compared with PyTorch in f64.

Several layers share one compilation, which is most of the time; each has inputs and an output of its own, so
that a difference is of one layer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ...errors import EspalierError
from ...frontends.compile import compile_model
from ...pipelines.backends import CompileOptions
from .draw import Drawn, draw

TOLERANCE = 1e-4  # largest difference over the largest output
THREADS = (1, 2, 3, 4)
# How layers run: sparse wherever a scheme was found, as the cost model chooses, all dense.
MODES: tuple[CompileOptions, ...] = (
    CompileOptions(sparse="always", check=False), CompileOptions(check=False),
    CompileOptions(sparse=False, check=False))


@dataclass(frozen=True)
class Outcome:
    """What became of layer ``seed``: ``equal``, ``refused`` (one clear line), or a fault; with words."""

    seed: int
    kind: str
    words: str

    @property
    def fault(self) -> bool:
        return self.kind not in ("equal", "refused")


class Bundle(nn.Module):
    """Layers side by side."""

    def __init__(self, drawn: Sequence[Drawn]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(one.module for one in drawn)
        self.counts = [len(one.inputs) for one in drawn]

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs, at = [], 0
        for layer, count in zip(self.layers, self.counts, strict=True):
            outputs.append(layer(*inputs[at : at + count]))
            at += count
        return tuple(outputs)


def compare(seeds: Sequence[int], mode: int | None = None) -> list[Outcome]:
    """
    What became of each layer of ``seeds``; a bundle that is refused or fails as a whole is taken apart.

    ``mode``: a number of ``MODES``; without, the first seed decides.
    """
    mode = seeds[0] % len(MODES) if mode is None else mode
    drawn = [draw(seed) for seed in seeds]
    module, inputs = bundled(drawn)
    arrays = [tensor.numpy() for tensor in inputs]
    try:
        compiled = compile_model(module, inputs, options=MODES[mode])
        runs = [compiled.run(arrays, threads) for threads in THREADS]
    except Exception as error:
        if len(seeds) > 1:
            return [outcome for seed in seeds for outcome in compare([seed], mode)]
        return [_failed(seeds[0], drawn[0], mode, error)]
    return [_judged(seed, one, mode, [run[at] for run in runs])
            for at, (seed, one) in enumerate(zip(seeds, drawn, strict=True))]


def bundled(drawn: Sequence[Drawn]) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """All layers of ``drawn`` as one network, and its inputs."""
    return Bundle(drawn).eval(), tuple(tensor for one in drawn for tensor in one.inputs)


def _judged(seed: int, drawn: Drawn, mode: int, runs: Sequence[np.ndarray]) -> Outcome:
    wide = copy.deepcopy(drawn.module).double()
    with torch.no_grad():
        expected = wide(*(tensor.double() for tensor in drawn.inputs)).numpy()
    words = f"{drawn.words} (mode {mode})"
    if any(run.tobytes() != runs[0].tobytes() for run in runs):
        return Outcome(seed, "other bits with threads", words)
    if runs[0].shape != expected.shape:
        return Outcome(seed, "other shape", f"{words}: {runs[0].shape} for {expected.shape}")
    largest = max(float(np.abs(expected).max(initial=0)), 1e-3)
    error = float(np.abs(runs[0] - expected).max(initial=0)) / largest
    return Outcome(seed, "equal" if error <= TOLERANCE else "differs", f"{words}: {error:.1e}")


def _failed(seed: int, drawn: Drawn, mode: int, error: Exception) -> Outcome:
    words = f"{drawn.words} (mode {mode}): {error}"
    clear = isinstance(error, EspalierError) and "\n" not in str(error) and "has a bug" not in str(error)
    return Outcome(seed, "refused" if clear else f"raised {type(error).__name__}", words)
