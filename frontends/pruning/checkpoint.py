"""Checkpoints of a training: one file each, written beside and renamed, the last two kept.

A file holds tensors and plain values only, so reading it runs no code (``weights_only``).
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch

from ...errors import EspalierError
from ...files import replacing

FORMAT = 1
KEPT = 2
PREFIX = "checkpoint-"


def save_checkpoint(folder: Path, number: int, state: Mapping[str, Any]) -> Path:
    """Writes ``state`` as checkpoint ``number``, which only rises, and removes all but the last two."""
    path = folder / f"{PREFIX}{number:08d}.pt"
    with replacing(path) as file, steady(file) as writer:
        torch.save({"format": FORMAT, **state}, writer)
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


class _Steady(io.RawIOBase):
    """A file for torch's archive writer, which ends the process where writing fails: the first failure is
    kept in ``error``, and what would follow it is dropped."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self.error is None:
            try:
                return self._file.write(data)
            except OSError as error:
                self.error = error
        return size

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)


@contextmanager
def steady(file: BinaryIO) -> Iterator[BinaryIO]:
    """``file`` to hand to ``torch.save`` and ``torch.export.save``; the OSError of a failed write comes at
    the block's end."""
    writer = _Steady(file)
    yield cast(BinaryIO, writer)
    if writer.error is not None:
        raise writer.error


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, oldest first."""
    return sorted(folder.glob(f"{PREFIX}*.pt"))


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """The newest checkpoint in ``folder``; raises ``EspalierError`` for none, a damaged one, or another
    format."""
    found = checkpoints(folder)
    if not found:
        raise EspalierError(f"no checkpoint in '{folder}'")
    path = found[-1]
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive fails in many ways inside torch
        older = f": remove it to go on from '{found[-2].name}'" if len(found) > 1 else ""
        raise EspalierError(f"'{path}' is not a readable checkpoint{older}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        version = state.get("format") if isinstance(state, dict) else None
        raise EspalierError(f"'{path}' is a checkpoint of format {version}, expected {FORMAT}")
    return state


def generators() -> dict[str, Any]:
    """The states of Python's, numpy's and torch's generators, as plain values and tensors."""
    version, words, gauss = random.getstate()
    name, keys, at, has_gauss, cached = np.random.get_state(legacy=True)
    return {"python": [version, list(words), gauss],
            "numpy": [name, np.asarray(keys).tolist(), int(at), int(has_gauss), float(cached)],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def set_generators(state: Mapping[str, Any]) -> None:
    """The inverse of ``generators``."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, at, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), at, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_generators(seed: int, epoch: int, batches: Any) -> None:
    """Seeds everything that data may draw from, and a loader's own generator, for one epoch."""
    mixed = int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)
    for owner in (batches, getattr(batches, "sampler", None)):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(mixed)
    if hasattr(batches, "set_epoch"):
        batches.set_epoch(epoch)


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {"torch": str(torch.__version__), "numpy": np.__version__}
