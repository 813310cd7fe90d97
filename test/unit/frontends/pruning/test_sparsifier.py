"""Training that prunes: masks hold, the model stays as it was, and the compiler finds every scheme again."""

import copy
from typing import Any

import espalier
import numpy as np
import pytest
import torch
from espalier.frontends.pruning import Sparsifier, extract_library
from espalier.frontends.pruning.spec import SPECS
from espalier.sparse_dialect import EspalierError
from espalier.sparse_dialect.schemes import SCHEMES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.training import PATTERNS, net, sgd, sparsifier_of, steps, train
from torch import nn

X = torch.randn((2, 2, 6, 6), generator=torch.Generator().manual_seed(5))


def test_one_shot_masks_hold_through_momentum_and_decay() -> None:
    model = net()
    names = list(model.state_dict())
    sparsifier = sparsifier_of(model, PATTERNS, steps=3)
    before = model.second.weight.detach().clone()
    assert 16 * 16 * 4 // 2 == int(torch.count_nonzero(before))
    steps(sparsifier, 3, (X,))
    after = model.second.weight.detach()
    assert not torch.equal(before, after)
    assert torch.equal(before == 0, after == 0)
    sparsifier.epoch_end()
    rows = sparsifier.finish()
    assert list(model.state_dict()) == names
    assert [row.name for row in rows] == ["first", "second", "point"]
    assert not bool(torch.signbit(after[after == 0]).any()), "a zero without a sign"


def test_the_hook_goes_with_the_end() -> None:
    model = net()
    sparsifier = sparsifier_of(model)
    train(sparsifier, (X,))
    optimizer = sgd(model)
    model(X).sum().backward()
    optimizer.step()
    sparsifier.optimizer.step()  # no hook cuts or counts any more
    assert int((model.second.weight == 0).sum()) < 16 * 16 * 9 - 16 * 16 * 2


def test_recurrent_weights_train_under_their_masks() -> None:
    torch.manual_seed(0)
    model = nn.GRU(32, 32, bidirectional=True)
    sparsifier = sparsifier_of(model, {"match": "*", "scheme": "unstructured", "rate": 4})
    before = model.weight_hh_l0.detach().clone()
    train(sparsifier, (torch.randn(5, 2, 32),))
    assert bool(((model.weight_hh_l0 != before) == (before != 0)).all())


def test_the_learning_rate_follows_the_recipe_and_has_one_master() -> None:
    model = net()
    rest = [parameter for name, parameter in model.named_parameters() if "out" not in name]
    optimizer = torch.optim.SGD([{"params": model.out.parameters(), "lr": 0.2}, {"params": rest}], lr=0.1)
    recipe = {"layers": [PATTERNS], "retrain": {"epochs": 1, "peak": 0.4, "warmup": 0.5, "floor": 0.1}}
    sparsifier = Sparsifier(model, recipe, optimizer=optimizer, steps_per_epoch=4)
    seen = []
    for _ in range(4):
        seen.append([group["lr"] for group in optimizer.param_groups])
        steps(sparsifier, 1, (X,))
    assert np.allclose(seen, [[0.04, 0.02], [0.2, 0.1], [0.4, 0.2], [0.2, 0.1]])
    other = net()
    mine = sgd(other)
    sparsifier = Sparsifier(other, recipe, optimizer=mine, steps_per_epoch=4)
    mine.param_groups[0]["lr"] = 0.3
    with pytest.raises(EspalierError, match=r"something else .* made it 0.3"):
        steps(sparsifier, 1, (X,))


def test_zeros_that_came_with_the_model_stay() -> None:
    model = net()
    model.second.weight.data[:, ::2] = 0
    rule = {"match": "point", "scheme": "connectivity", "rate": 2}
    sparsifier = sparsifier_of(model, rule, start="from_zeros")
    train(sparsifier, (X,))
    assert int(torch.count_nonzero(model.second.weight[:, ::2])) == 0
    assert int(torch.count_nonzero(model.second.weight)) == model.second.weight.numel() // 2
    assert int(torch.count_nonzero(model.point.weight)) == model.point.weight.numel() // 2


def test_wrapped_models_are_pruned_inside() -> None:
    model = net()
    for wrapped in (nn.DataParallel(model), torch.compile(model, backend="eager")):
        sparsifier = Sparsifier(wrapped, {"layers": [PATTERNS]}, optimizer=sgd(model), steps_per_epoch=1)
        assert sparsifier.model is model


