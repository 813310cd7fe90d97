"""Pruning inside a training loop: masks and auxiliary variables live here, the model stays as it is.

    sparsifier = Sparsifier(model, "recipe.yaml", optimizer=optimizer, steps_per_epoch=len(loader))
    for epoch in range(sparsifier.epochs):
        for batch in loader:
            ...                              # loss, backward, optimizer.step()
        sparsifier.epoch_end(metric=validate(model))
    sparsifier.finish()

A hook on the optimizer changes the weights in place after each step: towards their constraint sets in the
method's epochs, by their masks in the epochs of retraining.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import nn

from ...sparse_dialect.errors import EspalierError
from ..tasks.task import Task
from .layerwise.reconstruct import reconstruct
from .loop import estimate_batch_norm
from .methods import make_method
from .processes import check_same, from_rank_zero
from .recipe import Layerwise, Phase, Recipe, load_recipe, recipe_differences
from .schedule import rate_factor
from .targets import Target, assign, check_mask

STATE_VERSION = 1


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch ended with; ``residual``: the mean of the layers' distances, None under masks."""

    epoch: int
    phase: str
    metric: float | None
    residual: float | None
    learning_rate: float
    frequencies: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> EpochRecord:
        """The record whose ``asdict`` was kept in a checkpoint."""
        return cls(**{**state, "frequencies": tuple(map(tuple, state["frequencies"]))})


@dataclass(frozen=True)
class LayerReport:
    """A pruned layer: the rate its rule asks for, and what is kept now."""

    name: str
    scheme: str
    shape: tuple[int, ...]
    asked: float
    kept: int
    decided_by: str

    @property
    def rate(self) -> float:
        """One weight in so many is not zero."""
        return float(np.prod(self.shape)) / max(self.kept, 1)


