"""Several training processes: what rank 0 decides the others take, and that all hold the same is checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import distributed

from ...sparse_dialect.errors import EspalierError


def world() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """This process's number among them."""
    return distributed.get_rank() if world() > 1 else 0


def from_rank_zero(tensors: Sequence[torch.Tensor]) -> None:
    """Overwrites ``tensors`` in place by rank 0's."""
    if world() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, src=0)


def check_same(tensors: Sequence[torch.Tensor], what: str) -> None:
    """Raises ``EspalierError`` in every process where one holds other values than rank 0."""
    if world() == 1:
        return
    digests: list[str] = [""] * world()
    distributed.all_gather_object(digests, digest(tensors))
    for other, found in enumerate(digests):
        if found != digests[0]:
            raise EspalierError(f"process {other} has other {what} than process 0: the model must start from "
                                f"the same weights everywhere and see averaged gradients "
                                f"(DistributedDataParallel)")


def digest(tensors: Sequence[torch.Tensor]) -> str:
    """A hash of the values of ``tensors``, bit for bit."""
    made = hashlib.sha256()
    for tensor in tensors:
        made.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return made.hexdigest()
