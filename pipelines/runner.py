"""Runs a pipeline: our passes by themselves, the longest upstream runs by the bindings' pass manager.

    Runner(parse_pipeline("builtin.module(sparse-detect-schemes,cse)")).run(module.operation)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..sparse_dialect.errors import EspalierError, PassError, location_text
from ..sparse_dialect.ir.mlir import ir, passmanager
from ..sparse_dialect.passes import Allocate, PassContext, zeros
from .extremes import check_inlining
from .instrument import Instrument, Step
from .parser import ANY
from .pipeline import Item, Nest, PassItem, UpstreamItem, is_upstream

Progress = Callable[[str, int, int], None]
NOTE_OF_OP = "see current operation"  # MLIR's note that dumps the whole op: not for one-line messages


@dataclass(frozen=True)
class Runner:
    """
    A pipeline with its instruments.

    ``verify`` checks the IR after every pass. ``progress`` hears (name, done, total) before each item.
    ``stops``: what is called with the root after so many top-level items. ``allocate`` gives passes memory
    for bytes that leave the IR, ``constants`` are those that other code has there already.
    """

    pipeline: Nest
    instruments: Sequence[Instrument] = ()
    verify: bool = True
    progress: Progress | None = None
    stops: Mapping[int, Callable[[ir.Operation], None]] = field(default_factory=dict)
    allocate: Allocate = zeros
    constants: list[tuple[int, np.ndarray]] = field(default_factory=list)
    _each_pass: bool = field(init=False, repr=False, default=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_each_pass", any(i.each_pass for i in self.instruments))

    def run(self, root: Any) -> None:
        """Rewrites ``root`` (an operation named like the anchor) in place; raises ``EspalierError``."""
        root = root.operation
        if root.name != self.pipeline.anchor and self.pipeline.anchor != ANY:
            raise PassError(f"the pipeline runs on '{self.pipeline.anchor}', not on '{root.name}'",
                            location_text(root.location))
        with root.context:
            for instrument in self.instruments:
                instrument.start(self.pipeline, root)
            try:
                self._run_top(root)
            finally:
                for instrument in self.instruments:
                    instrument.finish()

    def _run_top(self, root: ir.Operation) -> None:
        items, done = self.pipeline.items, 0
        for stop in sorted({*self.stops, len(items)}):
            for group in self._groups(items[done:stop]):
                for instrument in self.instruments:
                    instrument.before_item(items[done:], root)
                if self.progress is not None:
                    self.progress(group[0].name, done, len(items))
                self._run_group(group, root, self.pipeline.anchor)
                done += len(group)
            if stop in self.stops:
                self.stops[stop](root)
        if self.progress is not None:
            self.progress("done", done, len(items))

    def _groups(self, items: tuple[Item, ...]) -> Iterator[tuple[Item, ...]]:
        """``items`` cut into runs of upstream items and single others."""
        for upstream, run in itertools.groupby(items, is_upstream):
            if upstream and not self._each_pass:
                yield tuple(run)
            else:
                yield from ((item,) for item in run)

    def _run_group(self, group: tuple[Item, ...], op: ir.Operation, anchor: str) -> None:
        first = group[0]
        if isinstance(first, Nest) and (self._each_pass or not is_upstream(first)):
            for child in _targets(op, first.anchor):
                for inner in self._groups(first.items):
                    self._run_group(inner, child, first.anchor)
        else:
            self._step(Step(group, anchor, op))

    def _step(self, step: Step) -> None:
        context = PassContext(allocate=self.allocate, constants=self.constants)
        for instrument in self.instruments:
            instrument.before(step)
        try:
            first = step.items[0]
            if isinstance(first, PassItem):
                self._run_ours(first, step, context)
            else:
                self._run_upstream(step)
        except BaseException as error:
            for instrument in self.instruments:
                instrument.failed(step, error)
            raise
        for instrument in self.instruments:
            instrument.after(step, context)

    def _run_ours(self, item: PassItem, step: Step, context: PassContext) -> None:
        try:
            with step.op.location:
                item.value.run(step.op, context)
        except EspalierError:
            raise
        except ir.MLIRError as error:
            raise PassError(f"pass '{item.name}': {_mlir_message(error)}") from error
        except Exception as error:
            raise PassError(f"pass '{item.name}' has a bug: {type(error).__name__}: {error}",
                            location_text(step.op.location)) from error
        if self.verify:
            try:
                step.op.verify()
            except ir.MLIRError as error:
                raise PassError(f"pass '{item.name}' left invalid IR: {_mlir_message(error)}") from error

    def _run_upstream(self, step: Step) -> None:
        manager = passmanager.PassManager.parse(str(Nest(step.anchor, step.items)))
        manager.enable_verifier(self.verify)
        if any(item.name == "inline" for item in step.items if isinstance(item, UpstreamItem)):
            check_inlining(step.op)
        try:
            manager.run(step.op)
        except ir.MLIRError as error:
            raise PassError(f"pass '{step.name}': {_mlir_message(error)}") from error


def _targets(op: ir.Operation, anchor: str) -> list[ir.Operation]:
    """The operations directly inside ``op`` that a nest on ``anchor`` runs on."""
    blocks = [block for region in op.regions for block in region.blocks]
    children = [child.operation for block in blocks for child in block.operations]
    if anchor == ANY:
        return [child for child in children if child.has_trait(ir.IsIsolatedFromAboveTrait)]
    return [child for child in children if child.name == anchor]


def _mlir_message(error: Any) -> str:
    """The first diagnostic behind an ``MLIRError``, on one line; its summary when a handler took those."""
    diagnostics = [d for d in error.error_diagnostics or () if not d.message.startswith(NOTE_OF_OP)]
    if not diagnostics:
        return str(error).splitlines()[0].rstrip(":")
    first = diagnostics[0]
    return f"{location_text(first.location)}: {' '.join(first.message.split())}"
