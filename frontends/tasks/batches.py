"""Batches of tensors that fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

Augment = Callable[[torch.Tensor], torch.Tensor]


class TensorBatches:
    """``(x, y)`` batches of ``size`` items; shuffled anew each time where ``shuffle``, then without the
    incomplete last batch, so that all steps weigh alike. ``augment`` changes a batch's x."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, size: int, *, shuffle: bool = False,
                 augment: Augment | None = None) -> None:
        self.x = x
        self.y = y
        self.size = min(size, len(x)) if len(x) else size
        self.shuffle = shuffle
        self.augment = augment

    def __len__(self) -> int:
        return len(self.x) // self.size if self.shuffle else -(-len(self.x) // self.size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(self.x)) if self.shuffle else torch.arange(len(self.x))
        for number in range(len(self)):
            at = order[number * self.size : (number + 1) * self.size]
            x = self.x[at]
            yield (self.augment(x) if self.augment else x), self.y[at]


def flipped_and_shifted(x: torch.Tensor) -> torch.Tensor:
    """Images [N, C, H, W], half of them mirrored, all moved by up to two pixels the same way."""
    mirrored = torch.rand(len(x)) < 0.5
    x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
    down, right = torch.randint(-2, 3, (2,)).tolist()
    return torch.roll(x, (down, right), (2, 3))
