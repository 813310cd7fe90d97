"""What a recipe would do, before anything is trained: weights and multiply-adds of every layer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .targets import Assignment, Decision


@dataclass(frozen=True)
class PlannedLayer:
    """A row of the dry run; multiply-adds are those of the example inputs."""

    name: str
    shape: tuple[int, ...]
    scheme: str
    rate: float
    weights: int
    kept: int
    macs: int
    decided_by: str
    note: str

    @property
    def macs_after(self) -> int:
        """Multiply-adds with kept weights alone."""
        return self.macs * self.kept // max(self.weights, 1)


def plan(model: nn.Module, inputs: Sequence[Any], assignment: Assignment) -> list[PlannedLayer]:
    """A row for every layer with weights, in order; the model is run once."""
    uses = _uses(model, inputs)
    return [_row(decision, uses) for decision in assignment.decisions]


def projected(model: nn.Module, assignment: Assignment) -> nn.Module:
    """A copy of ``model`` with every target projected: what one_shot would start retraining from."""
    result = copy.deepcopy(model)
    weights = dict(result.named_parameters())
    with torch.no_grad():
        for target in assignment.targets:
            weight = weights[target.parameter_name]
            weight.copy_(target.project(weight))
    return result


def _row(decision: Decision, uses: dict[str, int]) -> PlannedLayer:
    target = decision.target
    size = 1
    for length in decision.shape:
        size *= length
    kept = size if target is None else int(torch.count_nonzero(target.project(target.weight)))
    module = decision.name if decision.name in uses else decision.name.rpartition(".")[0]
    scheme = "dense" if target is None else target.spec.name if target.spec else "as it came"
    return PlannedLayer(decision.name, decision.shape, scheme, size / max(kept, 1), size, kept,
                        size * uses.get(module, 0), decision.decided_by, decision.note)


def _uses(model: nn.Module, inputs: Sequence[Any]) -> dict[str, int]:
    """How often each layer's whole weight is multiplied in one run: output places, rows or time steps."""
    counts: dict[str, int] = {}

    def count(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, result: Any) -> None:
            if isinstance(module, nn.RNNBase):
                times = arguments[0].numel() // arguments[0].shape[-1]
            elif isinstance(module, nn.Linear):
                times = result.numel() // result.shape[-1]
            else:
                assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
                times = result.numel() // module.out_channels
            counts[name] = counts.get(name, 0) + times

        return hook

    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.RNNBase)
    hooks = [module.register_forward_hook(count(name))
             for name, module in model.named_modules() if isinstance(module, kinds)]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(*inputs)
    finally:
        for handle in hooks:
            handle.remove()
        model.train(training)
    return counts
