"""Pattern libraries while they are being trained with: shared by all layers of a kernel size, and shrinking.

Natural patterns are PatDNN's (ASPLOS 2020): the centre and the largest others, counted over the network. The
image-enhancing paper (ECCV 2020) begins with many and drops the least used ones during ADMM. PCONV (AAAI
2020) fixes the four that together make its enhanced Laplacian-of-Gaussian filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

import numpy as np

from ...sparse_dialect.errors import EspalierError
from ...sparse_dialect.schemes import Pattern, natural_library
from .recipe import LibraryRecipe
from .spec import PatternSpec

Places = tuple[int, ...]
ELOG: tuple[Places, ...] = ((1, 3, 4, 5), (1, 3, 4, 7), (1, 4, 5, 7), (3, 4, 5, 7))  # of a 3x3 kernel


class PatternLibrary:
    """The patterns that some layers share now; ``final`` of them are left in the end.

    ``patterns``: increasing row-major places each. ``frequencies``: kernels that used each at the last count.
    """

    def __init__(self, kernel: tuple[int, ...], patterns: Sequence[Places], final: int) -> None:
        self.kernel = kernel
        self.patterns = tuple(patterns)
        self.final = final
        self.frequencies: tuple[int, ...] = ()

    @property
    def scheme(self) -> Pattern:
        """The scheme with these patterns; raises ``EspalierError`` for patterns that are none."""
        return Pattern(self.kernel, self.patterns)

    def count(self, weights: Iterable[np.ndarray]) -> None:
        """Counts how many kernels of ``weights`` [F, C, *kernel], projected, use each pattern."""
        counts = np.zeros(len(self.patterns), np.int64)
        for weight in weights:
            used = self.scheme.assign(weight)
            counts += np.bincount(used[used >= 0], minlength=len(self.patterns))
        self.frequencies = tuple(int(count) for count in counts)

    def shrink(self) -> bool:
        """Drops the least used third of the patterns above ``final``, at least one; whether there was one."""
        above = len(self.patterns) - self.final
        if above <= 0 or not self.frequencies:
            return False
        ranked = np.argsort(np.array(self.frequencies), kind="stable")
        dropped = set(ranked[: ceil(above / 3)].tolist())
        self._keep([at for at in range(len(self.patterns)) if at not in dropped])
        return True

    def finish(self) -> None:
        """Drops all above ``final``, the least used first: before masks are made."""
        above = len(self.patterns) - self.final
        if above > 0:
            counts = np.array(self.frequencies or [0] * len(self.patterns))
            self._keep(sorted(np.argsort(counts, kind="stable")[above:].tolist()))

    def _keep(self, places: Sequence[int]) -> None:
        self.patterns = tuple(self.patterns[at] for at in places)
        if self.frequencies:
            self.frequencies = tuple(self.frequencies[at] for at in places)

    def state_dict(self) -> dict[str, Any]:
        """Plain lists, for a checkpoint."""
        return {"patterns": [list(pattern) for pattern in self.patterns],
                "frequencies": list(self.frequencies)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        self.patterns = tuple(tuple(pattern) for pattern in state["patterns"])
        self.frequencies = tuple(state["frequencies"])


def make_library(recipe: LibraryRecipe, spec: PatternSpec, kernel: tuple[int, ...],
                 weights: Sequence[np.ndarray]) -> PatternLibrary:
    """The library that ``recipe`` and the rule ``spec`` give layers with ``weights``, still dense."""
    if recipe.source == "natural":
        start = max(spec.patterns, recipe.start or 0) if recipe.shrink else spec.patterns
        return PatternLibrary(kernel, natural_library(weights, spec.entries, start), spec.patterns)
    patterns = ELOG if recipe.source == "elog" else recipe.source
    if recipe.source == "elog" and kernel != (3, 3):
        raise EspalierError(f"the elog patterns are of 3x3 kernels, found {'x'.join(map(str, kernel))}")
    if not patterns:
        raise EspalierError("library: a list of patterns needs at least one")
    library = PatternLibrary(kernel, patterns, len(patterns))
    if library.scheme.entries != spec.entries:
        raise EspalierError(f"library: its patterns keep {library.scheme.entries} places, the rule asks for "
                            f"entries: {spec.entries}")
    return library


def extract_library(model: Any, kernel: tuple[int, ...] = (3, 3)) -> tuple[Places, ...]:
    """The patterns that the pruned layers of ``model`` (a torch module) with ``kernel`` follow, each once."""
    found: set[Places] = set()
    for weight in model.parameters():
        if tuple(weight.shape[2:]) == kernel:
            scheme = Pattern.detect(weight.detach().cpu().numpy())
            found |= set(scheme.library) if scheme is not None else set()
    return tuple(sorted(found))
