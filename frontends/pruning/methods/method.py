"""What every pruning method does during its epochs, before the masks are made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch

from ..library import PatternLibrary
from ..targets import Target


class Method(ABC):
    """Pulls the targets' weights towards their constraint sets, in place, between the optimizer's steps.

    ``recipe``: the part of the recipe with the method's name. Nothing here touches the model's structure, and
    all state is in ``state_dict``.
    """

    name: ClassVar[str]
    needs_data: ClassVar[bool] = False  # masks come of Sparsifier.calibrate

    def __init__(self, recipe: Any, targets: Sequence[Target], libraries: Sequence[PatternLibrary],
                 steps_per_epoch: int) -> None:
        self.recipe = recipe
        self.targets = list(targets)
        self.libraries = list(libraries)
        self.steps = recipe.epochs * steps_per_epoch

    @property
    def uses_penalty(self) -> bool:
        """Whether the loss must have ``penalty()`` added."""
        return False

    def penalty(self) -> torch.Tensor | None:
        """The coupled form's term, a scalar with gradient; None where there is none."""
        return None

    @abstractmethod
    def after_step(self, step: int) -> None:
        """After optimizer step number ``step`` (from 1) of the method's epochs; without gradients."""

    @abstractmethod
    def epoch_end(self, epoch: int) -> None:
        """After epoch number ``epoch`` (from 1) of the method's epochs; without gradients."""

    def before_masks(self) -> None:  # noqa: B027 - most methods choose nothing
        """Before the weights are projected for good: a method may choose the targets' rates here."""

    def residuals(self) -> list[float]:
        """How far each target is from its constraint set: ||W - Proj W|| / ||W||."""
        return [relative_distance(target.weight, target.project(target.weight)) for target in self.targets]

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of ``state_dict``; the targets are the same."""
        assert not state, self.name


class CoupledMethod(Method):
    """A method whose pull may be coupled to the loss (``penalty: coupled``), as the papers write it."""

    @property
    def uses_penalty(self) -> bool:
        return bool(self.recipe.penalty == "coupled")

    def penalty(self) -> torch.Tensor | None:
        if not self.uses_penalty:
            return None
        total = torch.zeros((), device=self.targets[0].weight.device)
        for term in self._terms():
            total = total + term
        return total * self._strength

    @property
    @abstractmethod
    def _strength(self) -> float:
        """What the sum of all terms is multiplied by."""

    @abstractmethod
    def _terms(self) -> Iterable[torch.Tensor]:
        """Scalars with gradients, one or more a target."""


def relative_distance(weight: torch.Tensor, other: torch.Tensor) -> float:
    """||weight - other|| / ||weight||, 0 for a zero weight."""
    norm = float(weight.detach().norm())
    return float((weight.detach() - other).norm()) / norm if norm else 0.0
