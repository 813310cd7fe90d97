"""One optimizer step: forward under autocast, loss, backward, clipping; and a dense training made of such."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ...errors import EspalierError
from ..tasks.task import Task
from .checkpoint import seed_generators
from .loop import autocast, device_of, make_optimizer, moved, own_share
from .recipe import Optimizer, Phase, Precision
from .schedule import rate_factor

Extra = Callable[[torch.Tensor, Any, Any], torch.Tensor]  # (loss, outputs, batch) -> loss


class Stepper:
    """Makes optimizer steps on a model, also a DistributedDataParallel one, in the recipe's precision."""

    def __init__(self, model: nn.Module, task: Task, optimizer: torch.optim.Optimizer, recipe: Optimizer,
                 precision: Precision) -> None:
        self.model = model
        self.task = task
        self.optimizer = optimizer
        self.clip = recipe.clip
        self.precision = precision
        self.device = device_of(model)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision.autocast == "fp16")

    def step(self, batch: Any, extra: Extra | None = None) -> float:
        """One step on this process's share of ``batch``; the loss, which may be NaN: then nothing is changed.
        ``extra`` may add to the loss."""
        batch = moved(own_share(self.task, batch), self.device)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.precision, self.device):
            outputs = self.model(*self.task.inputs(batch))
        loss = self.task.loss(outputs, batch)
        if extra is not None:
            loss = extra(loss, outputs, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            return value
        self.scaler.scale(loss).backward()
        if self.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return value


def train_dense(model: nn.Module, task: Task, phase: Phase, *, optimizer: Optimizer | None = None,
                precision: Precision | None = None, seed: int = 0,
                progress: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Trains ``model`` in place for the epochs of ``phase``, under its learning-rate curve, without pruning
    anything: what a recipe starts from. ``progress`` hears (steps done, all steps)."""
    optimizer = optimizer or Optimizer()
    peak = phase.peak or 0.1
    made = make_optimizer(model, optimizer, peak)
    stepper = Stepper(model, task, made, optimizer, precision or Precision())
    total = phase.epochs * len(task.train)
    model.train()
    for epoch in range(phase.epochs):
        seed_generators(seed, epoch, task.train)
        for number, batch in enumerate(task.train, epoch * len(task.train)):
            for group in made.param_groups:
                group["lr"] = peak * rate_factor(phase, number / total)
            loss = stepper.step(batch)
            if not math.isfinite(loss):
                raise EspalierError(f"the loss is {loss} in step {number} of the dense training: "
                                    f"a lower peak?")
            progress(number + 1, total)
