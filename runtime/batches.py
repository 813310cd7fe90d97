"""A model file for several batch sizes: which of its parts serves a call.

Each part is a model of static shapes with code of its own; the weights are shared (``model_file.py``). The
batch is where the shapes of their inputs differ.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from ..errors import EspalierError
from .model_file import ModelFile
from .states import interface


class Batches:
    """The batch sizes of a file; none where it has but one."""

    def __init__(self, file: ModelFile) -> None:
        self.lock = threading.Lock()  # for whoever makes parts ready
        self._files = {int(part.manifest["batch"]): part for part in (file, *file.variants)} if (
            file.variants) else {}
        self.sizes = tuple(self._files)
        if len(self.sizes) != len(file.variants) + bool(file.variants):
            raise ValueError("two parts of one batch")
        self._place = _place(file) if file.variants else None

    def file(self, batch: int) -> ModelFile:
        """The part for ``batch``; ``EspalierError`` where there is none."""
        if batch not in self._files:
            raise EspalierError(f"the model is compiled for a batch of {self._listed()}, found {batch}; "
                                "compile it for that one too")
        return self._files[batch]

    def of(self, inputs: Sequence[Any]) -> int | None:
        """The batch of ``inputs``; None where the model has one shape, or they are no inputs of it."""
        if self._place is None or not isinstance(inputs, list | tuple):
            return None
        at, axis, name = self._place
        shape = getattr(inputs[at], "shape", ()) if at < len(inputs) else ()
        if len(shape) <= axis:
            return None
        return self._known(int(shape[axis]), name)

    def _known(self, batch: int, name: str) -> int:
        if batch not in self._files:
            raise EspalierError(f"input '{name}': expected a batch of {self._listed()}, found {batch}; "
                                "compile the model for that one too")
        return batch

    def _listed(self) -> str:
        *first, last = map(str, self.sizes or ("one size",))
        return f"{', '.join(first)} or {last}" if first else last


def _place(file: ModelFile) -> tuple[int, int, str]:
    """Number, axis and name of an input where the batch stands; ``ValueError`` where there is none."""
    parts = [(int(part.manifest["batch"]), interface(part.manifest)[0]) for part in (file, *file.variants)]
    for at, spec in enumerate(parts[0][1]):
        for axis in range(len(spec.shape)):
            if all(len(inputs) > at and inputs[at].shape[axis : axis + 1] == (batch,)
                   for batch, inputs in parts):
                return at, axis, spec.name
    raise ValueError("no input has the batch in its shape")


def checked_batches(batch: int | Sequence[int]) -> list[int]:
    """``batch`` as sizes to compile for; ``EspalierError`` for what is no different whole numbers."""
    sizes: list[Any] = [batch] if isinstance(batch, int) else list(batch)
    whole = all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes)
    if not whole or len(set(sizes)) < len(sizes):
        raise EspalierError("expected different batch sizes of at least 1, found "
                            f"{', '.join(map(str, sizes))}")
    return [int(size) for size in sizes]


__all__ = ["Batches", "checked_batches"]
