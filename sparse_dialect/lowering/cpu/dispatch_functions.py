"""The functions behind IREE's dispatches (``outline_dispatches.py``): pointers, and which share of the units.

    call @conv_4(%x, %y, %bias, ..., %scratch, %c0, %c8);  call @conv_5(..., %scratch, %c0, %c516)
    ->
    func.func @espalier_conv_4_3(%x: !llvm.ptr, %weights: !llvm.ptr, %y: !llvm.ptr, %item: i64, %items: i64)
        attributes {espalier.units = 524} {
      %begin = %item * 524 / %items;  %end = (%item + 1) * 524 / %items
      %slot = llvm.call @espalier_take_slot() : () -> i64
      if (%begin < 8)  call @conv_4(..., %begin, min(%end, 8))
      if (%end > 8)    call @conv_5(..., max(%begin, 8) - 8, %end - 8)
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
from ...ir.walk import blocks, rename_operands, with_inner
from ..buffers.arguments import ALIASES, functions
from .export_entry import memref_of
from .scratch_slots import give_slot, take_slot

arith: Any = bindings("dialects.arith")
func: Any = bindings("dialects.func")
scf: Any = bindings("dialects.scf")

EXECUTABLE = "espalier"  # the inner module, and IREE's executable
PREFIX = "espalier_"  # of what the object exports, before the dispatch's name
UNITS = "espalier.units"
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
                 scratch: Value) -> None:
    """
    Adds the function of the dispatch ``name``, which makes ``calls``, kernel calls or loops of them, for one
    of the items that their units are cut into.

    ``places``: of every buffer that the calls, or views that they take, are made of, but ``scratch``.
    """
    pointer, number = ir.Type.parse("!llvm.ptr"), ir.IntegerType.get_signless(64)
    units = [_units(call) for call in calls]
    bindings_count = 1 + max(place.binding for place in places.values())
    with ir.InsertionPoint(inner.regions[0].blocks[0]):
        function = func.FuncOp(PREFIX + name, ([*[pointer] * bindings_count, number, number], []))
    function.operation.attributes[UNITS] = i64(sum(units))
    *pointers, item, items = function.add_entry_block().arguments
    with ir.InsertionPoint(function.entry_block):
        slot, memory = take_slot() if any(_uses(call, scratch) for call in calls) else (None, None)
        known = {buffer: memref_of(buffer.type, _at(pointers[place.binding], place.offset))
                 for buffer, place in places.items()}
        if memory is not None:
            known[scratch] = memref_of(scratch.type, memory)
        index = ir.IndexType.get()
        item, items = (arith.IndexCastOp(index, value).result for value in (item, items))
        after = arith.AddIOp(item, _index(1)).result
        begin, end = (arith.DivUIOp(arith.MulIOp(edge, _index(sum(units))).result, items).result
                      for edge in (item, after))
        for at, call in enumerate(calls):
            _call(call, sum(units[:at]), units[at], begin, end, dict(known))
        if slot is not None:
            give_slot(slot)
        func.ReturnOp([])


def _call(call: ir.Operation, first: int, units: int, begin: Value, end: Value,
          known: dict[Value, Value]) -> None:
    """Makes ``call``, whose ``units`` are counted from ``first`` on, for those from ``begin`` to ``end``; a
    loop over time steps as a whole."""
    if call.name != "func.call":
        _copy(call, known)
        return
    begin = arith.SubIOp(arith.MaxUIOp(begin, _index(first)).result, _index(first)).result
    last = arith.MaxUIOp(arith.MinUIOp(end, _index(first + units)).result, _index(first)).result
    end = arith.SubIOp(last, _index(first)).result
    some = scf.IfOp(arith.CmpIOp(arith.CmpIPredicate.ult, begin, end).result)
    with ir.InsertionPoint(some.then_block):
        operands = [_value(value, known) for value in list(call.operands)[:-2]]
        func.CallOp([], callee(call), [*operands, begin, end])
        scf.YieldOp([])


def _copy(op: ir.Operation, known: dict[Value, Value]) -> ir.Operation:
    """A copy of ``op`` at the current insertion point, over the values that are ``known`` there."""
    inner = {result for block in blocks(op) for view in block.operations for result in view.operation.results}
    inner |= {argument for block in blocks(op) for argument in block.arguments}
    outer = {value: _value(value, known) for one in with_inner(op) for value in one.operands
             if value not in inner}
    clone = op.clone()
    rename_operands(clone, outer)
    return clone


def _uses(op: ir.Operation, value: Value) -> bool:
    return any(value in list(one.operands) for one in with_inner(op))


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
