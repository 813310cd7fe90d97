"""The plain parts of a training: one step, an evaluation, batch norm's statistics estimated anew."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sized
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import distributed, nn

from ...errors import EspalierError
from ..tasks.task import Task
from .processes import rank, world
from .recipe import Distillation, Optimizer, Precision

BatchNorm = nn.modules.batchnorm._BatchNorm
ESTIMATED_ON = 50  # batches


def drawn(batches: Iterable[Any], part: str) -> Iterator[Any]:
    """``batches`` in turn. Raises ``EspalierError`` for whatever the user's code raises while it makes them,
    and where there are more or fewer than their length says."""
    found = 0
    expected = len(batches) if isinstance(batches, Sized) else None
    try:
        for batch in batches:
            found += 1
            if expected is not None and found > expected:
                break
            yield batch
    except EspalierError:
        raise
    except Exception as error:
        raise EspalierError(f"--data: the {part} data: {type(error).__name__}: {error}") from error
    if expected is not None and found != expected:
        gave = f"{found} batches" if found < expected else "more batches"
        raise EspalierError(f"--data: the {part} data gave {gave}, their length says {expected}")


def make_optimizer(model: nn.Module, recipe: Optimizer, rate: float) -> torch.optim.Optimizer:
    """The optimizer that ``recipe`` names over all trainable parameters of ``model``."""
    options = recipe.model_dump(exclude_none=True, exclude={"name", "clip"})
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        return getattr(torch.optim, recipe.name)(parameters, lr=rate, **options)
    except (TypeError, ValueError) as error:
        raise EspalierError(f"optimizer: {recipe.name}: {str(error).rpartition('__init__() ')[2]}") from error


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """The context that forward passes run in."""
    if precision.autocast == "none":
        return nullcontext()
    if precision.autocast == "fp16" and device.type == "cpu":
        raise EspalierError("precision: fp16 trains on a GPU only, found a CPU: bf16 or none")
    return torch.autocast(device.type, torch.bfloat16 if precision.autocast == "bf16" else torch.float16)


def moved(value: Any, device: torch.device) -> Any:
    """A batch (tensors in tuples, lists or dictionaries) on ``device``."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: moved(part, device) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(moved(part, device) for part in value)
    return value


def own_share(task: Task, batch: Any) -> Any:
    """The part of ``batch`` that this process works on."""
    return task.share(batch, rank(), world()) if world() > 1 else batch


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are; raises ``EspalierError`` for a model without any."""
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise EspalierError(f"{type(model).__name__} has no weights that could be pruned")
    return parameter.device


def distilled(loss: torch.Tensor, outputs: Any, teacher: Any, recipe: Distillation) -> torch.Tensor:
    """``loss`` mixed with the divergence from the teacher's classes (last dimension) at a temperature."""
    if not isinstance(outputs, torch.Tensor):
        raise EspalierError(f"retrain.distill needs a model with one tensor of logits, found "
                            f"{type(outputs).__name__}")
    heat = recipe.temperature
    classes = outputs.shape[-1]
    divergence = F.kl_div(F.log_softmax(outputs.float() / heat, -1).reshape(-1, classes),
                          F.log_softmax(teacher.float() / heat, -1).reshape(-1, classes),
                          reduction="batchmean", log_target=True)
    return (1 - recipe.weight) * loss + recipe.weight * heat * heat * divergence


@torch.no_grad()
def evaluate(model: nn.Module, task: Task, batches: Iterable[Any],
             precision: Precision | None = None) -> float:
    """The task's metric over ``batches``, each process working on its share; in evaluation mode, which is
    undone."""
    metric = copy.deepcopy(task.metric)
    metric.reset()
    device = device_of(model)
    metric.to(device)
    training = model.training
    model.eval()
    if world() > 1:  # each process has batch norm statistics of its own
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)
    for batch in drawn(batches, "validation or test"):
        batch = moved(own_share(task, batch), device)
        with autocast(precision or Precision(), device):
            outputs = model(*task.inputs(batch))
        metric.update(*task.scored(outputs, batch))
    model.train(training)
    return float(metric.compute()) * (100 if task.percent else 1)


@torch.no_grad()
def mean_loss(model: nn.Module, task: Task, batches: Iterable[Any]) -> float:
    """The mean loss over ``batches`` in evaluation mode, which is undone."""
    device = device_of(model)
    training = model.training
    model.eval()
    losses = []
    for batch in batches:
        batch = moved(batch, device)
        losses.append(float(task.loss(model(*task.inputs(batch)), batch)))
    model.train(training)
    return sum(losses) / len(losses)


@torch.no_grad()
def estimate_batch_norm(model: nn.Module, task: Task, batches: int = ESTIMATED_ON) -> None:
    """Batch norm's running statistics from ``batches`` training batches alone: those of the weights that were
    do not fit weights that are cut and not retrained."""
    norms = [module for module in model.modules()
             if isinstance(module, BatchNorm) and module.track_running_stats]
    if not norms:
        return
    training = model.training
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
    device = device_of(model)
    for batch in islice(drawn(task.train, "train"), batches):
        model(*task.inputs(moved(batch, device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(training)


def check_task(model: nn.Module, task: Task) -> None:
    """Tries one training batch and one validation batch; what the user's functions raise is bad input."""
    device = device_of(model)
    for part in ("train", "validation"):
        try:
            batch = moved(next(iter(getattr(task, part))), device)
            training = model.training
            model.eval()
            with torch.no_grad():
                outputs = model(*task.inputs(batch))
                loss = task.loss(outputs, batch)
                copy.deepcopy(task.metric).to(device).update(*task.scored(outputs, batch))
            model.train(training)
        except EspalierError:
            raise
        except Exception as error:  # user code may raise anything: its message is what helps
            raise EspalierError(f"--data: the model, loss or metric cannot take a {part} batch: "
                                f"{type(error).__name__}: {error}") from error
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            found = list(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise EspalierError(f"--data: the loss must be one number as a tensor, found {found}")