def test_patterns_are_found_in_a_finished_model() -> None:
    model = net()
    train(sparsifier_of(model, {**PATTERNS, "patterns": 4}), (X,))
    found = extract_library(model)
    assert len(found) <= 4
    assert all(len(pattern) == 4 for pattern in found)


def test_a_state_goes_on_to_the_same_bits() -> None:
    straight = net()
    train(sparsifier_of(straight, steps=3), (X,))
    model = net()
    first = sparsifier_of(model, steps=3)
    torch.manual_seed(1)
    steps(first, 2, (X,))
    rng = torch.get_rng_state()
    state = copy.deepcopy((model.state_dict(), first.optimizer.state_dict(), first.state_dict()))
    again = net(seed=3)
    second = sparsifier_of(again, steps=3)
    again.load_state_dict(state[0])
    second.optimizer.load_state_dict(state[1])
    second.load_state_dict(state[2])
    torch.set_rng_state(rng)
    one_more_step(second)
    second.epoch_end()
    second.finish()
    for name, weight in straight.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def one_more_step(sparsifier: Sparsifier) -> None:
    """A step that continues the random numbers of the two before it."""
    rng = torch.get_rng_state()
    steps(sparsifier, 0, (X,))
    torch.set_rng_state(rng)
    optimizer = sparsifier.optimizer
    optimizer.zero_grad()
    outputs = sparsifier.model(X)
    torch.nn.functional.mse_loss(outputs, torch.randn_like(outputs)).backward()
    optimizer.step()


# -- mistakes ------------------------------------------------------------------------------------------------


def test_an_optimizer_of_other_parameters_is_refused() -> None:
    with pytest.raises(EspalierError, match="does not hold the weight of layer 'first'"):
        Sparsifier(net(), {"layers": [PATTERNS]}, optimizer=sgd(net()), steps_per_epoch=1)


def test_an_epoch_without_steps_is_an_error() -> None:
    sparsifier = sparsifier_of(net())
    with pytest.raises(EspalierError, match="the optimizer made no step"):
        sparsifier.epoch_end()


def test_too_few_and_too_many_steps_are_errors() -> None:
    sparsifier = sparsifier_of(net(), steps=5)
    steps(sparsifier, 1, (X,))
    with pytest.raises(EspalierError, match="1 optimizer steps in this epoch, expected steps_per_epoch = 5"):
        sparsifier.epoch_end()
    with pytest.raises(EspalierError, match="more than steps_per_epoch = 5"):
        steps(sparsifier, 5, (X,))


def test_more_epochs_than_the_recipe_has_are_errors() -> None:
    sparsifier = sparsifier_of(net(), steps=1)
    steps(sparsifier, 1, (X,))
    sparsifier.epoch_end()
    with pytest.raises(EspalierError, match="a step after all 1 epochs"):
        steps(sparsifier, 1, (X,))
    with pytest.raises(EspalierError, match="all 1 epochs are over"):
        sparsifier.epoch_end()


@pytest.mark.parametrize(("change", "message"), [
    ({"version": 9}, "version 9"), ({"steps_per_epoch": 7}, "7 steps an epoch, found 2"),
    ({"layers": {"first": [1, 2]}}, r"another model: layer 'first' is \[1, 2\]")])
def test_a_state_of_something_else_is_refused(change: dict[str, Any], message: str) -> None:
    sparsifier = sparsifier_of(net())
    with pytest.raises(EspalierError, match=message):
        sparsifier.load_state_dict({**sparsifier.state_dict(), **change})


def test_a_changed_recipe_is_named_and_taken_only_when_told() -> None:
    state = sparsifier_of(net()).state_dict()
    other = sparsifier_of(net(), retrain={"epochs": 3})
    with pytest.raises(EspalierError, match=r"the recipe has changed: retrain\.epochs: 1, now 3"):
        other.load_state_dict(state)
    other.load_state_dict(state, changed_recipe=True)
    different = sparsifier_of(net(), {**PATTERNS, "connectivity": 4})
    with pytest.raises(EspalierError, match="the recipe has changed: layers"):
        different.load_state_dict(state, changed_recipe=True)


# -- the compiler finds what training made -------------------------------------------------------------------

