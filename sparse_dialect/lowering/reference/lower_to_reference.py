"""``sparse-lower-to-reference``: every sparse op becomes plain linalg, as slow and as plain as its formula.

    %y = "sparse.packed_conv"(%x, %offset, %reorder, %stride, %index, %weight, %b) {...}
    -> %w = arith.constant dense_resource<...>                      // what the storage unpacks to
       %p = tensor.insert_slice %x into %zeros ...                  // padding
       %y = linalg.generic ins(%p, %w) outs(%bias) {mulf, addf}     // then pool, residual, activation

Takes ops before and after packing and on any layout, so that it is the oracle of every pass from
``sparse-reorder-filters`` to ``sparse-assign-layouts``; and what runs where no micro-kernel covers a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ...dialect.ops import ConvOp, LiftOp, LinearOp, PoolOp, UnliftOp
from ...dialect.packed import PackedConvOp, PackedLinearOp
from ...dialect.recurrent import PACKED_LAYERS, WEIGHTED, GruOp, LstmOp, PackedGruOp, PackedLstmOp
from ...dialect.schedules import TARGET, schedule_of, set_schedule
from ...errors import EspalierError
from ...ir.mlir import ir
from ...ir.walk import operations
from ...passes import Pass, PassContext, option
from .coverage import record, why_uncovered
from .layers import convolution, lift, linear, pool, recurrent, unlift

FORMULAS: dict[type, Callable[[Any], list[Any]]] = {
    ConvOp: convolution, PackedConvOp: convolution, LinearOp: linear, PackedLinearOp: linear,
    GruOp: partial(recurrent, lstm=False), PackedGruOp: partial(recurrent, lstm=False),
    LstmOp: partial(recurrent, lstm=True), PackedLstmOp: partial(recurrent, lstm=True),
    PoolOp: pool, LiftOp: lift, UnliftOp: unlift}


@dataclass(frozen=True)
class LowerToReferencePass(Pass):
    """
    Replaces every sparse op by plain linalg that computes the same in f32.

    Nothing is fused, tiled or skipped: it is what other lowerings are compared with. With `uncovered` only
    layers go that no micro-kernel covers, before they are packed; the report says why. With `beyond` only
    layers after the first so many go, once all are scheduled: so a wrong micro-kernel is found by bisection.
    """

    name = "sparse-lower-to-reference"

    uncovered: bool = option(False, "only the layers that no micro-kernel covers")
    beyond: int | None = option(None, "only the packed layers after the first so many")

    def __post_init__(self) -> None:
        if self.uncovered and self.beyond is not None:
            raise EspalierError("give either uncovered, of layers before they are packed, or beyond")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            for layer in self._layers(op):
                lower(layer)
                context.statistics["layers"] += 1
            if not self.uncovered and self.beyond is None and TARGET in op.attributes:
                del op.attributes[TARGET]  # what is left knows upstream's dialects alone

    def _layers(self, op: ir.Operation) -> list[Any]:
        """The ops that go."""
        if self.beyond is not None:
            chosen = operations(op, *PACKED_LAYERS)[self.beyond :]
            for layer in chosen:
                _separate(layer)
            return chosen
        if not self.uncovered:
            return operations(op, *FORMULAS)
        chosen = []
        for layer in operations(op, *WEIGHTED):
            if why := why_uncovered(layer):
                record(op, layer, why)
                chosen.append(layer)
        return chosen


def _separate(layer: Any) -> None:
    """Lets the producer of ``layer`` write its whole output: the reference does not take it by chunk."""
    producer = layer.operation.operands[0].owner
    if isinstance(producer, PackedConvOp):
        set_schedule(producer, replace(schedule_of(producer), by_chunk=False))


def lower(layer: Any) -> None:
    """Replaces one sparse op."""
    constants: list[Any] = []
    for value in layer.operation.operands:
        source = value.owner
        if not isinstance(source, ir.Block) and source.name == "arith.constant" and source not in constants:
            constants.append(source)
    with layer.operation.location, ir.InsertionPoint(layer.operation):
        results = FORMULAS[type(layer)](layer)
    for old, new in zip(layer.operation.results, results, strict=True):
        old.replace_all_uses_with(new)
    layer.operation.erase()
    for source in constants:
        if not list(source.results[0].uses):  # a packed array
            source.operation.erase()
