"""The methods that make masks: each regularises the weights for some epochs, then they are projected."""

from __future__ import annotations

from collections.abc import Sequence

from ..library import PatternLibrary
from ..recipe import Recipe
from ..targets import Target
from .admm import AdmmMethod
from .gradual import GradualMethod
from .layerwise import LayerwiseMethod
from .method import Method
from .one_shot import OneShotMethod
from .reweighted import ReweightedMethod

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (OneShotMethod, LayerwiseMethod, GradualMethod, AdmmMethod,
                                       ReweightedMethod)}


def make_method(recipe: Recipe, targets: Sequence[Target], libraries: Sequence[PatternLibrary],
                steps_per_epoch: int) -> Method:
    """The method that ``recipe`` names, begun on the weights as they are."""
    return METHODS[recipe.method.name](recipe.method, targets, libraries, steps_per_epoch)
