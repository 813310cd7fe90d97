"""``sparse-vectorize-loops``: linalg operations and copies on buffers become vector loops over rows.

    linalg.generic {(i, j) -> (i, j)} ins(%x : memref<56x64xf32>) outs(%y : ...) { math.tanh }
    -> scf.parallel (%row) = (%c0) to (%c2) {
         scf.for %at = %c0 to %c1792 step %c16 {
           %0 = vector.load %x_row[...] ; %1 = math.tanh %0 : vector<16xf32>
           vector.store %1, %y_row[...] } }

Loops that threads share are an scf.parallel (``sparse-distribute-work``). What has no vector form stays
linalg, with the reason in its location, for the report; upstream's scalar loops take it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...dialect.schedules import device_of
from ...ir.mlir import ir
from ...ir.walk import blocks
from ...passes import Pass, PassContext
from ..cpu.statements import scalar_location
from .loops import Plan, Rows, plans_of
from .memory import Memory, Value, arith, scf
from .nest import Nest, NotVectorized


@dataclass(frozen=True)
class VectorizeLoopsPass(Pass):
    """
    Writes linalg.generic and memref.copy, on buffers of static shapes, as loops over vectors.
    """

    name = "sparse-vectorize-loops"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        lanes = device_of(op).lanes
        with op.context, ir.Location.unknown(op.context):
            for found in _candidates(op):
                try:
                    nest = Nest.of(found)
                    plans = [] if nest.is_empty else plans_of(nest, lanes)
                except NotVectorized as reason:
                    if str(reason):
                        found.location = scalar_location(found.location, str(reason))
                    context.statistics["scalar loops"] += 1
                    continue
                with found.location, ir.InsertionPoint(found):
                    _emit(plans, lanes, found)
                found.erase()
                context.statistics["vector loops"] += 1


def _candidates(root: ir.Operation) -> list[ir.Operation]:
    return [op.operation for block in blocks(root) for op in block.operations
            if op.operation.name in ("linalg.generic", "memref.copy")]


def _emit(plans: list[Plan], lanes: int, before: ir.Operation) -> None:
    """The rows of all ``plans`` as one parallel loop: those of the first, then those of the next."""
    if not plans:
        return
    memory = Memory(lanes, ir.InsertionPoint(before))
    total = sum(plan.count for plan in plans)
    bounds = [memory.index(number) for number in (0, total, 1)]
    loop = scf.ParallelOp([], *[[bound] for bound in bounds], [])
    body = loop.regions[0].blocks.append(memory.index_type)
    memory.entry = ir.InsertionPoint(loop.operation)
    with ir.InsertionPoint(body):
        if total == 1:
            _whole(lambda: _choose(plans, memory, body.arguments[0]))
        else:
            _choose(plans, memory, body.arguments[0])
        scf.ReduceOp([], 0)


def _whole(emit: Callable[[], None]) -> None:
    """What ``emit`` writes as one statement, also after a loop of one turn has given way to its body: threads
    claim statements, and a load between two of them would be everybody's."""
    region = scf.ExecuteRegionOp([], no_inline=True)
    with ir.InsertionPoint(region.regions[0].blocks.append()):
        emit()
        scf.YieldOp([])


def _choose(plans: list[Plan], memory: Memory, row: Value) -> None:
    """The code of the plan that ``row`` belongs to."""
    first, *others = plans
    if not others:
        Rows(first, memory).emit(row)
        return
    count = memory.index(first.count)
    branch = scf.IfOp(arith.CmpIOp(arith.CmpIPredicate.ult, row, count).result, has_else=True)
    with ir.InsertionPoint(branch.then_block):
        Rows(first, memory).emit(row)
        scf.YieldOp([])
    with ir.InsertionPoint(branch.else_block):
        _choose(others, memory, arith.SubIOp(row, count).result)
        scf.YieldOp([])
