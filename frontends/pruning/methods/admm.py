"""ADMM (PatDNN, ASPLOS 2020, section on pruning): min f(W) with every W in the set that its scheme can store.

    W <- some epochs of the optimizer, each step pulled towards Z - U
    Z <- Proj(W + U)
    U <- U + W - Z

The pull is decoupled from the loss, as AdamW's weight decay is: after each step W moves the share
1 - exp(-pull / steps of the stage) of the way to Z - U. So it means the same under every optimizer, learning
rate and loss scale. The coupled form, rho / 2 ||W - Z + U||^2 added to the loss, is there for comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch

from ..processes import check_same, from_rank_zero
from ..project import has_patterns
from ..spec import ConnectivitySpec, PatternSpec
from ..targets import Target, nominal_rate, with_rate
from .method import CoupledMethod, relative_distance

Projection = Callable[[torch.Tensor], torch.Tensor]


class AdmmMethod(CoupledMethod):
    """One auxiliary variable Z and one dual U for each constraint set of each target: one set (patterns and
    connectivity together), or the paper's two."""

    name: ClassVar[str] = "admm"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.stage = 0
        self.fixed = [self._places(target) for target in self.targets]
        self.sets = [self._sets(number) for number in range(len(self.targets))]
        self.z: list[list[torch.Tensor]] = []
        self.u: list[list[torch.Tensor]] = []
        self._begin_stage()

    @property
    def _strength(self) -> float:
        """rho / 2 of rho / 2 sum ||W - Z + U||^2."""
        return float(self.recipe.stages[self.stage] / 2)

    def _terms(self) -> Iterator[torch.Tensor]:
        """||W - Z + U||^2 of each variable (of the weights about to be cut alone where ``scope: cut``)."""
        for weight, z, u in self._variables():
            distance = weight - z + u
            if self.recipe.scope == "cut":
                distance = distance[z == 0]
            yield distance.square().sum()

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        if self.uses_penalty:
            return
        share = 1 - math.exp(-self.recipe.stages[self.stage] / self._steps_of(self.stage))
        for weight, z, u in self._variables():
            if self.recipe.scope == "cut":
                weight.copy_(torch.where(z == 0, torch.lerp(weight, z - u, share), weight))
            else:
                weight.lerp_(z - u, share)

    @torch.no_grad()
    def epoch_end(self, epoch: int) -> None:
        following = self._stage_of(epoch)
        if epoch % self.recipe.update == 0:
            self._update()
        if following != self.stage and epoch < self.recipe.epochs:
            self.stage = following
            self._begin_stage()

    def residuals(self) -> list[float]:
        """||W - Z|| / ||W|| of each target's first set: it should fall from stage to stage, and near 1 the
        dual has run away."""
        return [relative_distance(target.weight, z[0])
                for target, z in zip(self.targets, self.z, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        return {"stage": self.stage, "z": self.z, "u": self.u, "fixed": self.fixed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.targets[0].weight.device
        self.stage = state["stage"]
        self.z = [[z.to(device) for z in zs] for zs in state["z"]]
        self.u = [[u.to(device) for u in us] for us in state["u"]]
        self.fixed = [None if places is None else places.to(device) for places in state["fixed"]]

    # -- stages ----------------------------------------------------------------------------------------------

    def _stage_of(self, epoch: int) -> int:
        """The stage of epoch number ``epoch`` (from 0)."""
        return min(epoch * len(self.recipe.stages) // self.recipe.epochs, len(self.recipe.stages) - 1)

    def _steps_of(self, stage: int) -> int:
        epochs = sum(self._stage_of(epoch) == stage for epoch in range(self.recipe.epochs))
        return epochs * self.steps // self.recipe.epochs

    @torch.no_grad()
    def _begin_stage(self) -> None:
        """Z = Proj(W), U = 0."""
        self.z = [[project(target.weight) for project in sets]
                  for target, sets in zip(self.targets, self.sets, strict=True)]
        self.u = [[torch.zeros_like(z) for z in zs] for zs in self.z]
        self._agree()
        self._count()

    def _update(self) -> None:
        """Z = Proj(W + U), with a smaller library if it shrinks; then U += W - Z."""
        self._project()
        self._count()
        if any([library.shrink() for library in self.libraries]):
            self._project()
            self._count()
        for weight, z, u in self._variables():
            u += weight - z
        self._agree()

    def _project(self) -> None:
        for target, sets, zs, us in zip(self.targets, self.sets, self.z, self.u, strict=True):
            zs[:] = [project(target.weight + u) for project, u in zip(sets, us, strict=True)]

    def _agree(self) -> None:
        """All processes pull towards the same."""
        variables = [z for zs in self.z for z in zs]
        from_rank_zero(variables)
        check_same([*variables, *(u for us in self.u for u in us)], "auxiliary variables")

    def _count(self) -> None:
        for library in self.libraries:
            library.count(zs[0].cpu().numpy() for target, zs in zip(self.targets, self.z, strict=True)
                          if target.library is library)

    def _variables(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """(W, Z, U) of every set of every target."""
        for target, zs, us in zip(self.targets, self.z, self.u, strict=True):
            for z, u in zip(zs, us, strict=True):
                yield target.weight, z, u

    # -- constraint sets -------------------------------------------------------------------------------------

    def _sets(self, number: int) -> list[Projection]:
        """The projections of target ``number``."""
        target = self.targets[number]
        spec = target.spec
        rate = nominal_rate(spec, target.layer) if spec is not None else 1.0
        patterned = isinstance(spec, PatternSpec) and has_patterns(target.layer, spec)
        if self.recipe.sets == "joint" or not patterned or rate == 1:
            return [self._with_places(number, target.project)]
        assert isinstance(spec, PatternSpec)
        patterns = with_rate(spec, 1.0)
        connectivity = ConnectivitySpec(rate=rate, balance=spec.balance)
        return [self._with_places(number, lambda weight: target.project(weight, patterns)),
                lambda weight: target.project(weight, connectivity)]

    def _with_places(self, number: int, project: Projection) -> Projection:
        """``project`` restricted to each kernel's first pattern, where patterns are fixed."""
        def run(weight: torch.Tensor) -> torch.Tensor:
            places = self.fixed[number]
            return project(weight if places is None else weight * places)

        return run

    def _places(self, target: Target) -> torch.Tensor | None:
        """The places of each kernel's pattern now, where patterns stay as they are."""
        patterned = isinstance(target.spec, PatternSpec) and has_patterns(target.layer, target.spec)
        if self.recipe.patterns == "reassign" or not patterned:
            return None
        assert target.spec is not None
        return target.project(target.weight, with_rate(target.spec, 1.0)) != 0
