"""``sparse-lower-sorts``: torch-mlir's sorts on buffers become calls that sort a row each.

    tm_tensor.sort dimension(1) outs(%values, %places : memref<64x1000xf32>, memref<64x1000xi64>) { oge }
    -> %keys = memref.alloc() : memref<2000x64xi32> ...
       scf.parallel (%row) = (%c0) to (%c64) { func.call @espalier_sort_0(%values, %begin, %places, ...) }

torch-mlir's own lowering compares every number with every other. ``topk`` comes as a sort whose result is
cut: if every reader of the buffers takes the first k places only, only these are sorted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from ...errors import op_error
from ...ir.mlir import bindings, ir
from ...ir.values import static_layout
from ...ir.walk import blocks
from ...passes import Pass, PassContext
from .sort_rows import Row, scratch_type

arith: Any = bindings("dialects.arith")
func: Any = bindings("dialects.func")
memref: Any = bindings("dialects.memref")
scf: Any = bindings("dialects.scf")

ASCENDING = {"arith.cmpf": (4, 5), "arith.cmpi": (2, 3, 6, 7)}  # less, or less and equal
DESCENDING = {"arith.cmpf": (2, 3), "arith.cmpi": (4, 5, 8, 9)}
LARGEST = 1 << 31  # numbers of a row that 32-bit places reach


@dataclass(frozen=True)
class LowerSortsPass(Pass):
    """
    Sorts rows of tm_tensor.sort on buffers in n log n steps, or by selection where few places are read.
    """

    name = "sparse-lower-sorts"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context, ir.Location.unknown(op.context):
            for number, sort in enumerate(_sorts(op)):
                name = f"espalier_sort_{number}"
                _lower(op, sort, name)
                context.statistics["sorts"] += 1


def _sorts(root: ir.Operation) -> list[ir.Operation]:
    return [op.operation for block in blocks(root) for op in block.operations
            if op.operation.name == "tm_tensor.sort"]


def _lower(module: ir.Operation, sort: ir.Operation, name: str) -> None:
    """Replaces ``sort`` by a loop over its rows, and adds the function that sorts one."""
    for value in list(sort.operands):
        _adopt(value, sort)
    along = ir.IntegerAttr(sort.attributes["dimension"]).value
    values, places = _operands(sort)
    shape = ir.MemRefType(values.type).shape
    size = shape[along]
    if not prod(shape):
        sort.erase()
        return
    steps = [ir.MemRefType(value.type).get_strides_and_offset() for value in (values, places)]
    row = Row(str(ir.MemRefType(values.type).element_type), str(values.type), str(places.type),
              (steps[0][0][along], steps[1][0][along]), size, _first(sort, (values, places), along, size),
              _descends(sort))
    parsed = ir.Module.parse(row.function(name))
    for function in list(parsed.body.operations):
        function.operation.move_before(module.regions[0].blocks[0].operations[0].operation)
    others = [at for at in range(len(shape)) if at != along]
    count = prod(shape[at] for at in others)
    index = ir.IndexType.get()
    with ir.InsertionPoint(sort), sort.location:
        scratch = [memref.AllocOp(ir.MemRefType.get([count * length], ir.Type.parse(kind)), [], []).result
                   for kind, length in row.scratch]
        zero, one, end = (arith.ConstantOp(index, n).result for n in (0, 1, count))
        loop = scf.ParallelOp([], [zero], [end], [one], [])
        body = loop.regions[0].blocks.append(index)
        with ir.InsertionPoint(body):
            turn = body.arguments[0]
            begins = [_begin(turn, [(shape[at], strides[at]) for at in others], offset)
                      for strides, offset in steps]
            parts = [_part(buffer, turn, kind, length)
                     for buffer, (kind, length) in zip(scratch, row.scratch, strict=True)]
            func.CallOp([], name, [values, begins[0], places, begins[1], *parts])
            scf.ReduceOp([], 0)
    sort.erase()


def _adopt(value: ir.Value, sort: ir.Operation) -> None:
    """Has ``sort`` work on what ``value`` was copied from, where nobody else needs that."""
    before = _until(sort)
    writers = [use.owner.operation for use in value.uses
               if use.owner.operation in before and use.owner.operation != sort]
    if not _is_alloc(value) or len(writers) != 1 or writers[0].name != "memref.copy":
        return
    copy = writers[0]
    source, target = copy.operands
    if target != value or not _is_alloc(source) or source.type != value.type:
        return
    earlier = _until(copy)
    if all(use.owner.operation in earlier and use.owner.operation.name in ("linalg.generic", "memref.copy")
           for use in source.uses):
        copy.erase()
        value.replace_all_uses_with(source)
        value.owner.operation.erase()


def _is_alloc(value: ir.Value) -> bool:
    return not isinstance(value.owner, ir.Block) and value.owner.operation.name == "memref.alloc"


def _operands(sort: ir.Operation) -> tuple[ir.Value, ir.Value]:
    """The numbers that ``sort`` orders and those that it takes along, on buffers of static shape."""
    operands = list(sort.operands)
    fits = len(operands) == 2 and all(isinstance(v.type, ir.MemRefType) for v in operands)
    if not fits or str(ir.MemRefType(operands[1].type).element_type) != "i64":
        raise op_error(sort, "a buffer of numbers and one of their i64 places", f"{len(operands)} operands",
                       "sort one tensor at a time")
    for value in operands:
        type_ = ir.MemRefType(value.type)
        if static_layout(type_) is None or max(type_.shape, default=0) >= LARGEST:
            raise op_error(sort, "rows of a fixed size below 2^31", str(type_), "export it with fixed sizes")
    return operands[0], operands[1]


def _descends(sort: ir.Operation) -> bool:
    """Whether the comparison of ``sort`` puts the larger number first."""
    block = sort.regions[0].blocks[0]
    comparison, *others = [view.operation for view in block.operations]
    if len(others) == 1 and comparison.name in ASCENDING and (
            list(comparison.operands) == list(block.arguments)[:2]):
        predicate = ir.IntegerAttr(comparison.attributes["predicate"]).value
        for table, answer in ((ASCENDING, False), (DESCENDING, True)):
            if predicate in table[comparison.name]:
                return answer
    raise op_error(sort, "a comparison of two numbers", comparison.name, "sort by < or >")


def _first(sort: ir.Operation, buffers: tuple[ir.Value, ir.Value], along: int, size: int) -> int:
    """How many places of a row anybody reads after ``sort``; ``size`` where that is not clear."""
    found = 1
    before = _until(sort)
    for value in buffers:
        if not _is_alloc(value):
            return size
        for use in value.uses:
            user = use.owner.operation
            if user in before:
                continue
            if user.name != "memref.subview" or user.block != sort.block:
                return size
            offsets, sizes = (list(ir.DenseI64ArrayAttr(user.attributes[name]))
                              for name in ("static_offsets", "static_sizes"))
            if offsets[along] != 0 or not 0 < sizes[along] < size:
                return size
            found = max(found, sizes[along])
    return found


def _until(sort: ir.Operation) -> set[ir.Operation]:
    """The operations of the block of ``sort`` up to itself, which do not read what it gives."""
    found = set()
    for view in sort.block.operations:
        found.add(view.operation)
        if view.operation == sort:
            break
    return found


def _begin(turn: ir.Value, loops: list[tuple[int, int]], offset: int) -> ir.Value:
    """Where row ``turn`` begins: sizes and strides of the dimensions of rows, outermost first."""
    index = ir.IndexType.get()

    def number(value: int) -> ir.Value:
        return arith.ConstantOp(index, value).result

    total, rest = number(offset), turn
    for size, stride in reversed(loops):
        here = arith.RemUIOp(rest, number(size)).result
        rest = arith.DivUIOp(rest, number(size)).result
        total = arith.AddIOp(total, arith.MulIOp(here, number(stride)).result).result
    return total


def _part(buffer: ir.Value, turn: ir.Value, kind: str, length: int) -> ir.Value:
    """Row ``turn``'s part of a scratch buffer."""
    begin = arith.MulIOp(turn, arith.ConstantOp(ir.IndexType.get(), length).result).result
    dynamic = ir.ShapedType.get_dynamic_stride_or_offset()
    return ir.Operation.create(
        "memref.reinterpret_cast", [ir.Type.parse(scratch_type(kind))],
        [buffer, begin, arith.ConstantOp(ir.IndexType.get(), length).result], {
            "static_offsets": ir.DenseI64ArrayAttr.get([dynamic]),
            "static_sizes": ir.DenseI64ArrayAttr.get([dynamic]),
            "static_strides": ir.DenseI64ArrayAttr.get([1]),
            "operandSegmentSizes": ir.DenseI32ArrayAttr.get([1, 1, 1, 0])}).result


__all__ = ["LowerSortsPass"]
