"""``sparse-lower-scatters``: torch-mlir's scatters of whole rows, on buffers, become loops over vectors.

    tm_tensor.scatter {dimension_map = [0]} ins(%x : memref<9x1x64xf32>, %at : memref<9x1xi64>)
        outs(%y : memref<50x64xf32>) { x, y -> x + y }
    -> scf.parallel (%part) = (%c0) to (%c1) {
         scf.for %i = %c0 to %c9 { %row = memref.load %at[%i, %c0]
           scf.for %j = ... { vector.store (vector.load %x_row[...]) + (vector.load %y_row[...]) } } }

Rows may meet: they are added one after the other, and threads share the columns of long ones. Scatters of
single elements are left to torch-mlir's scalar loops. Places are in range (``sparse-guard-indices``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...devices.device import Device
from ...dialect.schedules import device_of
from ...ir.mlir import bindings, ir
from ...ir.values import static_layout
from ...ir.walk import blocks
from ...passes import Pass, PassContext
from .body import clone
from .memory import Memory
from .nest import Access

arith: Any = bindings("dialects.arith")
memref: Any = bindings("dialects.memref")
scf: Any = bindings("dialects.scf")

Value = Any
PART = 1024  # elements of a row that one thread takes


@dataclass(frozen=True)
class LowerScattersPass(Pass):
    """
    Writes tm_tensor.scatter of rows that are at least a vector long, on buffers of static shapes, as loops.
    """

    name = "sparse-lower-scatters"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context, ir.Location.unknown(op.context):
            found = _scatters(op)
            device = device_of(op) if found else None
            for scatter in found:
                if device is not None and _is_of_rows(scatter, device):
                    with scatter.location, ir.InsertionPoint(scatter):
                        _Scatter(scatter, device.lanes).emit()
                    scatter.erase()
                    context.statistics["scatters"] += 1


def _scatters(root: ir.Operation) -> list[ir.Operation]:
    return [op.operation for block in blocks(root) for op in block.operations
            if op.operation.name == "tm_tensor.scatter"]


def _is_of_rows(scatter: ir.Operation, device: Device) -> bool:
    """Whether rows of neighbours are written, of known length, by a body that has a vector form."""
    types = [value.type for value in scatter.operands]
    if not all(isinstance(type_, ir.MemRefType) and type_.has_static_shape for type_ in types):
        return False
    updates, indices, target = map(ir.MemRefType, types)
    layouts = map(static_layout, (updates, target))
    axes = list(ir.DenseI64ArrayAttr(scatter.attributes["dimension_map"]))
    body = [view.operation for view in scatter.regions[0].blocks[0].operations]
    return (updates.rank > 1 and updates.shape[-1] >= device.lanes and target.rank - 1 not in axes
            and all(layout is not None and layout[0][-1] == 1 for layout in layouts)
            and indices.shape[1] == len(axes)
            and all(op.name.startswith(("arith.", "math.", "tm_tensor.yield")) for op in body))


class _Scatter:
    """Emits the loops of one scatter, at the current insertion point."""

    def __init__(self, scatter: ir.Operation, lanes: int) -> None:
        self.scatter, self.lanes = scatter, lanes
        self.updates, self.indices, self.target = scatter.operands
        self.axes = list(ir.DenseI64ArrayAttr(scatter.attributes["dimension_map"]))
        self.shape = list(ir.MemRefType(self.updates.type).shape)
        self.memory = Memory(lanes, ir.InsertionPoint(scatter))

    def emit(self) -> None:
        """Loops over parts of rows, places, and what a place's update is."""
        memory, (count, *window) = self.memory, self.shape
        if 0 in self.shape:
            return
        whole, rest = divmod(window[-1], PART)
        bounds = [memory.index(number) for number in (0, max(whole, 1), 1)]
        loop = scf.ParallelOp([], *[[bound] for bound in bounds], [])
        body = loop.regions[0].blocks.append(memory.index_type)
        memory.entry = ir.InsertionPoint(loop.operation)
        with ir.InsertionPoint(body):
            begin = memory.multiply(body.arguments[0], PART)
            memory.loop(count, lambda at: self._update(at, begin, min(window[-1], PART)))
            scf.ReduceOp([], 0)
        if whole and rest:
            memory.entry = ir.InsertionPoint(self.scatter)
            memory.loop(count, lambda at: self._update(at, memory.index(whole * PART), rest))

    def _update(self, at: Value, begin: Value, length: int) -> None:
        """Place number ``at``: ``length`` elements from ``begin`` of every row of its window."""
        memory = self.memory
        strides = [ir.MemRefType(value.type).get_strides_and_offset()[0]
                   for value in (self.updates, self.target)]
        source = memory.add(memory.multiply(at, strides[0][0]), begin)
        target = begin
        for number, axis in enumerate(self.axes):
            place = memref.LoadOp(self.indices, [at, memory.index(number)]).result
            index = arith.IndexCastOp(memory.index_type, place).result
            target = memory.add(target, memory.multiply(index, strides[1][axis]))
        leading = len(strides[1]) - len(self.shape) + 1  # of the target's, along which windows are one long
        rows = [(size, ours, theirs) for size, ours, theirs in zip(
            self.shape[1:-1], strides[0][1:-1], strides[1][leading:-1], strict=True) if size > 1]
        self._rows(rows, source, target, length)

    def _rows(self, rows: list[tuple[int, int, int]], source: Value, target: Value, length: int) -> None:
        memory = self.memory
        if rows:
            (size, ours, theirs), *others = rows
            memory.loop(size, lambda at: self._rows(others, memory.add(source, memory.multiply(at, ours)),
                                                    memory.add(target, memory.multiply(at, theirs)), length))
            return
        whole = length // self.lanes * self.lanes
        memory.loop(whole, lambda at: self._vector(memory.add(source, at), memory.add(target, at), None),
                    step=self.lanes)
        if whole < length:
            self._vector(memory.add(source, whole), memory.add(target, whole), length - whole)

    def _vector(self, source: Value, target: Value, count: int | None) -> None:
        memory = self.memory
        given, before = (_whole(value, written=value == self.target) for value in (self.updates, self.target))
        block = self.scatter.regions[0].blocks[0]
        loads: list[Callable[[], Value]] = [lambda: memory.load(given, source, 1, count),
                                            lambda: memory.load(before, target, 1, count)]
        values = {argument: load() for argument, load in zip(block.arguments, loads, strict=True)
                  if list(argument.uses)}
        *body, end = [view.operation for view in block.operations]
        for op in body:
            operands = [self._lanes(values, value) for value in op.operands]
            values[op.results[0]] = clone(op, operands, memory.vector(op.results[0].type)) if operands else (
                memory.broadcast(clone(op, [], op.results[0].type)))
        memory.store(self._lanes(values, end.operands[0]), before, target, 1, count)

    def _lanes(self, values: dict[Value, Value], value: Value) -> Value:
        """``value`` of the body as a vector; what comes from outside is the same for all lanes."""
        return values[value] if value in values else self.memory.broadcast(value)


def _whole(buffer: Value, written: bool) -> Access:
    """All of a buffer, as one row of elements."""
    type_ = ir.MemRefType(buffer.type)
    strides, offset = type_.get_strides_and_offset()
    extent = 1 + sum((size - 1) * stride for size, stride in zip(type_.shape, strides, strict=True))
    return Access(buffer, (), offset, extent, written)