class Sparsifier:
    """Prunes ``model`` by ``recipe`` while the user's own loop trains it.

    ``model``: a module, also wrapped by DistributedDataParallel or torch.compile. ``recipe``: a file, a
    mapping or a ``Recipe``. ``optimizer``: torch's, holding every pruned weight. ``steps_per_epoch``:
    optimizer steps, so batches divided by the accumulation. Where the recipe gives a ``peak`` the sparsifier
    sets the learning rate, and a scheduler must not. Raises ``EspalierError`` in one line for everything that
    cannot be trained as the recipe asks.
    """

    def __init__(self, model: nn.Module, recipe: str | Path | Mapping[str, Any] | Recipe, *,
                 optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> None:
        if steps_per_epoch < 1:
            raise EspalierError(f"steps_per_epoch must be at least 1, found {steps_per_epoch}")
        self.recipe = load_recipe(recipe)
        self.model = unwrapped(model)
        self.steps_per_epoch = steps_per_epoch
        self.assignment = assign(self.model, self.recipe)
        self.targets = self.assignment.targets
        self.optimizer = _plain_optimizer(optimizer)
        _check_optimizer(self.optimizer, self.targets)
        rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._shares = [rate / max(rates) if max(rates) > 0 else 1.0 for rate in rates]
        self._set_rates: list[float] | None = None
        self.masks: list[torch.Tensor] | None = None
        self._zeros = [target.weight.detach() != 0 for target in self.targets] if (
            self.recipe.start == "from_zeros") else None
        self.method = make_method(self.recipe, self.targets, self.assignment.libraries, steps_per_epoch)
        self.epoch = 0
        self.step = 0
        self.history: list[EpochRecord] = []
        self._penalty_used = False
        check_same([target.weight for target in self.targets], "weights")
        self._hook = self.optimizer.register_step_post_hook(self._after_step)
        if self.recipe.method.epochs == 0 and not self.method.needs_data:
            self._harden()
        self._set_learning_rate()

    @property
    def epochs(self) -> int:
        """Epochs in all: the method's and those of retraining."""
        return self.recipe.method.epochs + self.recipe.retrain.epochs

    @property
    def phase(self) -> Literal["regularise", "retrain", "done"]:
        """Where the training is; ``done`` after the last epoch."""
        if self.epoch < self.recipe.method.epochs:
            return "regularise"
        return "retrain" if self.epoch < self.epochs else "done"

    def calibrate(self, task: Task) -> None:
        """Makes the masks of a method that needs data (``layerwise``) from the task's training samples, and
        estimates batch norm anew; before the first step. Other methods need no such call."""
        method = self.recipe.method
        if not isinstance(method, Layerwise):
            raise EspalierError(f"calibrate is for the method layerwise, found {method.name}")
        for library in self.assignment.libraries:
            library.finish()
        masks = reconstruct(self.model, self.targets, task, seed=self.recipe.seed, samples=method.samples,
                            damping=method.damping)
        from_rank_zero([*masks, *(target.weight.data for target in self.targets)])
        self._make_masks(masks)
        estimate_batch_norm(self.model, task)

    def penalty(self) -> torch.Tensor:
        """The coupled form's term for the loss; zero where the recipe has ``penalty: decoupled``."""
        self._penalty_used = True
        value = self.method.penalty() if self.phase == "regularise" else None
        return value if value is not None else torch.zeros((), device=self.targets[0].weight.device)

    def epoch_end(self, metric: float | None = None) -> EpochRecord:
        """Ends an epoch: updates the method's variables, makes the masks after its last. ``metric`` is kept
        in ``history``. Raises ``EspalierError`` where the epoch's steps were not seen."""
        if self.phase == "done":
            raise EspalierError(f"epoch_end: all {self.epochs} epochs are over; call finish()")
        self._check_steps()
        self.step = 0
        phase = self.phase
        residual: float | None = None
        if phase == "regularise":
            with torch.no_grad():
                self.method.epoch_end(self.epoch + 1)
                residual = float(np.mean(self.method.residuals()))
        frequencies = tuple(library.frequencies for library in self.assignment.libraries)
        record = EpochRecord(self.epoch + 1, phase, metric, residual, self._learning_rate(), frequencies)
        self.history.append(record)
        self.epoch += 1
        if phase == "regularise" and self.epoch == self.recipe.method.epochs:
            self._harden()
        self._penalty_used = False
        self._set_learning_rate()
        return record

    def finish(self) -> list[LayerReport]:
        """Takes the hook away and checks every layer: zeros exact, masks what the schemes can store."""
        if self.masks is None:
            self._check_calibrated()
            raise EspalierError(f"finish: after {self.epoch} of {self.recipe.method.epochs} epochs of "
                                f"{self.method.name} the weights are not pruned yet")
        self._hook.remove()
        self._apply_masks()
        for target, mask in zip(self.targets, self.masks, strict=True):
            check_mask(target, mask)
        check_same([target.weight for target in self.targets], "weights")
        return self.report()

    def report(self) -> list[LayerReport]:
        """A row for each pruned layer."""
        return [LayerReport(target.name, target.spec.name if target.spec else "as it came",
                            tuple(target.weight.shape), target.rate,
                            int(torch.count_nonzero(target.weight)), target.decided_by)
                for target in self.targets]

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values: ``torch.load(weights_only=True)`` reads them back."""
        return {"version": STATE_VERSION, "recipe": self.recipe.model_dump(mode="json"),
                "layers": {target.name: list(target.weight.shape) for target in self.targets},
                "epoch": self.epoch, "step": self.step, "masks": self.masks, "zeros": self._zeros,
                "steps_per_epoch": self.steps_per_epoch, "method": self.method.state_dict(),
                "libraries": [library.state_dict() for library in self.assignment.libraries],
                "history": [asdict(record) for record in self.history]}

    def load_state_dict(self, state: Mapping[str, Any], *, changed_recipe: bool = False) -> None:
        """Goes on where ``state`` was taken; with ``changed_recipe`` also under another recipe for the same
        layers and method. Raises ``EspalierError`` that names the first difference."""
        self._check_state(state, changed_recipe)
        devices = [target.weight.device for target in self.targets]
        self.epoch, self.step = state["epoch"], state["step"]
        self.masks = _moved(state["masks"], devices)
        self._zeros = _moved(state["zeros"], devices)
        for library, kept in zip(self.assignment.libraries, state["libraries"], strict=True):
            library.load_state_dict(kept)
        self.method.load_state_dict(state["method"])
        self.history = [EpochRecord.of(record) for record in state["history"]]
        self._set_learning_rate()

    # -- inside the loop -------------------------------------------------------------------------------------

    @torch.no_grad()
    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if self.phase == "done":
            raise EspalierError(f"a step after all {self.epochs} epochs: call finish() first")
        self._check_calibrated()
        self._check_learning_rate()
        self.step += 1
        if self.step > self.steps_per_epoch:
            raise EspalierError(f"more than steps_per_epoch = {self.steps_per_epoch} optimizer steps without "
                                f"epoch_end()")
        if self.phase == "regularise":
            self.method.after_step(self.epoch * self.steps_per_epoch + self.step)
            self._keep_zeros()
        else:
            self._apply_masks()
        self._set_learning_rate()

    @torch.no_grad()
    def _harden(self) -> None:
        """Makes the masks: each weight becomes its projection."""
        self.method.before_masks()
        for library in self.assignment.libraries:
            library.finish()
        projected = [target.project(target.weight) for target in self.targets]
        masks = [weight != 0 for weight in projected]
        from_rank_zero(masks)
        self._make_masks(masks)

    @torch.no_grad()
    def _make_masks(self, masks: list[torch.Tensor]) -> None:
        """Takes ``masks`` for good, and counts the patterns in them."""
        check_same(masks, "masks")
        self.masks = masks
        self._apply_masks()
        for library in self.assignment.libraries:
            library.count(target.weight.detach().cpu().numpy() for target in self.targets
                          if target.library is library)

    @torch.no_grad()
    def _apply_masks(self) -> None:
        assert self.masks is not None
        for target, mask in zip(self.targets, self.masks, strict=True):
            target.weight.masked_fill_(~mask, 0.0)  # a product would leave zeros with a sign

    def _keep_zeros(self) -> None:
        if self._zeros is not None:
            for target, kept in zip(self.targets, self._zeros, strict=True):
                target.weight.masked_fill_(~kept, 0.0)

    # -- learning rate ---------------------------------------------------------------------------------------

    def _current(self) -> tuple[Phase | None, float]:
        """The running phase's curve and the share of it that is done."""
        first = self.recipe.method.epochs
        part, begun = (self.recipe.method, 0) if self.epoch < first else (self.recipe.retrain, first)
        if not isinstance(part, Phase):
            return None, 0.0
        done = (self.epoch - begun + self.step / self.steps_per_epoch) / max(part.epochs, 1)
        return part, min(done, 1.0)

    def _set_learning_rate(self) -> None:
        part, done = self._current()
        self._set_rates = None
        if part is None or part.peak is None or self.phase == "done":
            return
        self._set_rates = [part.peak * share * rate_factor(part, done) for share in self._shares]
        for group, rate in zip(self.optimizer.param_groups, self._set_rates, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def _check_learning_rate(self) -> None:
        """Two masters of one learning rate would end as neither asked."""
        if self._set_rates is None:
            return
        for group, rate in zip(self.optimizer.param_groups, self._set_rates, strict=True):
            if abs(float(group["lr"]) - rate) > 1e-6 * rate:
                raise EspalierError(f"the recipe's peak sets the learning rate to {rate:.3g}, but something "
                                    f"else (a scheduler?) made it {float(group['lr']):.3g}: leave out one")

    def _learning_rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    # -- checks ----------------------------------------------------------------------------------------------

    def _check_calibrated(self) -> None:
        if self.masks is None and self.method.needs_data:
            raise EspalierError(f"the method {self.method.name} prunes by data: call calibrate(task) first")

    def _check_steps(self) -> None:
        if self.step == 0:
            raise EspalierError("epoch_end: the optimizer made no step in this epoch; is it the one that the "
                                "sparsifier was given?")
        if 2 * self.step < self.steps_per_epoch:
            raise EspalierError(f"epoch_end: {self.step} optimizer steps in this epoch, expected "
                                f"steps_per_epoch = {self.steps_per_epoch} (accumulated batches count once)")
        if self.phase == "regularise" and self.method.uses_penalty and not self._penalty_used:
            raise EspalierError("epoch_end: penalty: coupled needs sparsifier.penalty() added to the loss")

    def _check_state(self, state: Mapping[str, Any], changed_recipe: bool) -> None:
        if state.get("version") != STATE_VERSION:
            raise EspalierError(f"a sparsifier state of version {state.get('version')}, expected "
                                f"{STATE_VERSION}")
        layers = {target.name: list(target.weight.shape) for target in self.targets}
        for name in dict.fromkeys([*layers, *state["layers"]]):
            here, there = layers.get(name), state["layers"].get(name)
            if here != there:
                raise EspalierError(f"the state is of another model: layer '{name}' is "
                                    f"{there or 'not in it'}, here {here or 'not pruned'}")
        differences = recipe_differences(state["recipe"], self.recipe.model_dump(mode="json"))
        fixed = [d for d in differences if d.startswith(("method.name", "start", "library", "layers"))]
        if differences and (not changed_recipe or fixed):
            raise EspalierError(f"the recipe has changed: {(fixed or differences)[0]}")
        if state["steps_per_epoch"] != self.steps_per_epoch:
            raise EspalierError(f"the state has {state['steps_per_epoch']} steps an epoch, found "
                                f"{self.steps_per_epoch}: other data or another batch size")


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's module inside torch's wrappers; raises ``EspalierError`` for those that split weights."""
    while True:
        kind = type(model).__name__
        if kind in ("FullyShardedDataParallel", "FSDPModule"):
            raise EspalierError("FSDP and tensor parallel split weights and are not supported: use "
                                "DistributedDataParallel")
        if kind in ("DistributedDataParallel", "DataParallel"):
            model = cast(nn.Module, model.module)
        elif kind == "OptimizedModule":
            model = cast(nn.Module, model._orig_mod)
        else:
            return model


def _plain_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """torch's own optimizer inside Accelerate's or Lightning's wrapper."""
    inner = getattr(optimizer, "optimizer", None)
    return _plain_optimizer(inner) if isinstance(inner, torch.optim.Optimizer) else optimizer


def _check_optimizer(optimizer: torch.optim.Optimizer, targets: list[Target]) -> None:
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for target in targets:
        if id(target.weight) not in held:
            raise EspalierError(f"the optimizer does not hold the weight of layer '{target.name}': make it "
                                f"from this model's parameters")


def _moved(tensors: list[torch.Tensor] | None, devices: list[torch.device]) -> list[torch.Tensor] | None:
    if tensors is None:
        return None
    return [tensor.to(device) for tensor, device in zip(tensors, devices, strict=True)]
