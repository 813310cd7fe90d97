"""Emits a convolution and the depthwise convolution behind it, a chunk of channels at a time.

    for unit (image, chunk) in begin .. end:
      call @conv_3(..., %chunk, ..., the chunk's units)         # the chunk's filters, all tiles
      call @depthwise_4(%chunk, %output, ..., the chunk's planes)

``%chunk`` is scratch [1, channels, lines, lanes]: what the first writes the second finds in cache, and the
tensor between them, often a network's largest, never goes to memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....devices.cores import Core
from ....geometry.layouts import LaneGrid
from ....ir.mlir import ir
from ....ir.values import element_of
from ..emit.builder import Builder, Value, func, private_function


@dataclass(frozen=True)
class Stage:
    """A kernel that is called for every chunk, for ``units`` units of work.

    ``operands`` are those before scratch and range, as places among the fused kernel's own; None is the
    chunk.
    """

    callee: str
    operands: tuple[int | None, ...]
    units: int


@dataclass(frozen=True)
class FusedKernel:
    """Everything static about the code. The chunk, ``channels`` planes of ``grid``, lies ``offset`` elements
    into scratch, behind what the stages themselves use."""

    stages: tuple[Stage, ...]
    grid: LaneGrid
    channels: int
    offset: int


def chunk_type(grid: LaneGrid, channels: int, element: ir.Type) -> ir.Type:
    """The memref type of a chunk, as the stages take it."""
    return ir.MemRefType.get([1, channels, grid.lines, grid.lanes], element)


def emit_fused_kernel(module: ir.Operation, name: str, kernel: FusedKernel,
                      operand_types: Sequence[ir.Type], core: Core) -> list[ir.Operation]:
    """Adds ``func.func private @name``: output, the other operands of the stages, scratch (memref<?xi8>),
    begin and end of the units (image, chunk). Returns the calls of the stages."""
    _, entry = private_function(module, name, operand_types, writes=(0,))
    calls: list[ir.Operation] = []
    with ir.InsertionPoint(entry):
        b = Builder(entry, kernel.grid.lanes, core, element_of(operand_types[0]))
        *operands, scratch, begin, end = entry.arguments
        chunk = b.view(scratch, kernel.offset, [1, kernel.channels, kernel.grid.lines, kernel.grid.lanes])

        def unit(at: Value) -> None:
            for stage in kernel.stages:
                first = b.multiply(at, stage.units)
                own = [chunk if place is None else operands[place] for place in stage.operands]
                call = func.CallOp([], stage.callee, [*own, scratch, first, b.add(first, stage.units)])
                calls.append(call.operation)

        b.loop(begin, end, unit)
        func.ReturnOp([])
    return calls
