"""A whole pruning run: baselines, the method's epochs, masks, retraining; resumable at any step.

Every epoch seeds all generators anew from the recipe's seed, and a checkpoint inside an epoch keeps their
states, so a run that was killed and resumed ends with the same bits as one that was not (on the CPU, with the
same number of processes). Several processes are started by torchrun; Accelerate joins them.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import distributed, nn

from ...errors import EspalierError
from ..tasks.task import Task
from .checkpoint import (
    generators,
    load_checkpoint,
    save_checkpoint,
    seed_generators,
    set_generators,
    versions,
)
from .loop import autocast, check_task, distilled, drawn, estimate_batch_norm, evaluate, make_optimizer
from .plan import projected
from .processes import check_same, digest, rank, world
from .recipe import Phase, Recipe
from .sparsifier import EpochRecord, LayerReport, Sparsifier
from .stepper import Stepper

BASELINE_SEED = 1 << 20  # an epoch number that no training reaches
DEFAULT_RATE = 0.05


@dataclass(frozen=True)
class RunOptions:
    """Where a run keeps its state. ``every``: optimizer steps between checkpoints inside an epoch (0: none);
    ``changed_recipe``: resume under another recipe of the same layers and method."""

    folder: Path | None = None
    resume: bool = False
    every: int = 0
    changed_recipe: bool = False


@dataclass(frozen=True)
class EpochLog:
    """A row of the log."""

    record: EpochRecord
    loss: float
    seconds: float


@dataclass(frozen=True)
class Step:
    """What a progress bar shows; ``epoch`` counts from 0, ``step`` within it from 1."""

    phase: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


@dataclass
class Outcome:
    """The metric at each point, where the run passed it: dense, projected at once, after the method's epochs,
    projected after them (both projected ones with batch norm estimated anew), retrained; test at the end."""

    dense: float | None = None
    one_shot: float | None = None
    regularised: float | None = None
    hard_pruned: float | None = None
    retrained: float | None = None
    dense_test: float | None = None
    test: float | None = None
    log: list[EpochLog] = field(default_factory=list)
    layers: list[LayerReport] = field(default_factory=list)


Listener = Callable[[Step | EpochLog], None]


class PruningRun:
    """Prunes ``model`` in place on ``task`` by ``recipe``. ``listen`` hears every step and epoch."""

    def __init__(self, model: nn.Module, task: Task, recipe: Recipe, options: RunOptions | None = None,
                 listen: Listener = lambda event: None) -> None:
        self.options = options or RunOptions()
        self.recipe = recipe
        self.task = task
        self.listen = listen
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.model = model.to(self.accelerator.device)
        autocast(recipe.precision, self.accelerator.device)  # fails now where it would fail later
        check_task(self.model, task)
        if world() > 1:
            check_same(list(self.model.parameters()), "weights")
        self.origin = digest(list(self.model.parameters()))
        self.teacher = self._teacher()
        self.steps = len(task.train)
        self.outcome = Outcome()
        self.dense = copy.deepcopy(self.model)
        optimizer = make_optimizer(self.model, recipe.optimizer, _first_rate(recipe))
        self.sparsifier = Sparsifier(self.model, recipe, optimizer=optimizer, steps_per_epoch=self.steps)
        wrapped = self.accelerator.prepare(self.model) if world() > 1 else self.model
        self.stepper = Stepper(wrapped, task, optimizer, recipe.optimizer, recipe.precision)
        self._losses: list[float] = []
        self._begun = time.perf_counter()

    def run(self) -> Outcome:
        """Trains to the end; the masks are in the model's weights then."""
        resumed = self._resume() if self.options.resume else None
        if resumed is None:
            self._baselines()
            if self.sparsifier.method.needs_data:
                self.sparsifier.calibrate(self.task)
                self.outcome.hard_pruned = self.evaluated()
        del self.dense
        self.model.train()
        for epoch in range(self.sparsifier.epoch, self.sparsifier.epochs):
            self._epoch(epoch, resumed)
            resumed = None
        self.outcome.layers = self.sparsifier.finish()
        self.outcome.retrained = self.evaluated()
        if self.task.test is not None:
            self.outcome.test = evaluate(self.model, self.task, self.task.test, self.recipe.precision)
        return self.outcome

    def evaluated(self, model: nn.Module | None = None) -> float:
        """The validation metric of ``model`` (default: the one in training)."""
        return evaluate(model or self.model, self.task, self.task.validation, self.recipe.precision)

    # -- epochs ----------------------------------------------------------------------------------------------

    def _epoch(self, epoch: int, resumed: dict[str, Any] | None) -> None:
        phase = self.sparsifier.phase
        for number, batch in self._batches(epoch, resumed):
            loss = self._step(batch, epoch, number)
            if not math.isfinite(loss):
                raise EspalierError(self._not_finite(loss, epoch, number))
            self._losses.append(loss)
            self.listen(Step(phase, epoch, self.sparsifier.epochs, number + 1, self.steps, loss))
            if self.options.every and (number + 1) % self.options.every == 0 and number + 1 < self.steps:
                self._save()
        metric = self.evaluated()
        record = self.sparsifier.epoch_end(metric)
        if phase == "regularise" and self.sparsifier.phase != "regularise":
            self.outcome.regularised = metric
            self.outcome.hard_pruned = self._without_retraining(self.model)
        now = time.perf_counter()
        log = EpochLog(record, sum(self._losses) / max(len(self._losses), 1), now - self._begun)
        self._begun = now
        self._losses = []
        self.outcome.log.append(log)
        self.listen(log)
        self._save()

    def _step(self, batch: Any, epoch: int, number: int) -> float:
        """One step; whatever the user's model, loss and batch raise is one line."""
        try:
            return self.stepper.step(batch, self._extra(epoch))
        except EspalierError:
            raise
        except Exception as error:
            raise EspalierError(f"step {number + 1} of epoch {epoch + 1}: {type(error).__name__}: "
                                f"{error}") from error

    def _batches(self, epoch: int, resumed: dict[str, Any] | None) -> Iterator[tuple[int, Any]]:
        """The epoch's batches with their numbers, from where a checkpoint inside the epoch was taken."""
        seed_generators(self.recipe.seed, epoch, self.task.train)
        batches = drawn(self.task.train, "train")
        begin = self.sparsifier.step
        for _ in range(begin):
            next(batches)
        if resumed is not None and begin:
            set_generators(resumed["generators"][rank()])
        yield from enumerate(batches, begin)

    def _extra(self, epoch: int) -> Callable[[torch.Tensor, Any, Any], torch.Tensor] | None:
        """What is added to the loss in this epoch: the coupled penalty, or the teacher's part."""
        if self.sparsifier.phase == "regularise":
            if not self.sparsifier.method.uses_penalty:
                return None
            return lambda loss, outputs, batch: loss + self.sparsifier.penalty()
        recipe = self.recipe.retrain.distill
        if recipe is None or self.teacher is None or epoch >= self.sparsifier.epochs - recipe.last:
            return None
        teacher = self.teacher

        def with_teacher(loss: torch.Tensor, outputs: Any, batch: Any) -> torch.Tensor:
            with torch.no_grad(), autocast(self.recipe.precision, self.stepper.device):
                taught = teacher(*self.task.inputs(batch))
            return distilled(loss, outputs, taught, recipe)

        return with_teacher

    def _teacher(self) -> nn.Module | None:
        if self.recipe.retrain.distill is None:
            return None
        return copy.deepcopy(self.model).requires_grad_(False).eval()

    def _not_finite(self, loss: float, epoch: int, number: int) -> str:
        """What to say when the loss is no number any more."""
        sizes = {name: float(weight.detach().abs().max()) for name, weight in self.model.named_parameters()}
        largest = max(sizes, key=lambda name: (math.isnan(sizes[name]), sizes[name]))
        kept = f"; the last checkpoint is in '{self.options.folder}'" if self.options.folder else ""
        return (f"the loss is {loss} in step {number + 1} of epoch {epoch + 1}; the largest weight is in "
                f"'{largest}' ({sizes[largest]:.3g}): a lower peak?{kept}")

    # -- points without retraining ---------------------------------------------------------------------------

    def _baselines(self) -> None:
        """The metric of the dense model and of its projection."""
        self.outcome.dense = self.evaluated(self.dense)
        if self.task.test is not None:
            self.outcome.dense_test = evaluate(self.dense, self.task, self.task.test, self.recipe.precision)
        self.outcome.one_shot = self._without_retraining(projected(self.dense, self.sparsifier.assignment))

    def _without_retraining(self, model: nn.Module) -> float:
        """The metric of a copy of ``model`` whose batch norm is estimated anew."""
        model = copy.deepcopy(model)
        seed_generators(self.recipe.seed, BASELINE_SEED, self.task.train)
        estimate_batch_norm(model, self.task)
        return self.evaluated(model)

    # -- checkpoints -----------------------------------------------------------------------------------------

    def _save(self) -> None:
        """A checkpoint of everything, written by process 0."""
        if self.options.folder is None:
            return
        states: list[Any] = [generators()]
        if world() > 1:
            states = [None] * world()
            distributed.all_gather_object(states, generators())
        sparsifier = self.sparsifier
        if rank() == 0:
            save_checkpoint(self.options.folder, sparsifier.epoch * self.steps + sparsifier.step, {
                "origin": self.origin, "versions": versions(), "processes": world(), "generators": states,
                "model": self.model.state_dict(), "optimizer": sparsifier.optimizer.state_dict(),
                "scaler": self.stepper.scaler.state_dict(), "sparsifier": sparsifier.state_dict(),
                "outcome": _outcome_state(self.outcome), "losses": self._losses})
        if world() > 1:
            distributed.barrier()

    def _resume(self) -> dict[str, Any] | None:
        """Takes up the newest checkpoint; None where the folder holds none yet."""
        assert self.options.folder is not None
        state = load_checkpoint(self.options.folder)
        if state["origin"] != self.origin:
            raise EspalierError(f"the checkpoint in '{self.options.folder}' began from another model or "
                                f"other weights")
        if state["processes"] != world():
            raise EspalierError(f"the checkpoint was made by {state['processes']} processes, found {world()}")
        if state["versions"] != versions():
            raise EspalierError(f"the checkpoint was made with {state['versions']}, found {versions()}")
        self.sparsifier.load_state_dict(state["sparsifier"], changed_recipe=self.options.changed_recipe)
        self.model.load_state_dict(state["model"])
        rates = [group["lr"] for group in self.sparsifier.optimizer.param_groups]
        self.sparsifier.optimizer.load_state_dict(state["optimizer"])
        for group, rate in zip(self.sparsifier.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate  # the sparsifier's, which a changed recipe may have changed
        self.stepper.scaler.load_state_dict(state["scaler"])
        self.outcome = _outcome_of(state["outcome"])
        self._losses = list(state["losses"])
        return state


def seconds_per_epoch(model: nn.Module, task: Task, recipe: Recipe) -> float:
    """About how long an epoch takes here, validation included: a copy of ``model`` makes two training steps
    and one evaluation of a batch."""
    trained = copy.deepcopy(model)
    check_task(trained, task)
    optimizer = make_optimizer(trained, recipe.optimizer, DEFAULT_RATE)
    stepper = Stepper(trained, task, optimizer, recipe.optimizer, recipe.precision)
    batch = next(iter(task.train))
    stepper.step(batch)  # the first one also pays for memory
    begun = time.perf_counter()
    stepper.step(batch)
    step = time.perf_counter() - begun
    begun = time.perf_counter()
    evaluate(trained, task, [next(iter(task.validation))], recipe.precision)
    return step * len(task.train) + (time.perf_counter() - begun) * len(task.validation)


def _first_rate(recipe: Recipe) -> float:
    """The optimizer's learning rate before the sparsifier sets any."""
    part = recipe.method if isinstance(recipe.method, Phase) else recipe.retrain
    return part.peak or recipe.retrain.peak or DEFAULT_RATE


def _outcome_state(outcome: Outcome) -> dict[str, Any]:
    return {**asdict(replace(outcome, layers=[]))}


def _outcome_of(state: dict[str, Any]) -> Outcome:
    log = [EpochLog(EpochRecord.of(row["record"]), row["loss"], row["seconds"]) for row in state["log"]]
    return Outcome(**{**state, "log": log})
