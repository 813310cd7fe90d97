"""Reconstruction without training: what a layer multiplies, the solution under a mask, and whole runs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from espalier.frontends.pruning.engine import PruningRun
from espalier.frontends.pruning.layerwise.inputs import layer_rows
from espalier.frontends.pruning.layerwise.reconstruct import reconstruct
from espalier.frontends.pruning.project import Layer, weight_layers
from espalier.frontends.pruning.recipe import load_recipe
from espalier.frontends.pruning.targets import assign, check_mask
from espalier.frontends.tasks import Task
from espalier.frontends.tasks.batches import TensorBatches
from espalier.sparse_dialect import EspalierError
from support.training import PATTERNS, net, sparsifier_of, steps, task
from torch import nn

CONVOLUTIONS = [
    nn.Conv1d(4, 8, 3, stride=2, padding=1), nn.Conv2d(4, 8, (3, 2), dilation=2, padding="same"),
    nn.Conv2d(4, 8, 3, groups=2), nn.Conv3d(4, 8, 3, padding=1, stride=(1, 2, 2)),
    nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect")]
RECURRENT = [nn.GRU(5, 8), nn.GRU(5, 8, 2, bidirectional=True), nn.LSTM(5, 8, batch_first=True),
             nn.RNN(5, 8, nonlinearity="relu")]
SCHEMES: list[dict[str, Any]] = [
    {"scheme": "pattern", "connectivity": 2, "patterns": 4}, {"scheme": "connectivity", "rate": 2},
    {"scheme": "bcr", "rows": 4, "columns": 8, "rate": 4}, {"scheme": "kgs", "filters": 4, "rate": 3},
    {"scheme": "kgs", "filters": 4, "rate": 3, "vanilla": True}, {"scheme": "unstructured", "rate": 4},
    {"scheme": "bcr", "rows": 4, "columns": 8, "rate": 4, "row_rate": 2}, {"scheme": "n_m", "n": 1, "m": 4}]


@pytest.mark.parametrize("module", CONVOLUTIONS, ids=str)
def test_patches_times_the_matrix_are_the_convolution(module: nn.Conv2d) -> None:
    rank = module.weight.ndim - 2
    x = torch.randn(2, 4, *([6] * rank))
    rows = layer_rows(Layer("layer", module, module.weight, True), (x,))
    matrices = module.weight.flatten(1).chunk(len(rows))
    found = torch.cat([part @ matrix.T for part, matrix in zip(rows, matrices, strict=True)], 1)
    assert module.bias is not None
    expected = module(x).movedim(1, -1).flatten(0, -2) - module.bias
    if len(found) == len(expected):
        assert torch.allclose(found, expected, atol=1e-5)
    else:  # evenly spaced places alone
        distances = (found[:, None] - expected[None]).abs().amax(-1).amin(1)
        assert float(distances.max()) < 1e-5


@pytest.mark.parametrize("module", RECURRENT, ids=str)
def test_rows_of_a_recurrent_layer_are_its_inputs_and_states(module: nn.RNNBase) -> None:
    x = torch.randn(7, 3, 5)
    states, _ = module(x)
    last = module.num_layers - 1
    time_first = (lambda value: value.transpose(0, 1)) if module.batch_first else (lambda value: value)

    def rows(leaf: str) -> torch.Tensor:
        return layer_rows(Layer("rnn", module, getattr(module, leaf), False, leaf), (x,))[0]

    assert torch.equal(rows("weight_ih_l0"), time_first(x).reshape(-1, 5))
    before = torch.cat([torch.zeros_like(time_first(states)[:1]), time_first(states)[:-1]])
    expected = before.reshape(-1, before.shape[-1])[:, :8]
    assert torch.allclose(rows(f"weight_hh_l{last}"), expected, atol=1e-6)
    if module.bidirectional:
        following = torch.cat([states[1:], torch.zeros_like(states[:1])]).flip(0)[..., 8:]
        assert torch.allclose(rows(f"weight_hh_l{last}_reverse"), following.reshape(-1, 8), atol=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: "-".join(map(str, scheme.values())))
def test_outputs_are_nearer_than_the_projections(scheme: dict[str, Any]) -> None:
    """Under every scheme's masks, at its rate."""
    model = net()
    data = task()
    x = data.train.x  # type: ignore[attr-defined]
    recipe = load_recipe({"layers": [{"match": "second", **scheme}]})
    dense = copy.deepcopy(model).eval()(x)
    targets = assign(model, recipe).targets
    projected = copy.deepcopy(model).eval()
    projected.second.weight.data = targets[0].project(targets[0].weight)
    masks = reconstruct(model, targets, data, seed=0, samples=64, damping=0.01)
    assert torch.equal(masks[0] | (model.second.weight == 0), torch.ones_like(masks[0])), "zeros are exact"
    check_mask(targets[0], masks[0])
    kept = int(torch.count_nonzero(masks[0]))
    assert kept <= masks[0].numel() / targets[0].rate * 1.1
    with torch.no_grad():
        ours = float((model.eval()(x) - dense).norm())
        plain = float((projected(x) - dense).norm())
    assert ours < plain


