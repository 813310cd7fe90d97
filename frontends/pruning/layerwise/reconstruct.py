"""Second-order reconstruction of pruned layers (Optimal Brain Compression, NeurIPS 2022; SparseGPT, 2023).

Layer by layer, from the front: X are the dense network's inputs of the layer, Y those of the network that is
pruned so far. The mask is the scheme's projection of the weights times the size of their inputs, sqrt(E y^2);
under it each filter w becomes what reproduces the dense outputs best:

    w_S = (Y_S Y_S' + damping)^-1 Y_S X' w0        S: what the mask keeps

which is exact for the given mask, so that removing weights one by one, as the papers do, would gain nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ..checkpoint import seed_generators
from ..loop import device_of, moved
from ..project import Layer
from ..search.sensitivity import CALIBRATION_EPOCH, first_samples
from ..targets import Target
from .inputs import layer_rows

Progress = Callable[[int, int], None]
SMALLEST = 1e-12  # of a mean square of inputs


class Gram:
    """Sums of Y' Y and Y' X over calibration rows, f64, of one group of a layer."""

    def __init__(self) -> None:
        self.own: torch.Tensor | None = None
        self.cross: torch.Tensor | None = None

    def add(self, pruned: torch.Tensor, dense: torch.Tensor) -> None:
        """Adds rows [N, columns] of both networks."""
        pruned, dense = pruned.double(), dense.double()
        own, cross = pruned.T @ pruned, pruned.T @ dense
        self.own = own if self.own is None else self.own + own
        self.cross = cross if self.cross is None else self.cross + cross


@torch.no_grad()
def reconstruct(model: nn.Module, targets: Sequence[Target], task: Any, *, seed: int, samples: int,
                damping: float, progress: Progress = lambda done, total: None) -> list[torch.Tensor]:
    """Prunes ``targets`` of ``model`` in place by ``samples`` of the task's training data; returns the masks.
    """
    dense = copy.deepcopy(model).eval()
    training = model.training
    model.eval()
    seed_generators(seed, CALIBRATION_EPOCH, task.train)
    batches = [moved(batch, device_of(model)) for batch in first_samples(task.train, samples)]
    modules = {name: module for name, module in dense.named_modules()}
    names = {id(module): name for name, module in model.named_modules()}
    masks = []
    for number, target in enumerate(targets):
        progress(number, len(targets))
        twin = modules[names[id(target.layer.module)]]
        grams = _grams(model, dense, target.layer, twin, [task.inputs(batch) for batch in batches])
        masks.append(_prune(target, grams, damping))
    progress(len(targets), len(targets))
    model.train(training)
    return masks


def _grams(model: nn.Module, dense: nn.Module, layer: Layer, twin: nn.Module,
           inputs: Sequence[tuple[Any, ...]]) -> list[Gram]:
    """The sums of ``layer`` over all ``inputs``, a group each."""
    grams: list[Gram] = []
    partner = Layer(layer.name, twin, layer.weight, layer.cuttable, layer.leaf)
    for arguments in inputs:
        own = _calls(model, layer.module, arguments)
        theirs = _calls(dense, twin, arguments)
        for here, there in zip(own, theirs, strict=True):
            pairs = zip(layer_rows(layer, here), layer_rows(partner, there), strict=True)
            for group, (pruned, exact) in enumerate(pairs):
                if group == len(grams):
                    grams.append(Gram())
                grams[group].add(pruned, exact)
    return grams


def _calls(model: nn.Module, module: nn.Module, arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """What ``module`` is called with while ``model`` runs."""
    seen: list[tuple[Any, ...]] = []
    hook = module.register_forward_pre_hook(lambda module, given: seen.append(given))
    try:
        model(*arguments)
    finally:
        hook.remove()
    return seen


def _prune(target: Target, grams: Sequence[Gram], damping: float) -> torch.Tensor:
    """Sets the weight to its reconstruction under the scheme's mask, and returns the mask."""
    weight = target.weight
    if not grams:  # the layer never ran
        weight.copy_(target.project(weight))
        return weight != 0
    matrix = weight.flatten(1)
    sizes = [_diagonal(gram).clamp_min(SMALLEST).sqrt().float() for gram in grams]
    filters = len(matrix) // len(grams)
    scale = torch.cat([size.expand(filters, -1) for size in sizes]).to(weight.device)
    scaled = weight * (scale / scale.mean()).reshape(weight.shape)
    mask = target.project(scaled) != 0
    kept = mask.flatten(1)
    for group, gram in enumerate(grams):
        part = slice(group * filters, (group + 1) * filters)
        matrix[part] = _solved(matrix[part], kept[part], gram, damping)
    weight.copy_(matrix.reshape(weight.shape))
    return mask


def _solved(dense: torch.Tensor, kept: torch.Tensor, gram: Gram, damping: float) -> torch.Tensor:
    """The rows of ``dense`` [F, columns], each the least-squares solution on the columns that it keeps."""
    assert gram.own is not None
    assert gram.cross is not None
    own = gram.own + damping * _diagonal(gram).mean().clamp_min(SMALLEST) * torch.eye(len(gram.own))
    # the damping draws towards the dense weights, not towards 0
    wanted = (gram.cross + (own - gram.own)) @ dense.double().T
    result = torch.zeros_like(dense)
    patterns, which = torch.unique(kept, dim=0, return_inverse=True)  # rows of a block keep the same columns
    for number, pattern in enumerate(patterns):
        rows = (which == number).nonzero().flatten()
        columns = pattern.nonzero().flatten()
        if len(columns):
            solution = torch.linalg.solve(own[columns][:, columns], wanted[columns][:, rows])
            result[rows[:, None], columns] = solution.T.to(dense.dtype)
    return result


def _diagonal(gram: Gram) -> torch.Tensor:
    assert gram.own is not None
    return gram.own.diagonal()
