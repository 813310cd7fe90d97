"""How much worse the network gets with one layer pruned: a rise of the calibration loss, for every choice."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import torch
from torch import nn

from ...tasks.task import Task
from ..checkpoint import seed_generators
from ..loop import BatchNorm, device_of, moved
from .choices import Searched

CALIBRATION_EPOCH = (1 << 20) + 1  # an epoch number that no training reaches
Progress = Callable[[str, int, int], None]


class Calibration:
    """The first ``samples`` of the task's training data, kept, and the loss on them. Batch norm normalises by
    the batch at hand, which stands for estimating its statistics anew for every choice."""

    def __init__(self, task: Task, seed: int, samples: int) -> None:
        self.task = task
        seed_generators(seed, CALIBRATION_EPOCH, task.train)
        self.batches = list(first_samples(task.train, samples))

    @torch.no_grad()
    def loss(self, model: nn.Module) -> float:
        """The mean loss of ``model``, which is left as it was."""
        device = device_of(model)
        training = model.training
        norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        kept = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
        model.eval()
        for norm in norms:
            norm.train()
        losses = []
        for batch in self.batches:
            batch = moved(batch, device)
            losses.append(float(self.task.loss(model(*self.task.inputs(batch)), batch)))
        for norm, momentum, buffers in zip(norms, momenta, kept, strict=True):
            norm.momentum = momentum
            for name, value in norm.named_buffers():
                value.copy_(buffers[name])
        model.train(training)
        return sum(losses) / len(losses)


def first_samples(batches: Iterable[Any], samples: int) -> Iterable[Any]:
    """Batches until ``samples`` items were given, at least one."""
    given = 0
    for batch in islice(batches, samples):
        yield batch
        given += _items(batch)
        if given >= samples:
            return


def _items(batch: Any) -> int:
    """How many samples a batch holds: what its last tensor does (sequences put time first in the others)."""
    if isinstance(batch, torch.Tensor):
        return max(1, len(batch)) if batch.ndim else 1
    if isinstance(batch, dict):
        return _items(next(reversed(batch.values()))) if batch else 1
    if isinstance(batch, tuple | list):
        return _items(batch[-1]) if batch else 1
    return 1


def projected_weights(layers: Sequence[Searched]) -> list[list[torch.Tensor | None]]:
    """Each layer's weight under each of its choices; None for dense."""
    return [[None if choice.spec is None else layer.target.project(layer.target.weight, choice.spec)
             for choice in layer.choices] for layer in layers]


def sensitivities(model: nn.Module, layers: Sequence[Searched], weights: list[list[torch.Tensor | None]],
                  calibration: Calibration | None, progress: Progress) -> list[list[float]]:
    """e[layer][choice], 0 for dense, never falling with the rate (a lower loss at a higher rate is noise).

    Without calibration data: the squared error of the projection, relative to the weight's square.
    """
    if calibration is None:
        return [_rising([_distance(layer, weight) for weight in row])
                for layer, row in zip(layers, weights, strict=True)]
    changed = copy.deepcopy(model)
    parameters = dict(changed.named_parameters())
    dense = calibration.loss(changed)
    result = []
    for number, (layer, row) in enumerate(zip(layers, weights, strict=True)):
        progress("sensitivity", number, len(layers))
        parameter = parameters[layer.target.parameter_name]
        before = parameter.detach().clone()
        rises = []
        for weight in row:
            if weight is not None:
                parameter.data.copy_(weight)
            rises.append(0.0 if weight is None else calibration.loss(changed) - dense)
        parameter.data.copy_(before)
        result.append(_rising(rises))
    progress("sensitivity", len(layers), len(layers))
    return result


def _distance(layer: Searched, projected: torch.Tensor | None) -> float:
    if projected is None:
        return 0.0
    weight = layer.target.weight.detach()
    return float((weight - projected).square().sum() / weight.square().sum().clamp_min(1e-30))


def _rising(values: Sequence[float]) -> list[float]:
    highest = 0.0
    result = []
    for value in values:
        highest = max(highest, value)
        result.append(highest)
    return result
