"""``sparse-separate-results``: every result of a function is a buffer of its own, in the result's shape.

    return %y, %y : memref<2x3xf32>, memref<2x3xf32>
    -> %copy = memref.alloc() ; memref.copy %y, %copy ; return %y, %copy

    %y = memref.alloc() : memref<2x3xf32> ; %z = memref.collapse_shape %y [[0, 1]] ; return %z
    -> %z = memref.alloc() : memref<6xf32> ; %y = memref.expand_shape %z [[0, 1]] ; return %z

Runs after bufferization. Results become output arguments next (upstream's buffer-results-to-out-params),
which writes an allocation straight into its argument and so cannot take one twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.mlir import ir
from ...passes import Pass, PassContext
from .arguments import functions, memref

# views that only reshape, and what undoes them
RESHAPES = {"memref.collapse_shape": "memref.expand_shape", "memref.expand_shape": "memref.collapse_shape"}


@dataclass(frozen=True)
class SeparateResultsPass(Pass):
    """
    Copies every buffer that a function returns again, and allocates results in the shape that is returned.
    """

    name = "sparse-separate-results"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            for function in functions(op):
                for block in function.regions[0].blocks:
                    last = list(block.operations)[-1].operation
                    if last.name == "func.return":
                        for at in range(len(last.operands)):  # the one before may have changed this one
                            context.statistics["results in shape"] += _shape(last.operands[at])
                        context.statistics["results copied"] += _separate(last)


def _shape(value: ir.Value) -> bool:
    """Has an allocation that is reshaped to ``value`` made in the shape of ``value``; else upstream would
    allocate it, and copy ``value`` to its argument."""
    views: list[ir.Operation] = []
    while not isinstance(value.owner, ir.Block) and value.owner.operation.name in RESHAPES:
        views.append(value.owner.operation)
        value = views[-1].operands[0]
    if not views or isinstance(value.owner, ir.Block) or value.owner.operation.name != "memref.alloc":
        return False
    if any(not _is_plain(view.results[0].type) for view in views) or not _is_plain(value.type):
        return False
    for view in reversed(views):
        value = _swap(value.owner.operation, view)
    return True


def _is_plain(type_: ir.Type) -> bool:
    """Whether a buffer's sizes are known and its elements lie in order without gaps."""
    memref_type = ir.MemRefType(type_)
    return bool(memref_type.has_static_shape) and isinstance(memref_type.layout, ir.AffineMapAttr)


def _swap(alloc: ir.Operation, view: ir.Operation) -> ir.Value:
    """Allocates what ``view`` shows of ``alloc``, which becomes a view of it."""
    old = alloc.results[0]
    with ir.InsertionPoint(alloc), alloc.location:
        made = memref.AllocOp(ir.MemRefType(view.results[0].type), [], []).result
        attributes = {"reassociation": view.attributes["reassociation"]}
        if view.name == "memref.collapse_shape":
            shape = list(ir.MemRefType(old.type).shape)
            attributes["static_output_shape"] = ir.DenseI64ArrayAttr.get(shape)
        back = ir.Operation.create(RESHAPES[view.name], [old.type], [made], attributes).result
    view.results[0].replace_all_uses_with(made)
    view.erase()
    old.replace_all_uses_with(back)
    alloc.erase()
    return made


def _separate(end: ir.Operation) -> int:
    """Gives ``end`` (a func.return) operands that differ; the number of copies."""
    seen: set[ir.Value] = set()
    copies = 0
    for number, value in enumerate(list(end.operands)):
        if value in seen and isinstance(value.type, ir.MemRefType):
            with ir.InsertionPoint(end), end.location:
                copy = memref.AllocOp(ir.MemRefType(value.type), [], []).result
                memref.CopyOp(value, copy)
            end.operands[number] = copy
            copies += 1
        seen.add(value)
    return copies
