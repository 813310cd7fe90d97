"""What a training needs to know of its data: batches, loss and metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F

from ...errors import EspalierError

if TYPE_CHECKING:
    from torchmetrics import Metric


class Batches(Iterable[Any], Sized, Protocol):
    """Batches in any container with a length that can be gone through once an epoch, such as a DataLoader.

    Shuffling and augmentation draw from torch's, numpy's and Python's own generators, which are seeded for
    each epoch, so that a run can be repeated and resumed.
    """


def first(batch: Any) -> tuple[Any, ...]:
    """The inputs of an ``(x, y)`` batch."""
    return (batch[0],)


def cross_entropy(outputs: torch.Tensor, batch: Any) -> torch.Tensor:
    """The mean cross entropy of logits [N, classes] and the labels of an ``(x, y)`` batch."""
    return F.cross_entropy(outputs.float(), batch[1])


def with_labels(outputs: torch.Tensor, batch: Any) -> tuple[Any, ...]:
    """What an accuracy compares: logits and the labels of an ``(x, y)`` batch."""
    return outputs.float(), batch[1]


def halves(batch: Any, rank: int, world: int) -> Any:
    """This process's share of an ``(x, y, ...)`` batch: every tensor is cut along its first dimension."""
    sizes = {len(part) for part in batch}
    if len(sizes) != 1:
        raise EspalierError(f"batches whose parts differ in length ({sorted(sizes)}) need the task's own "
                            f"`share` to be split over {world} processes")
    return type(batch)(part.tensor_split(world)[rank] for part in batch)


def accuracy() -> Metric:
    """The share of right classes."""
    from torchmetrics.classification import MulticlassAccuracy  # takes seconds: it imports transformers

    return MulticlassAccuracy(average="micro")


@dataclass(frozen=True)
class Task:
    """
    Data, loss and metric of a training.

    ``inputs(batch)``: the model's arguments. ``loss(outputs, batch)``: a scalar. ``metric``: torchmetrics',
    updated with what ``scored(outputs, batch)`` gives; ``higher_is_better`` says its direction, which must
    not contradict the metric's own. ``percent``: the metric is a share, shown times 100. ``share(batch, rank,
    world)``: one process's part of a batch.
    """

    train: Batches
    validation: Batches
    test: Batches | None = None
    loss: Callable[[Any, Any], torch.Tensor] = cross_entropy
    metric: Metric = field(default_factory=accuracy)
    higher_is_better: bool = True
    percent: bool = True
    inputs: Callable[[Any], tuple[Any, ...]] = first
    scored: Callable[[Any, Any], tuple[Any, ...]] = with_labels
    share: Callable[[Any, int, int], Any] = halves
    name: str = "metric"

    def __post_init__(self) -> None:
        own = getattr(self.metric, "higher_is_better", None)
        if own is not None and own != self.higher_is_better:
            better = "higher" if own else "lower"
            raise EspalierError(f"the task says higher_is_better={self.higher_is_better}, but of its metric "
                                f"{type(self.metric).__name__} {better} is better")
        for part in ("train", "validation", "test"):
            batches = getattr(self, part)
            if batches is None and part == "test":
                continue
            if not hasattr(batches, "__len__") or not hasattr(batches, "__iter__"):
                raise EspalierError(f"the task's {part} batches need a length and an iterator, found "
                                    f"{type(batches).__name__}")
            if len(batches) == 0:
                raise EspalierError(f"the task's {part} data hold no batch")

    def better(self, first: float, second: float) -> bool:
        """Whether the metric ``first`` is better than ``second``."""
        return first > second if self.higher_is_better else first < second
