"""Scratch memory for kernels under a scheduler that does not say which of its threads calls.

A work item takes the first slot that is free, and gives it back when it is done. So a thread that works alone
has the same, warm, memory again and again; and an item that finds all slots taken waits for items that run,
never for one that has not begun. Slots lie in zero pages of the object, and cost memory once they are used.
"""

from __future__ import annotations

from typing import Any

from ...ir.mlir import ir

SLOTS = 64  # bits of a word: items that run at a time
_TEXT = """
llvm.mlir.global internal @espalier_slots(0 : i64) {{alignment = 128 : i64}} : i64
llvm.mlir.global internal @espalier_scratch() {{alignment = 128 : i64}} : !llvm.array<{total} x i8> {{
  %zero = llvm.mlir.zero : !llvm.array<{total} x i8>
  llvm.return %zero : !llvm.array<{total} x i8>
}}
llvm.func internal @espalier_take_slot() -> i64 {{
  %slots = llvm.mlir.addressof @espalier_slots : !llvm.ptr
  %none = llvm.mlir.constant(0 : i64) : i64
  %all = llvm.mlir.constant(-1 : i64) : i64
  llvm.br ^try(%none : i64)
^try(%taken: i64):
  %free = llvm.xor %taken, %all : i64
  %negative = llvm.sub %none, %free : i64
  %slot = llvm.and %free, %negative : i64
  %next = llvm.or %taken, %slot : i64
  %pair = llvm.cmpxchg %slots, %taken, %next acquire monotonic : !llvm.ptr, i64
  %found = llvm.extractvalue %pair[0] : !llvm.struct<(i64, i1)>
  %swapped = llvm.extractvalue %pair[1] : !llvm.struct<(i64, i1)>
  %is_slot = llvm.icmp "ne" %slot, %none : i64
  %done = llvm.and %swapped, %is_slot : i1
  llvm.cond_br %done, ^done, ^try(%found : i64)
^done:
  llvm.return %slot : i64
}}
llvm.func internal @espalier_scratch_of(%slot: i64) -> !llvm.ptr {{
  %base = llvm.mlir.addressof @espalier_scratch : !llvm.ptr
  %bytes = llvm.mlir.constant({bytes} : i64) : i64
  %number = "llvm.intr.cttz"(%slot) <{{is_zero_poison = true}}> : (i64) -> i64
  %offset = llvm.mul %number, %bytes : i64
  %scratch = llvm.getelementptr %base[%offset] : (!llvm.ptr, i64) -> !llvm.ptr, i8
  llvm.return %scratch : !llvm.ptr
}}
llvm.func internal @espalier_give_slot(%slot: i64) {{
  %slots = llvm.mlir.addressof @espalier_slots : !llvm.ptr
  %before = llvm.atomicrmw _xor %slots, %slot release : !llvm.ptr, i64
  llvm.return
}}
"""


def add_slots(module: ir.Operation, scratch_bytes: int) -> None:
    """Puts the slots, each of ``scratch_bytes`` (a multiple of 64), and their functions at the head of
    ``module``."""
    parsed = ir.Module.parse(_TEXT.format(total=SLOTS * scratch_bytes, bytes=scratch_bytes))
    for op in parsed.body.operations:
        op.operation.clone(ip=ir.InsertionPoint.at_block_begin(module.regions[0].blocks[0]))


def take_slot() -> tuple[ir.Value, ir.Value]:
    """At the current insertion point: a slot, and a pointer to its memory."""
    slot = _call("espalier_take_slot", [], [ir.IntegerType.get_signless(64)])
    return slot, _call("espalier_scratch_of", [slot], [ir.Type.parse("!llvm.ptr")])


def give_slot(slot: ir.Value) -> None:
    """Gives a slot back, at the current insertion point."""
    _call("espalier_give_slot", [slot], [])


def _call(name: str, operands: list[ir.Value], results: list[ir.Type]) -> Any:
    call = ir.Operation.create("llvm.call", results=results, operands=operands, attributes={
        "callee": ir.FlatSymbolRefAttr.get(name), "op_bundle_sizes": ir.DenseI32ArrayAttr.get([]),
        "operandSegmentSizes": ir.DenseI32ArrayAttr.get([len(operands), 0])})
    return call.result if results else None
