"""Recipes: what they mean, and one line for every mistake."""

from pathlib import Path
from typing import Any

import pytest
from espalier.frontends.pruning.recipe import (
    OneShot,
    Recipe,
    Rule,
    load_recipe,
    options_of,
    parse_recipe,
    recipe_differences,
)
from espalier.frontends.pruning.spec import SPECS
from espalier.sparse_dialect import EspalierError

RECIPE = """\
version: 1
layers:
  - {match: "*", scheme: pattern, entries: 4, patterns: 8, connectivity: 3.6, balance: layer}
  - {match: "features.0", connectivity: 1}
  - {match: {type: Linear}, scheme: unstructured, rate: 10}
library: {source: natural, start: 24, shrink: true}
method: {name: one_shot}
retrain: {epochs: 10, peak: 0.05, warmup: 0.15, shape: linear, distill: {temperature: 3, last: 1}}
optimizer: {name: SGD, momentum: 0.9, weight_decay: 5.0e-4, nesterov: true}
precision: {autocast: bf16}
"""


def test_a_recipe_is_read_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    recipe = load_recipe(path)
    assert recipe.layers[0].options == {"entries": 4, "patterns": 8, "connectivity": 3.6, "balance": "layer"}
    assert recipe.layers[1].scheme is None
    assert recipe.layers[2].match.type == "Linear"
    assert recipe.retrain.distill is not None
    assert recipe.where("layers", 1) == f"{path}:4"
    assert recipe.where("retrain", "peak") == f"{path}:8"


def test_a_mapping_and_a_recipe_are_recipes_too() -> None:
    recipe = load_recipe({"layers": [{"match": "*", "scheme": "unstructured", "rate": 2}]})
    assert isinstance(recipe.method, OneShot)
    assert load_recipe(recipe) is recipe
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_rules_know_the_keys_of_every_scheme() -> None:
    """A scheme that gains a key must gain it here too."""
    for scheme in SPECS:
        assert set(options_of(scheme)) <= set(Rule.model_fields), scheme


@pytest.mark.parametrize(("change", "message"), [
    (("version: 1", "version: 2"), "recipe:1: version: input should be 1, found 2"),
    (("method: {name: one_shot}", "metod: {name: one_shot}"),
     "recipe:7: metod: unknown key 'metod': did you mean method?"),
    (("retrain: {epochs: 10", "retrain: {epoch: 10"),
     "recipe:8: retrain.epoch: unknown key 'epoch': did you mean epochs?"),
    (("epochs: 10", "epochs: ten"), "recipe:8: retrain.epochs: .*integer.*found 'ten'"),
    (("scheme: pattern", "scheme: patern"), "recipe:3: layers.0.scheme: unknown scheme 'patern': did you"),
    (("scheme: pattern, entries", "scheme: pattern, filters"),
     "recipe:3: layers.0.filters: scheme pattern has no 'filters'"),
    (("connectivity: 3.6", "connectivity: 0.5"), "recipe:3: layers.0.connectivity: .*equal to 1"),
    (("connectivity: 3.6", "connectivity: .inf"), "recipe:3: layers.0.connectivity: .*finite"),
    (("entries: 4, p", "entrys: 4, p"), "recipe:3: layers.0.entrys: unknown key 'entrys': did you mean entr"),
    (("{type: Linear}", "{typ: Linear}"), "recipe:5: .*unknown key 'typ': did you mean type?"),
    (("source: natural", "source: elog"), "recipe:6: library.shrink: only natural libraries shrink"),
    (("name: SGD", "name: SDG"), "recipe:9: optimizer.name: .*found 'SDG'"),
    (("version: 1", "version: 1\nversion: 1"), "recipe:2: found duplicate key"),
    (("version: 1", "version: [1"), "recipe:"),
    (("precision: {", "precision: 5 #{"), "recipe:10: precision: .*found 5"),
])
def test_a_mistake_is_one_line_with_its_place(change: tuple[str, str], message: str) -> None:
    text = RECIPE.replace(*change, 1)
    assert text != RECIPE
    with pytest.raises(EspalierError, match=message.replace("?", r"\?")) as caught:
        parse_recipe(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- 1", "a"])
def test_what_is_no_mapping_is_no_recipe(text: str) -> None:
    with pytest.raises(EspalierError, match="expected keys"):
        parse_recipe(text)


def test_a_missing_or_binary_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EspalierError, match=r"cannot read the recipe .*No such file"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EspalierError, match="UTF-8"):
        load_recipe(tmp_path / "binary.yaml")


def test_differences_name_the_key() -> None:
    first: dict[str, Any] = {"retrain": {"epochs": 10}, "seed": 0}
    assert recipe_differences(first, {"retrain": {"epochs": 12}, "seed": 0}) == ["retrain.epochs: 10, now 12"]
    assert recipe_differences(first, first) == []
