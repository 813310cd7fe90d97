"""``sparse-vectorize-loops``: linalg operations and copies on buffers become vector loops over rows.

    linalg.generic {(i, j) -> (i, j)} ins(%x : memref<56x64xf32>) outs(%y : ...) { math.tanh }
    -> scf.parallel (%row) = (%c0) to (%c2) {
         scf.for %at = %c0 to %c1792 step %c16 {
           %0 = vector.load %x_row[...] ; %1 = math.tanh %0 : vector<16xf32>
           vector.store %1, %y_row[...] } }

Loops that threads share are an scf.parallel (``sparse-distribute-work``). Operations over the same rows are
one loop (``row_groups``), which the report names by the last of them, and keep what lies between them in
scratch (``private``); a fill before a reduction goes (``fills``); products of two computed matrices are
packed (``products``). What has no vector form stays linalg, with the reason in its location, for the report;
upstream's scalar loops take it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ...devices.cores import core_named
from ...dialect.schedules import device_of
from ...ir.mlir import ir
from ...ir.walk import blocks
from ...passes import Pass, PassContext
from ..buffers.arguments import scratch_of
from ..cpu.statements import scalar_location
from .fills import fills
from .loops import Plan, Rows, plans_of
from .memory import Memory, Value, arith, scf
from .nest import Nest, NotVectorized, loops_of
from .private import in_private, private_buffers, scratch_view
from .products import Panels, Product, Tiles, panels_buffer
from .row_groups import Group, Step, groups_of, plans_inside


@dataclass(frozen=True)
class VectorizeLoopsPass(Pass):
    """
    Writes linalg.generic and memref.copy, on buffers of static shapes, as loops over vectors; operations over
    the same rows as one.
    """

    name = "sparse-vectorize-loops"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        device = device_of(op)
        tiles = Tiles(core_named(device.core).registers, device.lanes)
        with op.context, ir.Location.unknown(op.context):
            steps = list(filter(None, (_step(found, device.lanes, context) for found in _candidates(op))))
            filled = fills(op)
            dropped = set()
            for step in steps:
                initial = {at: fill for at, fill in filled.get(step.op, {}).items() if step.nest.covers(at)}
                dropped |= {fill for fill, _ in initial.values()}
                step.nest = step.nest.starting_from({at: value for at, (_, value) in initial.items()})
            context.statistics["vector loops"] += len(steps)
            kept = [step for step in steps if step.op not in dropped]
            for step in steps:
                if step.op in dropped:
                    step.op.erase()
            emitter = _Emitter(device.lanes, tiles)
            for found in groups_of(kept):
                if not (isinstance(found, Group) and emitter.group(found)):
                    for step in found.steps if isinstance(found, Group) else found:
                        emitter.alone(step)
            for step in kept:
                step.op.erase()


@dataclass
class _Emitter:
    """Writes loops of vectors of ``lanes`` elements; ``tiles`` of products in registers."""

    lanes: int
    tiles: Tiles

    def alone(self, step: Step) -> None:
        """The loops of one operation, before it."""
        if step.nest.is_empty:
            return
        with step.op.location, ir.InsertionPoint(step.op):
            if step.product is None:
                _emit(plans_of(step.nest, self.lanes), self.lanes, step.op)
            elif not self._one_by_one(step.product, step.op):
                _emit(self._tiles(step.product, step.op), self.lanes, step.op)

    def _one_by_one(self, product: Product, before: ir.Operation) -> bool:
        """Many products, each of which packs its matrix into scratch; False where that does not fit."""
        apart, scratch = product.one_by_one(), scratch_of(before.parent)
        if apart is None or scratch is None:
            return False
        parts = apart.parts(self.tiles)
        buffer = scratch_view(scratch, apart.packed_size, apart.nest.accesses[apart.b].element)
        outer = len(apart.others)
        plans = [plan for part in parts for nest in [part.packing(buffer)] for plan in plans_inside(
            nest, loops_of(nest)[:outer], loops_of(nest)[outer:], self.lanes)]
        plans += self._plans(parts, buffer, 0)
        memory = Memory(self.lanes, ir.InsertionPoint(before))
        with _parallel(memory, apart.matrices) as matrix:
            for plan in plans:
                _emit_inside(plan, memory, matrix, plan.count // apart.matrices)
        return True

    def group(self, group: Group) -> bool:
        """The loops of a group as one, before its last operation; False where one of them has none."""
        last = group.steps[-1].op
        try:
            known = [cut.plans(group.together, self.lanes) if cut.step.product is None else []
                     for cut in group.cuts]
        except NotVectorized:
            return False
        with last.location, ir.InsertionPoint(last):
            members = [self._tiles(cut.step.product, last, group.together) if cut.step.product else plans
                       for cut, plans in zip(group.cuts, known, strict=True)]
            private = private_buffers(group)
            moved = [in_private(plan, len(cut.outer), private)
                     for cut, plans in zip(group.cuts, members, strict=True) for plan in plans]
            memory = Memory(self.lanes, ir.InsertionPoint(last))
            with _parallel(memory, group.count) as block:
                for plan in moved:
                    _emit_inside(plan, memory, block, plan.count // group.count)
        return True

    def _tiles(self, product: Product, before: ir.Operation, together: int = 0) -> list[Plan]:
        """Packs a matrix, if that helps, and gives the plans of the product."""
        parts = product.parts(self.tiles)
        buffer = panels_buffer(product) if product.is_packed else None
        if buffer is not None:
            _emit([plan for part in parts for plan in plans_of(part.packing(buffer), self.lanes)], self.lanes,
                  before)
        return self._plans(parts, buffer, together)

    def _plans(self, parts: Sequence[Panels], buffer: Value, together: int) -> list[Plan]:
        return [Plan(nest, along, tile=tile, together=part.vectors)
                for part in parts for nest, tile, along in part.tiles(buffer, together)]


def _emit_inside(plan: Plan, memory: Memory, block: Value, count: int) -> None:
    """The ``count`` rows of ``plan`` that belong to ``block``."""
    rows = Rows(plan, memory)
    first = memory.multiply(block, count)
    memory.loop(count, lambda at: rows.emit(memory.add(first, at)))


def _step(found: ir.Operation, lanes: int, context: PassContext) -> Step | None:
    """What ``found`` becomes; None where it stays, with the reason in its location."""
    try:
        nest = Nest.of(found)
        if not nest.is_empty:
            plans_of(nest, lanes)
        return Step(found, nest)
    except NotVectorized as reason:
        if str(reason):
            found.location = scalar_location(found.location, str(reason))
        context.statistics["scalar loops"] += 1
        return None


def _candidates(root: ir.Operation) -> list[ir.Operation]:
    return [op.operation for block in blocks(root) for op in block.operations
            if op.operation.name in ("linalg.generic", "memref.copy")]


def _emit(plans: list[Plan], lanes: int, before: ir.Operation) -> None:
    """The rows of all ``plans`` as one parallel loop: those of the first, then those of the next."""
    if not plans:
        return
    memory = Memory(lanes, ir.InsertionPoint(before))
    total = sum(plan.count for plan in plans)
    with _parallel(memory, total) as row:
        if total == 1:
            _whole(lambda: _choose(plans, memory, row))
        else:
            _choose(plans, memory, row)


@contextmanager
def _parallel(memory: Memory, count: int) -> Iterator[Value]:
    """Inside a loop of ``count`` turns that threads share: the number of the turn."""
    bounds = [memory.index(number) for number in (0, count, 1)]
    loop = scf.ParallelOp([], *[[bound] for bound in bounds], [])
    body = loop.regions[0].blocks.append(memory.index_type)
    memory.entry = ir.InsertionPoint(loop.operation)
    with ir.InsertionPoint(body):
        yield body.arguments[0]
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
