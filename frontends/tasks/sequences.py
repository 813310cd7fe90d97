"""Sequences that become phonemes: batches padded to the longest, CTC's loss, the phoneme error rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ...errors import EspalierError
from .task import Batches, Task

BLANK = 0
SPARE = 8  # batches are cut from this many batches' items, sorted by length, so that little is padded

Item = tuple[torch.Tensor, Sequence[int]]  # input [T, ...] and its phonemes, from 1
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class SequenceBatches:
    """Batches (x [T, N, ...], lengths [N], phonemes [sum], phoneme counts [N]), all integers i64."""

    def __init__(self, items: Sequence[Item], size: int, *, shuffle: bool = False) -> None:
        self.items = items
        self.size = min(size, len(items)) if items else size
        self.shuffle = shuffle

    def __len__(self) -> int:
        count = len(self.items)
        return count // self.size if self.shuffle else -(-count // self.size)

    def __iter__(self) -> Iterator[Batch]:
        count = len(self.items)
        order = (torch.randperm(count) if self.shuffle else torch.arange(count)).tolist()
        pool = SPARE * self.size
        order = [at for begin in range(0, count, pool)
                 for at in sorted(order[begin : begin + pool], key=lambda at: len(self.items[at][0]))]
        starts = [number * self.size for number in range(len(self))]
        if self.shuffle:
            starts = [starts[at] for at in torch.randperm(len(starts)).tolist()]
        for begin in starts:
            yield padded([self.items[at] for at in order[begin : begin + self.size]])


def padded(items: Sequence[Item]) -> Batch:
    """One batch of ``items``, zeros behind the shorter ones."""
    x = nn.utils.rnn.pad_sequence([item[0] for item in items])
    lengths = torch.tensor([len(item[0]) for item in items])
    phonemes = torch.tensor([phoneme for item in items for phoneme in item[1]], dtype=torch.long)
    return x, lengths, phonemes, torch.tensor([len(item[1]) for item in items])


def ctc_loss(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Connectionist temporal classification (Graves et al. 2006) of logits [T, N, phonemes]."""
    _, lengths, phonemes, counts = batch
    return F.ctc_loss(outputs.float().log_softmax(-1), phonemes, lengths, counts, BLANK, zero_infinity=True)


def words_of(outputs: torch.Tensor, batch: Batch) -> tuple[list[str], list[str]]:
    """The best path's phonemes and the right ones, as texts that torchmetrics' word error rate compares."""
    _, lengths, phonemes, counts = batch
    found = []
    for best, length in zip(outputs.argmax(-1).T, lengths.tolist(), strict=True):
        merged = torch.unique_consecutive(best[:length])
        found.append(" ".join(map(str, merged[merged != BLANK].tolist())))
    right = [" ".join(map(str, part.tolist())) for part in phonemes.split(counts.tolist())]
    return found, right


def own_part(batch: Batch, rank: int, world: int) -> Batch:
    """One process's share: batches are cut along N, phonemes along with them."""
    x, lengths, phonemes, counts = batch
    mine = torch.arange(len(lengths)).tensor_split(world)[rank]
    parts = phonemes.split(counts.tolist())
    own = torch.cat([parts[at] for at in mine.tolist()]) if len(mine) else phonemes[:0]
    return x[:, mine], lengths[mine], own, counts[mine]


def phoneme_task(train: Batches, validation: Batches, test: Batches | None) -> Task:
    """A task whose metric is the phoneme error in percent: lower is better."""
    from torchmetrics.text import WordErrorRate

    return Task(train, validation, test, loss=ctc_loss, metric=WordErrorRate(), higher_is_better=False,
                scored=words_of, share=own_part, name="phoneme error")


def check_enough(name: str, wanted: int, found: int) -> None:
    """Raises ``EspalierError`` where a data set has less than what is asked of it."""
    if not 1 <= wanted <= found:
        raise EspalierError(f"{name} has 1 to {found} to train on, found {wanted}")


def as_item(x: Any, phonemes: Sequence[int]) -> Item:
    """An item of anything that torch takes."""
    return torch.as_tensor(x), list(phonemes)
