"""Gradual pruning: a rate that rises along a cubic curve (Zhu and Gupta 2017)."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..targets import nominal_rate, with_rate
from .method import Method


class GradualMethod(Method):
    """Weights are cut every few steps at the rate that stands, and may grow back until the next cut."""

    name: ClassVar[str] = "gradual"

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        if step % self.recipe.every and step != self.steps:
            return
        done = min(1.0, step / (self.steps * self.recipe.until))
        for target in self.targets:
            if target.spec is not None:
                rate = rising_rate(nominal_rate(target.spec, target.layer), done)
                target.weight.copy_(target.project(target.weight, with_rate(target.spec, rate)))

    def epoch_end(self, epoch: int) -> None:
        """Nothing: the steps did it."""


def rising_rate(final: float, done: float) -> float:
    """The rate after the share ``done``: the share of kept weights falls from 1 to 1 / ``final``."""
    kept = 1 / final + (1 - 1 / final) * (1 - done) ** 3
    return 1 / kept
