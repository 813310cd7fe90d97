"""``sparse-plan-memory``: all buffers in one arena, those that never live together in one place.

    %a = memref.alloc() : memref<1x64x197x16xf32>
    -> func.func @main(..., %arena: memref<?xi8>)
       %a = memref.view %arena[%c0][] : ... to memref<1x64x197x16xf32>

Time is counted in barriers (``sparse-distribute-work``): between two of them statements of different
threads overlap, so buffers used there do not share memory. A launch of a GPU's kernel is a step of time
too: launches that touch the same memory wait for each other. Placement is greedy by size, the largest first
(as in TFLite's planner; Pisarchyk and Lee, 2020). ``espalier.arena`` on the module says how many bytes are
needed. Buffers whose size is a multiple of the number of time steps T lie behind the others, planned for one
step: buffer b of T steps begins at arena + T * b's offset, and ``espalier.arena_per_step`` more bytes are
needed for each step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import op_error
from ...ir.mlir import ir
from ...passes import Pass, PassContext, option
from .arguments import (
    ALIASES,
    ALIGNMENT,
    align,
    append_argument,
    byte_size,
    byte_view,
    dynamic_memref,
    public_functions,
    roots,
    set_size,
    tensor_arguments,
)
from .lengths import arith, bytes_per_step, memref


@dataclass
class _Buffer:
    """An allocation: its size in bytes (``per_step``: for each time step), its first and last use in
    barriers passed, and where it was put."""

    op: ir.Operation
    size: int
    first: int
    last: int
    per_step: bool = False
    offset: int = -1


@dataclass(frozen=True)
class PlanMemoryPass(Pass):
    """
    Packs the buffers of every public function into one arena, a new function argument, by their lifetimes.

    Buffers inside loops, and those whose size is neither static nor a multiple of the free length, stay
    allocations.
    """

    name = "sparse-plan-memory"

    alignment: int = option(ALIGNMENT, "bytes that every buffer begins at a multiple of")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context, ir.Location.unknown(op.context):
            for function in public_functions(op):
                buffers = _lifetimes(function.regions[0].blocks[0])
                byte = ir.IntegerType.get_signless(8)
                arena = append_argument(function, dynamic_memref(byte, _memory_space(buffers)))
                total = place([buffer for buffer in buffers if not buffer.per_step], self.alignment)
                per_step = place([buffer for buffer in buffers if buffer.per_step], self.alignment)
                length = _length(op, function) if per_step else None
                for buffer in buffers:
                    with ir.InsertionPoint(buffer.op):
                        view = _view(arena, buffer, total, length)
                    buffer.op.results[0].replace_all_uses_with(view)
                    buffer.op.erase()
                set_size(op, "espalier.arena", total)
                if per_step:
                    set_size(op, "espalier.arena_per_step", per_step)
                context.statistics["buffers"] += len(buffers)
                context.statistics["bytes in all"] += sum(b.size for b in buffers if not b.per_step)
                context.statistics["arena bytes"] += total
                context.statistics["arena bytes a step"] += per_step


def _memory_space(buffers: list[_Buffer]) -> Any:
    """That of the buffers: a GPU's have one of their own."""
    return ir.MemRefType(buffers[0].op.results[0].type).memory_space if buffers else None


def _length(module: ir.Operation, function: Any) -> ir.Value:
    """The free length: the first dynamic size among the inputs of ``function``."""
    block = function.regions[0].blocks[0]
    for at in tensor_arguments(module, function):
        type_ = ir.MemRefType(block.arguments[at].type)
        for dim in range(type_.rank):
            if type_.is_dynamic_dim(dim):
                with ir.InsertionPoint.at_block_begin(block):
                    index = arith.ConstantOp(ir.IndexType.get(), dim).result
                    return memref.DimOp(block.arguments[at], index).result
    raise op_error(function, "a free length among the arguments", "none")


def _view(arena: ir.Value, buffer: _Buffer, static: int, length: ir.Value | None) -> ir.Value:
    """``buffer`` in the arena, whose first ``static`` bytes hold the static buffers."""
    type_ = buffer.op.results[0].type
    if not buffer.per_step:
        return byte_view(arena, buffer.offset, type_)
    index = ir.IndexType.get()
    steps = arith.MulIOp(length, arith.ConstantOp(index, buffer.offset).result).result
    at = arith.AddIOp(steps, arith.ConstantOp(index, static).result).result
    return memref.ViewOp(type_, arena, at, list(buffer.op.operands)).result


def _lifetimes(block: ir.Block) -> list[_Buffer]:
    """The buffers allocated in ``block`` that can be planned, with their lifetimes."""
    buffers: list[_Buffer] = []
    owner: dict[Any, _Buffer] = {}
    time = 0
    for view in block.operations:
        op = view.operation
        if op.name == "func.call" and "espalier_barrier" in str(op.attributes["callee"]):
            time += 1
        elif op.name == "memref.alloc":
            static = ir.MemRefType(op.results[0].type).has_static_shape
            size = byte_size(op.results[0].type) if static else bytes_per_step(op)
            if size is not None:
                owner[op.results[0]] = _Buffer(op, size, -1, -1, per_step=not static)
                buffers.append(owner[op.results[0]])
        elif op.name not in ALIASES:
            for value in _used(op):
                for buffer in (owner[base] for base in roots(value) if base in owner):
                    buffer.first = time if buffer.first < 0 else buffer.first
                    buffer.last = time
        time += op.name == "gpu.launch_func"
    return buffers


def _used(op: ir.Operation) -> Iterator[ir.Value]:
    """The buffers among the operands of ``op`` and of everything inside it."""
    yield from (value for value in op.operands if isinstance(value.type, ir.MemRefType))
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield from _used(inner.operation)


def place(buffers: list[_Buffer], alignment: int = ALIGNMENT) -> int:
    """Gives every buffer an offset, such that those whose lifetimes meet do not overlap; the bytes needed
    in all."""
    placed: list[_Buffer] = []
    for buffer in sorted(buffers, key=lambda b: -b.size):
        offset = 0
        for other in sorted((p for p in placed if p.first <= buffer.last and buffer.first <= p.last),
                            key=lambda p: p.offset):
            if offset + buffer.size <= other.offset:
                break
            offset = max(offset, align(other.offset + other.size, alignment))
        buffer.offset = offset
        placed.append(buffer)
    return max((align(b.offset + b.size, alignment) for b in placed), default=0)
