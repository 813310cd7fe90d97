"""What watches a pipeline run: the base class of timing, IR printing, statistics and the reproducer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..sparse_dialect.ir.mlir import ir
from ..sparse_dialect.passes import PassContext
from .pipeline import Item, Nest


@dataclass(frozen=True)
class Step:
    """One piece of work: our pass, or upstream items handed over together, about to run on ``op``."""

    items: tuple[Item, ...]
    anchor: str
    op: Any

    @property
    def name(self) -> str:
        """The pass's name, or the names in the run, comma-separated."""
        return ",".join(item.name if not isinstance(item, Nest) else str(item) for item in self.items)


class Instrument:
    """Hooks around every step; ``each_pass`` asks for one step a pass instead of whole upstream runs."""

    each_pass = False

    def start(self, pipeline: Nest, root: ir.Operation) -> None:
        """Called once before anything runs."""

    def before_item(self, remaining: tuple[Item, ...], root: ir.Operation) -> None:
        """Called before each top-level piece; ``remaining`` starts with it."""

    def before(self, step: Step) -> None:
        """Called before a step."""

    def after(self, step: Step, context: PassContext) -> None:
        """Called after a step that succeeded and verified; ``context`` holds what the pass counted."""

    def failed(self, step: Step, error: BaseException) -> None:
        """Called when a step raised ``error``."""

    def finish(self) -> None:
        """Called once at the end, after failures too."""
