"""The functions behind IREE's dispatches (``outline_dispatches.py``): pointers and a workgroup's number.

    call @conv_4(%x, %y, %bias, ..., %scratch, %c0, %c8);  call @conv_5(..., %scratch, %c0, %c516)
    ->
    func.func @espalier_conv_4_3(%x: !llvm.ptr, %weights: !llvm.ptr, %y: !llvm.ptr, %item: i64)
        attributes {espalier.items = 40} {
      %slot = llvm.call @espalier_take_slot() : () -> i64
      if (%item < 8)  call @conv_4(..., %item * 8 / 8, (%item + 1) * 8 / 8)
      else            call @conv_5(..., (%item - 8) * 516 / 32, (%item - 7) * 516 / 32)
      llvm.call @espalier_give_slot(%slot)
    }
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import op_error
from ...ir.mlir import bindings, ir
from ...ir.values import i64
from ...ir.walk import blocks
from ..buffers.arguments import ALIASES, functions
from .export_entry import memref_of
from .scratch_slots import give_slot, take_slot

arith: Any = bindings("dialects.arith")
func: Any = bindings("dialects.func")
scf: Any = bindings("dialects.scf")

EXECUTABLE = "espalier"  # the inner module, and IREE's executable
PREFIX = "espalier_"  # of what the object exports, before the dispatch's name
ITEMS = "espalier.items"
Value = Any


@dataclass(frozen=True)
class Place:
    """Where a dispatch finds a buffer: ``offset`` bytes into its argument number ``binding``."""

    binding: int
    offset: int = 0


def callee(call: ir.Operation) -> str:
    return ir.FlatSymbolRefAttr(call.attributes["callee"]).value


def written_operands(module: ir.Operation) -> dict[str, list[int]]:
    """The operands that each kernel function writes (``espalier.writes``), by function name."""
    return {ir.StringAttr(kernel.operation.attributes["sym_name"]).value:
            list(ir.DenseI64ArrayAttr(kernel.operation.attributes["espalier.writes"]))
            for kernel in functions(module) if "espalier.writes" in kernel.operation.attributes}


def inner_module(module: ir.Operation, public: Any) -> ir.Operation:
    """A new module at the end of ``module`` with all functions but ``public``, which become internal."""
    body = module.regions[0].blocks[0]
    inner = ir.Operation.create("builtin.module", regions=1, ip=ir.InsertionPoint(body), attributes={
        "sym_name": ir.StringAttr.get(EXECUTABLE)})
    inner.regions[0].blocks.append()
    for kernel in [one for one in functions(module) if one != public]:
        kernel.operation.attributes["llvm.no_inline"] = ir.UnitAttr.get()
        kernel.operation.attributes["llvm.linkage"] = ir.Attribute.parse("#llvm.linkage<internal>")
        clone = kernel.operation.clone(ip=ir.InsertionPoint(inner.regions[0].blocks[0]))
        clone.attributes["sym_visibility"] = ir.StringAttr.get("private")
        kernel.operation.erase()
    return inner


def add_function(inner: ir.Operation, name: str, calls: Sequence[ir.Operation], places: Mapping[Value, Place],
                 scratch: Value, items: int) -> None:
    """
    Adds the function of the dispatch ``name``, which makes ``calls``, each cut into at most ``items`` items.

    ``places``: of every buffer that the calls or views that they take are made of, but ``scratch``.
    """
    pointer, number = ir.Type.parse("!llvm.ptr"), ir.IntegerType.get_signless(64)
    units = [_units(call) for call in calls]
    counts = [min(each, items) for each in units]
    bindings_count = 1 + max(place.binding for place in places.values())
    with ir.InsertionPoint(inner.regions[0].blocks[0]):
        function = func.FuncOp(PREFIX + name, ([*[pointer] * bindings_count, number], []))
    function.operation.attributes[ITEMS] = i64(sum(counts))
    *pointers, item = function.add_entry_block().arguments
    with ir.InsertionPoint(function.entry_block):
        slot, memory = take_slot() if any(_uses(call, scratch) for call in calls) else (None, None)
        buffers = {buffer: memref_of(buffer.type, _at(pointers[place.binding], place.offset))
                   for buffer, place in places.items()}
        if memory is not None:
            buffers[scratch] = memref_of(scratch.type, memory)
        left = arith.IndexCastOp(ir.IndexType.get(), item).result
        _call_one_of(list(zip(calls, units, counts, strict=True)), left, buffers)
        if slot is not None:
            give_slot(slot)
        func.ReturnOp([])


def _call_one_of(calls: Sequence[tuple[ir.Operation, int, int]], item: Value,
                 known: dict[Value, Value]) -> None:
    """Makes that one of ``calls`` (each with its units and number of items) which ``item`` counts into."""
    (call, units, count), *others = calls
    if not others:
        _call(call, units, count, item, dict(known))
        return
    limit = _index(count)
    is_own = arith.CmpIOp(arith.CmpIPredicate.slt, item, limit).result
    choice = scf.IfOp(is_own, has_else=True)
    with ir.InsertionPoint(choice.then_block):
        _call(call, units, count, item, dict(known))
        scf.YieldOp([])
    with ir.InsertionPoint(choice.else_block):
        _call_one_of(others, arith.SubIOp(item, limit).result, known)
        scf.YieldOp([])


def _call(call: ir.Operation, units: int, count: int, item: Value, known: dict[Value, Value]) -> None:
    """Makes ``call`` for the units of ``item``, one of ``count``; a loop over time steps as a whole."""
    if call.name != "func.call":
        _copy(call, known)
        return
    after = arith.AddIOp(item, _index(1)).result
    begin, end = (arith.DivUIOp(arith.MulIOp(edge, _index(units)).result, _index(count)).result
                  for edge in (item, after))
    operands = [_value(value, known) for value in list(call.operands)[:-2]]
    func.CallOp([], callee(call), [*operands, begin, end])


def _copy(op: ir.Operation, known: dict[Value, Value]) -> ir.Operation:
    """A copy of ``op`` at the current insertion point, over the values that are ``known`` there."""
    inner = {result for block in blocks(op) for view in block.operations for result in view.operation.results}
    inner |= {argument for block in blocks(op) for argument in block.arguments}
    outer = {value: _value(value, known) for one in _with_inner(op) for value in one.operands
             if value not in inner}
    clone = op.clone()
    for one in _with_inner(clone):
        for at, value in enumerate(one.operands):
            if value in outer:
                one.operands[at] = outer[value]
    return clone


def _uses(op: ir.Operation, value: Value) -> bool:
    return any(value in list(one.operands) for one in _with_inner(op))


def _with_inner(op: ir.Operation) -> list[ir.Operation]:
    return [op, *(view.operation for block in blocks(op) for view in block.operations)]


def _value(value: Value, known: dict[Value, Value]) -> Value:
    """``value`` of the entry function, computed anew in this one from what is ``known``."""
    if value not in known:
        op = value.owner.operation
        if not op.name.startswith((*ALIASES, "memref.dim", "arith.")):
            raise op_error(op, "views, and numbers that are computed from sizes", op.name, "report this")
        known[value] = _copy(op, known).results[0]
    return known[value]


def _units(op: ir.Operation) -> int:
    """How many units of work the call ``op`` is for; 1 for a loop."""
    if op.name != "func.call":
        return 1
    last = op.operands[len(op.operands) - 1].owner.operation
    if last.name != "arith.constant":
        raise op_error(op, "a known number of units", "one that a run decides", "compile with fixed sizes")
    return int(ir.IntegerAttr(last.attributes["value"]).value)


def _at(pointer: Value, offset: int) -> Value:
    """``offset`` bytes behind ``pointer``."""
    if offset == 0:
        return pointer
    return ir.Operation.create("llvm.getelementptr", results=[pointer.type], operands=[pointer], attributes={
        "rawConstantIndices": ir.DenseI32ArrayAttr.get([offset]),
        "elem_type": ir.TypeAttr.get(ir.IntegerType.get_signless(8))}).result


def _index(value: int) -> Value:
    return arith.ConstantOp(ir.IndexType.get(), value).result
