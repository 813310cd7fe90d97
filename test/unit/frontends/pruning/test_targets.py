"""Which rule decides which layer, and what cannot be pruned."""

from typing import Any

import pytest
import torch
from espalier.frontends import reference_model
from espalier.frontends.pruning.recipe import load_recipe
from espalier.frontends.pruning.spec import PatternSpec, UnstructuredSpec
from espalier.frontends.pruning.targets import assign
from espalier.sparse_dialect import EspalierError
from support.training import PATTERNS, Net, net
from torch import nn
from torch.nn.utils import parametrizations, prune


def assigned(model: nn.Module, *rules: dict[str, Any], **parts: Any) -> Any:
    return assign(model, load_recipe({"layers": list(rules), **parts}))


def test_the_last_rule_with_a_scheme_stands_and_later_ones_change_it() -> None:
    rows = assigned(net(), PATTERNS, {"match": "second", "connectivity": 4},
                    {"match": {"type": "Linear"}, "scheme": "unstructured", "rate": 3},
                    {"match": "point", "scheme": "dense"})
    found = {row.name: row for row in rows.decisions}
    assert list(found) == ["first", "second", "point", "out"]
    assert found["second"].target.spec == PatternSpec(entries=4, patterns=4, connectivity=4)
    assert found["second"].decided_by == "recipe layers.0, recipe layers.1"
    assert isinstance(found["out"].target.spec, UnstructuredSpec)
    assert found["out"].target.rate == 3
    assert found["point"].target is None
    assert found["first"].note == "first or depthwise: patterns only"
    assert found["first"].target.rate == 9 / 4


def test_a_layer_that_is_named_is_not_spared() -> None:
    rows = assigned(net(), PATTERNS, {"match": "first", "connectivity": 2})
    target = rows.targets[0]
    assert target.rate == 9 / 4 * 2
    kept = target.project(target.weight)
    assert int(torch.count_nonzero(kept)) == 16 * 2 * 4 // 2


def test_recurrent_weights_go_by_their_own_name_or_the_modules() -> None:
    class Voice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(32, 32, 2, bidirectional=True)

    block = {"scheme": "unstructured", "rate": 4}
    names = [t.name for t in assigned(Voice(), {"match": "gru", **block}).targets]
    assert len(names) == 8
    inner = assigned(Voice(), {"match": "gru.weight_hh*", **block}).targets
    assert inner[0].parameter_name == "gru.weight_hh_l0"
    assert len(assigned(Voice(), {"match": {"type": "GRU", "name": "*_l1"}, **block}).targets) == 2


@pytest.mark.slow
def test_layers_with_equal_options_share_a_library_or_keep_their_own() -> None:
    shared = assigned(reference_model("resnet18", None)[0], {**PATTERNS, "patterns": 8})
    assert len(shared.libraries) == 1
    assert len(shared.libraries[0].patterns) == 8
    own = assigned(net(), {**PATTERNS, "library": "layer"})
    assert len(own.libraries) == 2


def test_elog_and_given_libraries() -> None:
    elog = assigned(net(), PATTERNS, library={"source": "elog"})
    assert elog.libraries[0].patterns == ((1, 3, 4, 5), (1, 3, 4, 7), (1, 4, 5, 7), (3, 4, 5, 7))
    given = assigned(net(), PATTERNS, library={"source": [[0, 1, 3, 4], [4, 5, 7, 8]]})
    assert given.libraries[0].patterns == ((0, 1, 3, 4), (4, 5, 7, 8))


def masked(model: Net) -> None:
    prune.l1_unstructured(model.second, "weight", 0.5)


def masked_gru(model: Net) -> None:
    model.second = nn.GRU(16, 16)
    prune.l1_unstructured(model.second, "weight_hh_l0", 0.5)


def parametrized(model: Net) -> None:
    parametrizations.weight_norm(model.second)


def shared(model: Net) -> None:
    model.third = nn.Conv2d(16, 16, 3)
    model.third.weight = model.second.weight


def frozen(model: Net) -> None:
    model.second.requires_grad_(False)


def double(model: Net) -> None:
    model.double()


def broken(model: Net) -> None:
    model.second.weight.data[0, 0, 0, 0] = float("nan")


@pytest.mark.parametrize(("damage", "message"), [
    (masked, "'second' computes its weight .* fold it"), (masked_gru, "computes its weight"),
    (parametrized, "'second' computes its weight"), (shared, "'second' shares its weight"),
    (frozen, "'second' is frozen"), (double, "needs a float32 weight, found torch.float64"),
    (broken, "'second' has weights that are NaN")])
def test_a_weight_that_cannot_be_trained_is_named(damage: Any, message: str) -> None:
    model = net()
    damage(model)
    with pytest.raises(EspalierError, match=message):
        assigned(model, {"match": "*", "scheme": "unstructured", "rate": 2})


@pytest.mark.parametrize(("rules", "message"), [
    ([PATTERNS, {"match": "secnd", "connectivity": 2}],
     "layers.1: no layer matches 'secnd': did you mean second?"),
    ([{"match": {"type": "Conv3d"}, "scheme": "unstructured"}],
     "no layer has type 'Conv3d': did you mean Conv2d?"),
    ([{"match": "*", "connectivity": 2}], "layers.0: no rule before it gives layer 'first' a scheme"),
    ([PATTERNS, {"match": "second", "rate": 2}], "layer 'second' has scheme pattern, which has no 'rate'"),
    ([{"match": "out", "scheme": "pattern"}], "scheme pattern does not prune layer 'out'"),
    ([{"match": "*", "scheme": "dense"}], "no layer is pruned"),
    ([{"match": "second", "scheme": "unstructured", "rate": 1e9}], "'second' .* would keep nothing at"),
    ([{"match": "second", "scheme": "connectivity", "rate": 1000}], "'second' .* would keep nothing"),
    ([{"match": "second", "scheme": "pattern", "entries": 12}], "3x3 kernels have no 12 entries"),
    ([], "the recipe has no layers")])
def test_a_rule_that_makes_no_sense_is_one_line(rules: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(EspalierError, match=message.replace("?", r"\?")) as caught:
        assigned(net(), *rules)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("library", "message"), [
    ([[0, 1, 2]], "keep 3 places, the rule asks for entries: 4"), ([[0, 1, 2, 9]], "places below 9"),
    ([[3, 2, 1, 0]], "increasing"), ([], "at least one")])
def test_a_pattern_that_is_none(library: list[list[int]], message: str) -> None:
    with pytest.raises(EspalierError, match=message):
        assigned(net(), PATTERNS, library={"source": library})


def test_zeros_that_the_model_brings_are_targets_where_asked() -> None:
    model = net()
    model.point.weight.data[::2] = 0
    assert assigned(model, start="from_zeros").targets[0].name == "point"
    with pytest.raises(EspalierError, match="no layer is pruned"):
        assigned(net(), start="from_zeros")