def test_the_weights_are_the_least_squares_solution() -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 1, 12) @ torch.randn(12, 12)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8, bias=False))
    dense = model[1].weight.detach().clone()
    data = Task(TensorBatches(x, torch.zeros(200, dtype=torch.long), 50),
                TensorBatches(x, torch.zeros(200, dtype=torch.long), 50))
    targets = assign(model, load_recipe({"layers": [{"match": "1", "scheme": "unstructured", "rate": 3}]}))
    mask, = reconstruct(model, targets.targets, data, seed=0, samples=200, damping=1e-9)
    flat = x.flatten(1)
    for filter_, row in enumerate(mask):
        best = torch.linalg.lstsq(flat[:, row], flat @ dense[filter_]).solution
        assert torch.allclose(model[1].weight[filter_, row], best, atol=1e-3)


def test_a_run_needs_no_training() -> None:
    model = net()
    recipe = load_recipe({"layers": [PATTERNS], "method": {"name": "layerwise", "samples": 64},
                          "retrain": {"epochs": 0}})
    outcome = PruningRun(model, task(), recipe).run()
    assert outcome.log == []
    assert outcome.hard_pruned == outcome.retrained
    assert {row.name: round(row.rate, 1) for row in outcome.layers}["second"] == 4.5


def test_retraining_may_follow_and_keeps_the_masks() -> None:
    sparsifier = sparsifier_of(net(), method={"name": "layerwise", "samples": 64})
    x = (torch.randn(2, 2, 6, 6),)
    with pytest.raises(EspalierError, match=r"layerwise prunes by data: call calibrate\(task\) first"):
        steps(sparsifier, 1, x)
    with pytest.raises(EspalierError, match="call calibrate"):
        sparsifier.finish()
    sparsifier.calibrate(task())
    kept = sparsifier.model.second.weight != 0  # type: ignore[union-attr]
    steps(sparsifier, 2, x)
    sparsifier.epoch_end()
    sparsifier.finish()
    assert torch.equal(sparsifier.model.second.weight != 0, kept)  # type: ignore[union-attr]
    with pytest.raises(EspalierError, match="calibrate is for the method layerwise, found one_shot"):
        sparsifier_of(net()).calibrate(task())


def test_a_layer_that_never_runs_is_projected() -> None:
    model = net()
    model.spare = nn.Linear(8, 8)
    rule = {"match": "spare", "scheme": "unstructured", "rate": 2}
    targets = assign(model, load_recipe({"layers": [rule]}))
    expected = targets.targets[0].project(model.spare.weight)
    reconstruct(model, targets.targets, task(), seed=0, samples=16, damping=0.01)
    assert torch.equal(model.spare.weight, expected)
    assert len(list(weight_layers(model))) == 5
