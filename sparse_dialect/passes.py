"""What a pass is: a frozen dataclass whose fields are its options.

One stem, four spellings: ``sparse-reorder-filters`` in pipelines, ``ReorderFiltersPass`` in Python,
``reorder_filters.py`` on disk, ``reorder-filters.mlir`` in the tests. The class docstring is the user's
documentation (``espalier-opt --help`` prints it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .ir.mlir import ir

Allocate = Callable[[int], np.ndarray]


def zeros(count: int) -> np.ndarray:
    """u8 [count], zero."""
    return np.zeros(count, np.uint8)


@dataclass
class PassContext:
    """What the runner hands to a pass besides the IR: a place to count things (``--mlir-pass-statistics``),
    and memory for bytes that leave the IR: ``allocate(n)`` gives u8 [n], zero. ``constants``: offsets and
    arrays of constants that other code has in the same block of weights; those keep their places, new ones
    join them (the same network for another batch)."""

    statistics: Counter[str] = field(default_factory=Counter)
    allocate: Allocate = zeros
    constants: list[tuple[int, np.ndarray]] = field(default_factory=list)


@dataclass(frozen=True)
class Pass:
    """Base of every pass. Subclasses set ``name`` and implement ``run``; their fields are their options."""

    name: ClassVar[str]
    anchor: ClassVar[str] = "builtin.module"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        """Rewrites ``op`` (an operation named ``anchor``) in place; raises ``PassError`` for bad IR."""
        raise NotImplementedError



def option(default: Any, help: str) -> Any:
    """A dataclass field that is a pass option: ``tile: int = option(0, "0 lets the cost model choose")``."""
    return field(default=default, metadata={"help": help})
