"""The two functions through which generated code shares out its work: ``espalier_claim`` and
``espalier_barrier``.

They call the runtime's team (``runtime/c/team.c``) through the pointers at the head of the thread's turn, so
that objects have no undefined symbol. Where the code runs on one thread they call nothing: a statement is one
chunk, and word 4 says whether it has been claimed.
"""

from __future__ import annotations

from typing import Any

from ...ir.mlir import bindings, ir

func: Any = bindings("dialects.func")

CLAIM, BARRIER = "espalier_claim", "espalier_barrier"

# Words of a turn (espalier_turn in runtime/c/team.h): the functions claim and wait, begin, end, alone.
_TEAM = """
func.func private @espalier_claim(%turn: memref<?xi64>, %threads: index, %count: index) -> (index, index) {
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %c4 = arith.constant 4 : index
  %items = arith.index_cast %count : index to i64
  %is_alone = arith.cmpi eq, %threads, %c1 : index
  scf.if %is_alone {
    %zero = arith.constant 0 : i64
    %taken = memref.load %turn[%c4] : memref<?xi64>
    %is_free = arith.cmpi eq, %taken, %zero : i64
    %all = arith.select %is_free, %items, %zero : i64
    %is_some = arith.cmpi sgt, %all, %zero : i64
    %now_taken = arith.extui %is_some : i1 to i64
    memref.store %zero, %turn[%c2] : memref<?xi64>
    memref.store %all, %turn[%c3] : memref<?xi64>
    memref.store %now_taken, %turn[%c4] : memref<?xi64>
  } else {
    %base = memref.extract_aligned_pointer_as_index %turn : memref<?xi64> -> index
    %address = arith.index_cast %base : index to i64
    %pointer = llvm.inttoptr %address : i64 to !llvm.ptr
    %claim = llvm.load %pointer : !llvm.ptr -> !llvm.ptr
    llvm.call %claim(%pointer, %items) : !llvm.ptr, (!llvm.ptr, i64) -> ()
  }
  %first = memref.load %turn[%c2] : memref<?xi64>
  %last = memref.load %turn[%c3] : memref<?xi64>
  %begin = arith.index_cast %first : i64 to index
  %end = arith.index_cast %last : i64 to index
  return %begin, %end : index, index
}
func.func private @espalier_barrier(%turn: memref<?xi64>, %threads: index) {
  %c1 = arith.constant 1 : index
  %is_alone = arith.cmpi eq, %threads, %c1 : index
  scf.if %is_alone {
  } else {
    %base = memref.extract_aligned_pointer_as_index %turn : memref<?xi64> -> index
    %address = arith.index_cast %base : index to i64
    %pointer = llvm.inttoptr %address : i64 to !llvm.ptr
    %at = llvm.getelementptr %pointer[1] : (!llvm.ptr) -> !llvm.ptr, !llvm.ptr
    %wait = llvm.load %at : !llvm.ptr -> !llvm.ptr
    llvm.call %wait(%pointer) : !llvm.ptr, (!llvm.ptr) -> ()
  }
  return
}
"""


def add_team(module: ir.Operation) -> None:
    """Puts the two functions at the head of ``module``."""
    parsed = ir.Module.parse(_TEAM)
    for function in parsed.body.operations:
        function.operation.clone(ip=ir.InsertionPoint.at_block_begin(module.regions[0].blocks[0]))


def call_barrier(turn: ir.Value, threads: ir.Value) -> None:
    """A barrier at the current insertion point."""
    func.CallOp([], BARRIER, [turn, threads])


def claim(turn: ir.Value, threads: ir.Value, count: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Claims a chunk of ``count`` items at the current insertion point: begin and end, index."""
    index = ir.IndexType.get()
    begin, end = func.CallOp([index, index], CLAIM, [turn, threads, count]).results
    return begin, end
