"""The learning rate of a phase: a linear rise, then down along a line or half a cosine."""

from __future__ import annotations

import math

from .recipe import Phase


def rate_factor(phase: Phase, done: float) -> float:
    """The share of the peak after the share ``done`` (0 to 1) of the phase."""
    if done < phase.warmup:
        return max(phase.floor, done / phase.warmup)
    left = (1 - done) / (1 - phase.warmup) if phase.warmup < 1 else 0.0
    if phase.shape == "cosine":
        left = (1 - math.cos(math.pi * left)) / 2
    return max(phase.floor, left)


def mean_factor(phase: Phase, steps: int = 1000) -> float:
    """The mean of ``rate_factor`` over the phase."""
    return sum(rate_factor(phase, (step + 0.5) / steps) for step in range(steps)) / steps