RATES = st.sampled_from([1.5, 2, 3, 4.5])
SCHEME_RULES = {
    "pattern": st.fixed_dictionaries({"entries": st.integers(1, 5), "patterns": st.integers(1, 8),
                                      "connectivity": RATES,
                                      "balance": st.sampled_from(["layer", "filter"])}),
    "connectivity": st.fixed_dictionaries({"rate": RATES}),
    "unstructured": st.fixed_dictionaries({"rate": RATES}),
    "bcr": st.fixed_dictionaries({"rows": st.sampled_from([4, 8]), "columns": st.sampled_from([8, 16]),
                                  "rate": RATES, "row_rate": st.sampled_from([1, 1.5])}),
    "kgs": st.fixed_dictionaries({"filters": st.sampled_from([4, 8]), "channels": st.sampled_from([2, 4]),
                                  "rate": RATES, "vanilla": st.booleans()}),
    "n_m": st.sampled_from([{"n": 1, "m": 4}, {"n": 2, "m": 4}, {"n": 1, "m": 2}]),
}


def layer_with(scheme: str, width: int, kernel: int) -> tuple[nn.Module, torch.Tensor]:
    """A layer that ``scheme`` prunes, behind one that it spares, and inputs."""
    if scheme == "kgs":
        solid = nn.Conv3d(width, width, kernel, padding=kernel // 2)
        return nn.Sequential(nn.Conv3d(2, width, 1), nn.ReLU(), solid), torch.randn(2, 2, 3, 6, 6)
    if scheme == "bcr":
        matrix = nn.Linear(2 * width, width)
        return nn.Sequential(nn.Linear(12, 2 * width), nn.ReLU(), matrix), torch.randn(2, 12)
    pruned = nn.Conv2d(width, width, kernel, padding=kernel // 2)
    model = nn.Sequential(nn.Conv2d(2, width, 1), nn.ReLU(), pruned)
    return model, torch.randn(2, 2, 8, 8)


def group_count(shape: tuple[int, ...], options: dict[str, Any]) -> int:
    """The weights by which a scheme may exceed its rate: half a row and column of each block, or a group."""
    if "columns" in options:
        rows, columns = options["rows"], options["columns"]
        return int(np.prod(shape)) * (rows + columns) // (2 * rows * columns)
    places = int(np.prod(shape[2:])) if options.get("vanilla") else 1
    return int(options.get("filters", 0) * options.get("channels", 0)) * places


def check_found(scheme: str, options: dict[str, Any], width: int, kernel: int, seed: int) -> nn.Module:
    """Trains two steps under ``scheme``; the layer's zeros are the scheme's, at the rate or above it."""
    torch.manual_seed(seed)
    model, x = layer_with(scheme, width, kernel)
    sparsifier = sparsifier_of(model, {"match": "2", "scheme": scheme, **options})
    target = sparsifier.targets[0]
    start = target.weight.detach().clone()
    train(sparsifier, (x,))
    weight = target.weight.detach().numpy()
    assert not torch.equal(target.weight, start)
    found = SCHEMES[SPECS[scheme].name].detect(weight)
    assert found is not None, (scheme, options)
    kept = np.count_nonzero(weight)
    groups = group_count(weight.shape, options)  # each group's count is rounded for itself
    assert kept <= np.ceil(weight.size / target.rate) + max(weight.size * 0.05, groups), "up to rounding"
    return model


@pytest.mark.parametrize("scheme", list(SCHEME_RULES))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_scheme_is_found_after_training(scheme: str, data: st.DataObject) -> None:
    options = data.draw(SCHEME_RULES[scheme])
    width = data.draw(st.sampled_from([16, 20] if scheme == "kgs" else [8, 12, 16]))  # of several groups
    check_found(scheme, options, width, 3, data.draw(st.integers(0, 9)))


@pytest.mark.parametrize("scheme", [pytest.param(name, marks=[] if name == "pattern" else pytest.mark.slow)
                                    for name in SCHEME_RULES])
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_scheme_compiles_to_what_pytorch_computes(scheme: str, data: st.DataObject) -> None:
    model = check_found(scheme, data.draw(SCHEME_RULES[scheme]), 16, 3, data.draw(st.integers(0, 9))).eval()
    x = layer_with(scheme, 16, 3)[1][:1]
    program = torch.export.export(model, (x,))
    compiled = espalier.compile(program, (x,))
    assert compiled.layers[0].scheme == "dense"
    assert compiled.layers[1].scheme != "dense"
    assert compiled.layers[1].sparsity > 0.2
    expected = model(x).detach()
    assert float((compiled(x) - expected).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))
