"""Bfloat16 without the type: numbers of f32 whose low 16 bits are zero, which NumPy, C and every core have.

    %b = arith.truncf %x : f32 to bf16             %i = arith.bitcast %x : f32 to i32
    %y = arith.extf %b : bf16 to f32         ->    %y = (%i + 0x7fff + (%i >> 16 & 1)) & 0xffff0000

NaN stays as it is.

LLVM would call a library's function for each element where the core has no instruction for it.
"""

from __future__ import annotations

import torch

from ...sparse_dialect.ir.mlir import bindings, ir
from ...sparse_dialect.ir.walk import blocks
from .retype import convert, set_results, set_value

WIDE = torch.float32
UNORDERED = 14  # arith.cmpf's number


def carry_bfloat16(program: torch.export.ExportedProgram) -> None:
    """Inputs and outputs of bf16 become f32 ones that hold the same numbers: NumPy and C have no bf16."""
    graph = program.graph
    for node in list(graph.nodes):
        if node.op == "placeholder" and _is_bfloat16(node):
            set_value(node, node.meta["val"].to(WIDE))
        if node.op == "output":
            with graph.inserting_before(node):
                results = [convert(graph, result, WIDE) if _is_bfloat16(result) else result
                           for result in node.args[0]]
            set_results(program, results)


def round_in_float32(module: ir.Module) -> None:
    """Makes every bf16 value of ``module``, linalg on tensors, an f32 one; casts round in integers."""
    with module.context, ir.Location.unknown():
        narrow = ir.Type.parse("bf16")
        found = [value for block in blocks(module.operation)
                 for value in (*block.arguments, *(r for op in block.operations for r in op.results))
                 if narrow in (value.type, _element(value.type))]
        readers = [use.owner.operation for value in found for use in value.uses]
        casts = [op for op in map(_owner, found) if op is not None and op.name == "arith.truncf"]
        casts += [op for op in readers if op.name == "arith.extf"]
        for value in found:
            value.set_type(_widened(value.type))
        for cast in casts:
            source = cast.operands[0]
            with ir.InsertionPoint(cast), cast.location:
                same = _rounded(source) if cast.name == "arith.truncf" else source
            cast.results[0].replace_all_uses_with(same)
            cast.erase()


def _rounded(x: ir.Value) -> ir.Value:
    """``x``, f32, to the nearest bf16, ties to even."""
    arith = bindings("dialects.arith")
    integer = ir.IntegerType.get_signless(32)

    def number(value: int) -> ir.Value:
        return arith.ConstantOp(integer, ir.IntegerAttr.get(integer, value)).result

    bits = arith.BitcastOp(integer, x).result
    last = arith.AndIOp(arith.ShRUIOp(bits, number(16)).result, number(1)).result
    up = arith.AddIOp(bits, arith.AddIOp(last, number(0x7FFF)).result).result
    near = arith.BitcastOp(x.type, arith.AndIOp(up, number(-0x10000)).result).result
    is_nan = arith.CmpFOp(UNORDERED, x, x).result
    return arith.SelectOp(is_nan, x, near).result


def _owner(value: ir.Value) -> ir.Operation | None:
    return None if isinstance(value.owner, ir.Block) else value.owner.operation


def _element(type_: ir.Type) -> ir.Type | None:
    return type_.element_type if isinstance(type_, ir.RankedTensorType) else None


def _widened(type_: ir.Type) -> ir.Type:
    wide = ir.F32Type.get()
    if not isinstance(type_, ir.RankedTensorType):
        return wide
    return ir.RankedTensorType.get(type_.shape, wide, type_.encoding)


def _is_bfloat16(node: object) -> bool:
    value = node.meta.get("val") if isinstance(node, torch.fx.Node) else None
    return isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16


__all__ = ["carry_bfloat16", "round_in_float32"]
