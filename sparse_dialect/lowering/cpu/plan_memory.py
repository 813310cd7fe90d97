"""``sparse-plan-memory``: all buffers in one arena, those that never live together in one place.

    %a = memref.alloc() : memref<1x64x197x16xf32>
    -> func.func @main(..., %arena: memref<?xi8>)
       %a = memref.view %arena[%c0][] : ... to memref<1x64x197x16xf32>

Time is counted in barriers (``sparse-distribute-work``): between two of them statements of different
threads overlap, so buffers used there do not share memory. Placement is greedy by size, the largest first
(as in TFLite's planner; Pisarchyk and Lee, 2020). ``espalier.arena`` on the module says how many bytes are
needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...mlir import ir
from ...passes import Pass, PassContext
from .arguments import (
    ALIASES,
    align,
    append_argument,
    byte_size,
    byte_view,
    dynamic_memref,
    public_functions,
    roots,
    set_size,
)


@dataclass
class _Buffer:
    """A static allocation: its size in bytes, its first and last use in barriers passed, and where it was
    put."""

    op: ir.Operation
    size: int
    first: int
    last: int
    offset: int = -1


@dataclass(frozen=True)
class PlanMemoryPass(Pass):
    """
    Packs the static buffers of every public function into one arena, a new function argument, by their
    lifetimes.

    Buffers of dynamic size, and those inside loops, stay allocations.
    """

    name = "sparse-plan-memory"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context, ir.Location.unknown(op.context):
            for function in public_functions(op):
                arena = append_argument(function, dynamic_memref(ir.IntegerType.get_signless(8)))
                buffers = _lifetimes(function.regions[0].blocks[0])
                total = place(buffers)
                for buffer in buffers:
                    with ir.InsertionPoint(buffer.op):
                        view = byte_view(arena, buffer.offset, buffer.op.results[0].type)
                    buffer.op.results[0].replace_all_uses_with(view)
                    buffer.op.erase()
                set_size(op, "espalier.arena", total)
                context.statistics["buffers"] += len(buffers)
                context.statistics["bytes in all"] += sum(buffer.size for buffer in buffers)
                context.statistics["arena bytes"] += total


def _lifetimes(block: ir.Block) -> list[_Buffer]:
    """The static buffers allocated in ``block``, with their lifetimes."""
    buffers: list[_Buffer] = []
    owner: dict[Any, _Buffer] = {}
    time = 0
    for view in block.operations:
        op = view.operation
        if op.name == "func.call" and "espalier_barrier" in str(op.attributes["callee"]):
            time += 1
        elif op.name == "memref.alloc" and ir.MemRefType(op.results[0].type).has_static_shape:
            buffer = _Buffer(op, byte_size(op.results[0].type), -1, -1)
            buffers.append(buffer)
            owner[op.results[0]] = buffer
        elif op.name not in ALIASES:
            for value in _used(op):
                for buffer in (owner[base] for base in roots(value) if base in owner):
                    buffer.first = time if buffer.first < 0 else buffer.first
                    buffer.last = time
    return buffers


def _used(op: ir.Operation) -> Iterator[ir.Value]:
    """The buffers among the operands of ``op`` and of everything inside it."""
    yield from (value for value in op.operands if isinstance(value.type, ir.MemRefType))
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield from _used(inner.operation)


def place(buffers: list[_Buffer]) -> int:
    """Gives every buffer an offset, such that those whose lifetimes meet do not overlap; the bytes needed
    in all."""
    placed: list[_Buffer] = []
    for buffer in sorted(buffers, key=lambda b: -b.size):
        offset = 0
        for other in sorted((p for p in placed if p.first <= buffer.last and buffer.first <= p.last),
                            key=lambda p: p.offset):
            if offset + buffer.size <= other.offset:
                break
            offset = max(offset, align(other.offset + other.size))
        buffer.offset = offset
        placed.append(buffer)
    return max((align(b.offset + b.size) for b in placed), default=0)
