"""What a layer may become in a search: its recipe's scheme at several rates, or dense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ....sparse_dialect.errors import EspalierError
from ..project import has_patterns, projection_of
from ..recipe import DENSE, Recipe, Rule, options_of
from ..spec import NmSpec, PatternSpec, PruneSpec
from ..targets import Assignment, Target, check_rate, nominal_rate, with_rate

RATES = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.6, 4.3, 5.0, 6.5, 8.0, 10.0, 12.5, 16.0)


@dataclass(frozen=True)
class Choice:
    """``spec``: None leaves the layer dense. ``rate`` is what the rule says, ``share`` what it keeps of the
    weights that it may cut (for patterns: of the kernels): what time goes by."""

    spec: PruneSpec | None
    rate: float

    @property
    def share(self) -> float:
        return 1 / self.rate

    @property
    def text(self) -> str:
        """The choice in tables: ``pattern 3.6``."""
        return DENSE if self.spec is None else f"{self.spec.name} {self.rate:g}"


@dataclass(frozen=True)
class Searched:
    """A layer with its choices, from dense to the highest rate."""

    target: Target
    choices: tuple[Choice, ...]

    @property
    def name(self) -> str:
        return self.target.name


def searched_layers(assignment: Assignment) -> list[Searched]:
    """Every target whose rate can be chosen. Layers that are spared, or bring zeros of their own, are as the
    recipe has them."""
    found = []
    for target in assignment.targets:
        spec = target.spec
        spared = not (target.layer.cuttable or target.layer.is_matrix)
        if spec is None or spared:
            continue
        choices = [Choice(None, 1.0)]
        for candidate in _specs(spec):
            choice = Choice(candidate, nominal_rate(candidate, target.layer))
            if _possible(target, choice) and choice not in choices:
                choices.append(choice)
        if len(choices) > 1:
            found.append(Searched(target, tuple(choices)))
    if not found:
        raise EspalierError("a search needs layers whose rate can be chosen: the recipe prunes none")
    return found


def _specs(spec: PruneSpec) -> list[PruneSpec]:
    """``spec`` at every rate."""
    if isinstance(spec, NmSpec):
        return [replace(spec, n=n) for n in range(spec.m - 1, 0, -1)]
    return [with_rate(spec, rate) for rate in RATES]


def _possible(target: Target, choice: Choice) -> bool:
    """Whether the layer can be pruned so, and is pruned at all."""
    assert choice.spec is not None
    spec = choice.spec
    patterned = isinstance(spec, PatternSpec) and has_patterns(target.layer, spec)
    if (choice.rate == 1 and not patterned) or projection_of(target.layer, spec, None) is None:
        return False
    try:
        check_rate(replace(target, spec=spec))
    except EspalierError:  # it would keep nothing, or the compiler would not find it
        return False
    return True


def chosen_recipe(recipe: Recipe, layers: Sequence[Searched], picks: Sequence[int]) -> Recipe:
    """``recipe`` with a rule behind its own for each of ``layers``, at its choice number ``picks``."""
    rules = [_rule(layer.name, layer.choices[pick].spec)
             for layer, pick in zip(layers, picks, strict=True)]
    return recipe.model_copy(update={"layers": (*recipe.layers, *rules)})


def _rule(name: str, spec: PruneSpec | None) -> Rule:
    if spec is None:
        return Rule.model_validate({"match": name, "scheme": DENSE})
    options: dict[str, Any] = {key: getattr(spec, key) for key in options_of(spec.name)}
    return Rule.model_validate({"match": name, "scheme": spec.name, **options})
