"""Reweighted group lasso (RT3D, AAAI 2021, section 4): groups that are small are pushed to zero.

    R(W) = lambda sum_g alpha_g ||W_g||^2        alpha_g <- m / (||W_g||^2 + eps m)

m is the layer's mean of ||W_g||^2, which makes lambda mean the same in every layer. Decoupled, each step
divides W_g by 1 + strength / steps * alpha_g, so that an average group decays by exp(-strength) in all unless
the loss holds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch

from ..targets import nominal_rate, with_rate
from .groups import group_energies
from .method import CoupledMethod

TINY = 1e-30


class ReweightedMethod(CoupledMethod):
    """``alphas``: the weight of each target's penalty, in the weight's shape, renewed every few epochs."""

    name: ClassVar[str] = "reweighted"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.alphas: list[torch.Tensor] = []
        self._renew()

    @property
    def _strength(self) -> float:
        """lambda of lambda sum alpha W^2."""
        return float(self.recipe.strength)

    def _terms(self) -> Iterator[torch.Tensor]:
        for target, alpha in zip(self.targets, self.alphas, strict=True):
            yield (alpha * target.weight.square()).sum()

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        if self.uses_penalty:
            return
        for target, alpha in zip(self.targets, self.alphas, strict=True):
            target.weight.div_(1 + alpha * (self.recipe.strength / self.steps))

    def epoch_end(self, epoch: int) -> None:
        if epoch % self.recipe.update == 0:
            self._renew()

    @torch.no_grad()
    def before_masks(self) -> None:
        """With one threshold over the net, every layer's rate becomes what lies above it."""
        if self.recipe.threshold == "layer":
            return
        relative = [self._relative(number) for number in range(len(self.targets))]
        chosen = [number for number, values in enumerate(relative) if values is not None]
        if not chosen:
            return
        values = torch.cat([value.flatten() for value in relative if value is not None])
        kept = sum(self.targets[number].weight.numel() / self._rate(number) for number in chosen)
        threshold = values.kthvalue(max(1, len(values) - round(kept) + 1)).values
        for number in chosen:
            target = self.targets[number]
            value = relative[number]
            assert value is not None
            assert target.spec is not None
            above = int(torch.count_nonzero(value >= threshold))
            target.spec = with_rate(target.spec, max(1.0, value.numel() / max(above, 1)))

    def _rate(self, number: int) -> float:
        """The rate that the rule asks of a target's groups."""
        target = self.targets[number]
        return nominal_rate(target.spec, target.layer) if target.spec is not None else 1.0

    def _relative(self, number: int) -> torch.Tensor | None:
        """Each weight's group energy over the layer's mean; None where the target cuts no groups."""
        energies = group_energies(self.targets[number]) if self._rate(number) > 1 else []
        return energies[0].squares / energies[0].mean.clamp_min(TINY) if energies else None

    @torch.no_grad()
    def _renew(self) -> None:
        self.alphas = []
        for target in self.targets:
            alpha = torch.zeros_like(target.weight)
            for squares, mean in group_energies(target):
                alpha += mean.clamp_min(TINY) / (squares + self.recipe.eps * mean.clamp_min(TINY))
            self.alphas.append(alpha)

    def state_dict(self) -> dict[str, Any]:
        return {"alphas": self.alphas}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.alphas = [alpha.to(target.weight.device)
                       for alpha, target in zip(state["alphas"], self.targets, strict=True)]
