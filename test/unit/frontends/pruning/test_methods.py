"""The methods that make masks: what each does to weights, and that none depends on how it was interrupted."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from espalier.frontends.pruning.methods import METHODS
from espalier.frontends.pruning.methods.admm import AdmmMethod
from espalier.frontends.pruning.methods.gradual import rising_rate
from espalier.frontends.pruning.methods.groups import group_energies
from espalier.frontends.pruning.recipe import load_recipe
from espalier.frontends.pruning.targets import assign
from espalier.sparse_dialect import EspalierError
from support.training import PATTERNS, net, sparsifier_of, steps, train
from torch import nn

X = torch.randn((2, 2, 6, 6), generator=torch.Generator().manual_seed(5))
ADMM = {"name": "admm", "epochs": 4, "stages": [1, 3]}
SCHEMES: list[dict[str, Any]] = [
    {"scheme": "pattern", "connectivity": 2, "patterns": 4}, {"scheme": "connectivity", "rate": 2},
    {"scheme": "bcr", "rows": 4, "columns": 8, "rate": 4}, {"scheme": "kgs", "filters": 4, "rate": 3},
    {"scheme": "kgs", "filters": 4, "rate": 3, "vanilla": True}, {"scheme": "unstructured", "rate": 4},
    {"scheme": "bcr", "rows": 4, "columns": 8, "rate": 4, "row_rate": 2}, {"scheme": "n_m", "n": 1, "m": 4}]
METHOD_PARTS: list[dict[str, Any]] = [
    {"name": "gradual", "epochs": 2, "every": 2}, ADMM, {**ADMM, "sets": "split"},
    {**ADMM, "penalty": "coupled"}, {**ADMM, "scope": "cut", "patterns": "fixed"},
    {"name": "reweighted", "epochs": 2}, {"name": "reweighted", "epochs": 2, "penalty": "coupled"},
    {"name": "reweighted", "epochs": 2, "threshold": "net"}]


def labels(parts: dict[str, Any]) -> str:
    return "-".join(str(value) for value in parts.values() if isinstance(value, str))


@pytest.mark.parametrize("scheme", SCHEMES, ids=labels)
@pytest.mark.parametrize("method", METHOD_PARTS, ids=labels)
def test_every_method_prunes_by_every_scheme(method: dict[str, Any], scheme: dict[str, Any]) -> None:
    model = net()
    sparsifier = sparsifier_of(model, {"match": "second", **scheme}, steps=3, method=method)
    asked = sparsifier.targets[0].rate
    train(sparsifier, (X,))  # finish() checks that the compiler would find the scheme
    weight = model.second.weight
    kept = int(torch.count_nonzero(weight))
    assert weight.numel() / kept == pytest.approx(asked, rel=0.12)


def test_all_methods_are_in_recipes() -> None:
    for name in METHODS:
        assert load_recipe({"method": {"name": name}}).method.name == name
    with pytest.raises(EspalierError, match="unknown method 'adm': did you mean admm"):
        load_recipe({"method": {"name": "adm"}})
    with pytest.raises(EspalierError, match="3 stages need at least as many epochs, found 2"):
        load_recipe({"method": {"name": "admm", "epochs": 2}})


def test_the_pull_of_a_stage_does_not_depend_on_its_steps() -> None:
    """Without a gradient, a pull p leaves the share exp(-p) of the way to Z - U."""
    for count in (1, 7):
        model = net()
        method = {"name": "admm", "epochs": 1, "stages": [0.7]}
        sparsifier = sparsifier_of(model, PATTERNS, steps=count, method=method)
        assert isinstance(sparsifier.method, AdmmMethod)
        start = model.second.weight.detach().clone()
        goal = sparsifier.method.z[1][0]
        for group in sparsifier.optimizer.param_groups:
            group["lr"] = 0.0
        steps(sparsifier, count, (X,))
        assert torch.allclose(model.second.weight, goal + math.exp(-0.7) * (start - goal), atol=1e-6)


def test_admm_brings_weights_to_their_sets() -> None:
    sparsifier = sparsifier_of(net(), PATTERNS, steps=8, method={**ADMM, "epochs": 6, "stages": [0.3, 1, 3]})
    first = sum(sparsifier.method.residuals()) / 3
    for _ in range(6):
        steps(sparsifier, 8, (X,))
        sparsifier.epoch_end()
    residuals = [record.residual for record in sparsifier.history]
    assert residuals[-1] is not None
    assert residuals[-1] < 0.4 * first


def test_a_dual_pushes_on_where_the_weight_resists() -> None:
    sparsifier = sparsifier_of(net(), PATTERNS, steps=2, method={**ADMM, "stages": [0.3]})
    method = sparsifier.method
    assert isinstance(method, AdmmMethod)
    steps(sparsifier, 2, (X,))
    sparsifier.epoch_end()
    for target, zs, us in zip(method.targets, method.z, method.u, strict=True):
        assert torch.equal(us[0], target.weight.detach() - zs[0])
        assert torch.equal(zs[0], target.project(target.weight))


def test_a_library_shrinks_to_its_final_size_and_counts_its_use() -> None:
    rules = {**PATTERNS, "patterns": 3}
    sparsifier = sparsifier_of(net(), rules, method={**ADMM, "epochs": 6},
                               library={"source": "natural", "start": 12, "shrink": True})
    library = sparsifier.assignment.libraries[0]
    assert len(library.patterns) == 12
    sizes = []
    for _ in range(6):
        steps(sparsifier, 2, (X,))
        record = sparsifier.epoch_end()
        sizes.append(len(record.frequencies[0]))
    assert sizes == [9, 7, 5, 4, 3, 3]
    assert sum(library.frequencies) == 16 * 2 + 16 * 16 // 2
    assert len(library.patterns) == 3


def test_fixed_patterns_stay() -> None:
    sparsifier = sparsifier_of(net(), PATTERNS, steps=3, method={**ADMM, "patterns": "fixed"})
    method = sparsifier.method
    assert isinstance(method, AdmmMethod)
    places = method.fixed[1]
    assert places is not None
    for _ in range(4):
        steps(sparsifier, 3, (X,))
        assert not bool((method.z[1][0] * ~places).any())
        sparsifier.epoch_end()


def test_the_coupled_form_needs_its_penalty_in_the_loss() -> None:
    sparsifier = sparsifier_of(net(), PATTERNS, steps=1, method={**ADMM, "penalty": "coupled"})
    outputs = sparsifier.model(X).sum()
    outputs.backward()
    sparsifier.optimizer.step()
    with pytest.raises(EspalierError, match=r"penalty: coupled needs sparsifier\.penalty\(\) added"):
        sparsifier.epoch_end()


def test_a_coupled_penalty_is_half_rho_times_the_distance() -> None:
    sparsifier = sparsifier_of(net(), PATTERNS, method={**ADMM, "penalty": "coupled"})
    method = sparsifier.method
    assert isinstance(method, AdmmMethod)
    distance = sum(float((target.weight.detach() - z[0]).square().sum()) for target, z in zip(
        method.targets, method.z, strict=True))
    assert float(sparsifier.penalty().detach()) == pytest.approx(0.5 * distance, rel=1e-5)


def test_reweighting_separates_groups_that_training_leaves_alike() -> None:
    """Without a gradient the smallest groups fall the furthest."""
    model = net()
    rule = {"match": "second", "scheme": "kgs", "filters": 4, "channels": 4, "rate": 3}
    sparsifier = sparsifier_of(model, rule, steps=5, method={"name": "reweighted", "epochs": 4})
    for group in sparsifier.optimizer.param_groups:
        group["lr"] = 0.0
    first = group_energies(sparsifier.targets[0])[0].squares
    for _ in range(4):
        steps(sparsifier, 5, (X,))
        sparsifier.epoch_end()
    weak = first < first.median()
    projected = first / float(first.mean())
    assert float(projected[weak].mean()) < float(projected[~weak].mean())
    kept = model.second.weight != 0
    assert int((kept & ~weak).sum()) > int((kept & weak).sum())


@pytest.mark.parametrize("shape", [(16, 16, 3, 3), (12, 10, 3, 3), (8, 6, 3, 3, 3), (7, 5, 1, 1)])
@pytest.mark.parametrize("scheme", SCHEMES[1:6], ids=labels)
def test_group_energies_are_sums_over_what_is_cut_together(scheme: dict[str, Any],
                                                           shape: tuple[int, ...]) -> None:
    """A projected weight's groups are whole or empty: the energy is zero exactly where the weight is cut."""
    kind = nn.Conv3d if len(shape) == 5 else nn.Conv2d
    torch.manual_seed(0)
    model = nn.Sequential(kind(2, shape[1], 1), kind(shape[1], shape[0], shape[2:]))
    small = {"rows": 2, "columns": 4} if scheme["scheme"] == "bcr" else {}
    recipe = load_recipe({"layers": [{"match": "1", **scheme, **small, "rate": 2}]})
    target = assign(model, recipe).targets[0]
    with torch.no_grad():
        target.weight.copy_(target.project(target.weight))
    energies = group_energies(target)
    assert len(energies) == 1
    assert energies[0].squares.shape == shape
    assert torch.equal(energies[0].squares > 0, target.weight != 0)


def test_a_rising_rate_ends_at_the_final_one() -> None:
    assert rising_rate(8, 0) == 1
    assert rising_rate(8, 1) == 8
    rates = [rising_rate(8, done / 10) for done in range(11)]
    assert rates == sorted(rates)
