"""``sparse-distribute-work``: one program for any number of threads, with barriers where data cross.

    call @conv_0(..., %c0, %units)          ->  while (a chunk %begin, %end of %units can be claimed)
                                                  call @conv_0(..., %begin, %end)
    scf.parallel (%i) = (%c0) to (%n) ...   ->  while (a chunk of its turns can be claimed)
                                                  scf.parallel (%i) = (%begin) to (%end) ...
    scf.for %t { call @gru_0(...) }         ->  scf.for %t { call @espalier_barrier; while ... @gru_0(...) }
    memref.copy %a, %b                      ->  while (the one chunk can be claimed) memref.copy %a, %b
    (a statement that touches what another wrote since the last barrier)  ->  call @espalier_barrier before it

All threads run the whole function, and a thread that comes late, or never, holds nobody up: chunks go to
whoever claims them (``team.py``, ``runtime/c/team.c``), and a barrier waits for the chunks, not for the
threads. So outside of chunks a thread must touch no memory but its turn and the stamps: its caller may be
gone.
Which thread computes a value never changes how it is computed, so results are the same to the bit for any
number of threads. Behind every statement and barrier, thread 0 notes the cycle counter in ``stamps``;
``espalier.labels`` on the module says what each measures, and ``espalier.statements`` what those labels stand
for (``statements.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...errors import op_error
from ...ir.mlir import bindings, ir
from ...ir.walk import with_inner
from ...passes import Pass, PassContext
from ..buffers.arguments import (
    ALIASES,
    append_argument,
    dynamic_memref,
    public_functions,
    root,
    roots,
    scratch_of,
    set_size,
)
from ..buffers.lengths import bytes_per_step
from .statements import Statement, waiting
from .team import add_team, call_barrier, claim

arith: Any = bindings("dialects.arith")
memref: Any = bindings("dialects.memref")
scf: Any = bindings("dialects.scf")

PURE = ("arith.", "memref.get_global", "memref.alloc", "memref.view", "affine.apply", "cf.assert",
        "memref.dim", "ub.")


@dataclass(frozen=True)
class DistributeWorkPass(Pass):
    """
    Makes every public function run on any number of threads, the number given when it is called.

    Kernel calls and parallel loops are shared out, other statements run on the thread that comes first, and
    barriers separate statements that depend on each other.
    """

    name = "sparse-distribute-work"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context, ir.Location.unknown(op.context):
            add_team(op)
            for function in public_functions(op):
                _Distributor(op, function, context).run()


@dataclass
class _Touched:
    """Buffers (roots) read and written since the last barrier; ``writer`` is the callee for kernel
    outputs."""

    reads: set[Any] = field(default_factory=set)
    writes: dict[Any, Any] = field(default_factory=dict)


class _Distributor:
    def __init__(self, module: ir.Operation, function: Any, context: PassContext) -> None:
        i64, index = ir.IntegerType.get_signless(64), ir.IndexType.get()
        self.module, self.function, self.context = module, function, context
        self.written = _written_operands(module)
        self.own = {scratch_of(function)}  # no other thread sees it
        self.turn = append_argument(function, dynamic_memref(i64))
        self.stamps = append_argument(function, dynamic_memref(i64))
        self.thread, self.threads = append_argument(function, index), append_argument(function, index)
        self.index, self.i64 = index, i64
        self.since = _Touched()
        self.stamped = 0
        self.statements: dict[str, Statement] = {}

    def run(self) -> None:
        entry = self.function.regions[0].blocks[0]
        if len(self.function.regions[0].blocks) > 1:
            raise op_error(self.function, "a function of one block", "branches between several",
                           "use scf for control flow")
        statements = [view.operation for view in entry.operations]
        with ir.InsertionPoint.at_block_begin(entry):
            zero = arith.ConstantOp(self.index, 0).result
            self.first = arith.CmpIOp(arith.CmpIPredicate.eq, self.thread, zero).result
            self._stamp("start")
        for op in statements:
            if op.name == "memref.alloc" and not _is_planned(op):
                # not in the arena, so every thread would have a buffer of its own
                set_size(self.module, "espalier.sequential", 1)
            if op.name.startswith(PURE) or op.name in (*ALIASES, "func.return"):
                continue
            if list(op.results):
                # control flow that carries values, or a load: what follows depends on what all have read
                set_size(self.module, "espalier.sequential", 1)
            with op.location:
                self._statement(op)
        with ir.InsertionPoint(list(entry.operations)[-1]):
            self._barrier()
        set_size(self.module, "espalier.stamps", self.stamped)
        known = [statement.attribute() for statement in self.statements.values()]
        self.module.attributes["espalier.statements"] = ir.ArrayAttr.get(known)

    def _statement(self, op: ir.Operation) -> None:
        if self._is_steps(op):
            self._share_steps(op)
            with ir.InsertionPoint.after(op):
                self._note(Statement.of(op, "steps_0", shared=True))
            return
        self._separate(op)
        statement = self._describe(op)
        if self._is_kernel_call(op):
            op = self._share_call(op)
        elif op.name == "scf.parallel" and not list(op.results):
            op = self._share_loop(op)
        elif not list(op.results):
            op = self._claim_whole(op)
        with ir.InsertionPoint.after(op):
            self._note(statement)

    def _describe(self, op: ir.Operation) -> Statement:
        kernel = ir.FlatSymbolRefAttr(op.attributes["callee"]).value if self._is_kernel_call(op) else ""
        return Statement.of(op, kernel, bool(kernel) or (op.name == "scf.parallel" and not list(op.results)))

    def _note(self, statement: Statement) -> None:
        """A stamp behind a statement."""
        self.statements.setdefault(statement.label, statement)
        self._stamp(statement.label)

    def _barrier(self) -> None:
        """A barrier of the entry function, and a stamp behind it."""
        call_barrier(self.turn, self.threads)
        self._note(waiting())

    def _is_kernel_call(self, op: ir.Operation) -> bool:
        return op.name == "func.call" and ir.FlatSymbolRefAttr(op.attributes["callee"]).value in self.written

    def _is_steps(self, op: ir.Operation) -> bool:
        """A loop of nothing but kernel calls: the steps of a recurrent layer (``buffers/time_steps.py``)."""
        if op.name != "scf.for" or list(op.results):
            return False
        body = [view.operation for view in op.regions[0].blocks[0].operations]
        others = [inner for inner in body if not inner.name.startswith((*PURE, *ALIASES, "scf.yield"))]
        return bool(others) and all(map(self._is_kernel_call, others))

    def _share_steps(self, loop: ir.Operation) -> None:
        """Shares out the calls of every turn; each turn begins with a barrier."""
        block = loop.regions[0].blocks[0]
        calls = [view.operation for view in block.operations if self._is_kernel_call(view.operation)]
        before, self.since = self.since, _Touched()
        with ir.InsertionPoint.at_block_begin(block):
            call_barrier(self.turn, self.threads)
        for call in calls:
            self._separate(call)
            self._share_call(call)
        self.since.reads |= before.reads  # the loop may take no turn
        self.since.writes |= before.writes
        self.context.statistics["barriers"] += 1

    def _while_chunks(self, op: ir.Operation, count: ir.Value) -> tuple[ir.Operation, ir.Value, ir.Value]:
        """Moves ``op`` into a loop that claims chunks of ``count`` items; the loop, a chunk's begin and end.

            scf.while : () -> (index, index) {
              %begin, %end = call @espalier_claim(%turn, %threads, %count)
              %some = arith.cmpi slt, %begin, %end
              scf.condition(%some) %begin, %end
            } do { ^bb0(%begin, %end): OP }
        """
        with ir.InsertionPoint(op):
            loop = scf.WhileOp([self.index, self.index], [])
        ask = loop.regions[0].blocks.append()
        body = loop.regions[1].blocks.append(self.index, self.index)
        with ir.InsertionPoint(ask):
            begin, end = claim(self.turn, self.threads, count)
            some = arith.CmpIOp(arith.CmpIPredicate.slt, begin, end).result
            scf.ConditionOp(some, [begin, end])
        with ir.InsertionPoint(body):
            last = scf.YieldOp([])
        op.move_before(last.operation)
        return loop.operation, body.arguments[0], body.arguments[1]

    def _claim_whole(self, op: ir.Operation) -> ir.Operation:
        """Has one thread run ``op``."""
        with ir.InsertionPoint(op):
            one = arith.ConstantOp(self.index, 1).result
        return self._while_chunks(op, one)[0]

    def _share_call(self, op: ir.Operation) -> ir.Operation:
        last = len(op.operands) - 1
        loop, begin, end = self._while_chunks(op, op.operands[last])
        op.operands[last - 1], op.operands[last] = begin, end
        return loop

    def _share_loop(self, op: ir.Operation) -> ir.Operation:
        """Shares out the first dimension of an scf.parallel that takes more than one turn, by iterations."""
        dimensions = len(op.regions[0].blocks[0].arguments)
        bounds = [list(op.operands)[at :: dimensions] for at in range(dimensions)]
        at = next((at for at in range(dimensions) if not _single(*bounds[at])), 0)
        lower, upper, step = bounds[at]
        with ir.InsertionPoint(op):
            count = arith.CeilDivSIOp(arith.SubIOp(upper, lower).result, step).result
        loop, *chunk = self._while_chunks(op, count)
        with ir.InsertionPoint(op):
            begin, end = (arith.AddIOp(lower, arith.MulIOp(edge, step).result).result for edge in chunk)
            end = arith.MinSIOp(end, upper).result
        op.operands[at], op.operands[dimensions + at] = begin, end
        return loop

    # -- order ----------------------------------------------------------------------------------

    def _separate(self, op: ir.Operation) -> None:
        """A barrier before ``op`` where it touches what others touched since the last one."""
        reads, writes, writer = self._effects(op)
        clash = any(buffer in self.since.writes for buffer in reads) or any(
            buffer in self.since.reads or self.since.writes.get(buffer, writer) != writer or (
                buffer in self.since.writes and writer is None) for buffer in writes)
        if clash:
            with ir.InsertionPoint(op):
                if op.parent.name == "func.func":
                    self._barrier()
                else:  # inside the steps of a layer, whose time this is
                    call_barrier(self.turn, self.threads)
            self.since = _Touched()
            self.context.statistics["barriers"] += 1
        self.since.reads |= reads
        self.since.writes.update(dict.fromkeys(writes, writer))

    def _effects(self, op: ir.Operation) -> tuple[set[Any], set[Any], Any]:
        """Buffers that ``op`` reads and writes. Kernels of one layer write disjoint parts of one output:
        ``writer`` is that output, so that they need no barrier between them; None for other statements."""
        if op.name == "func.call":
            places = self.written.get(ir.FlatSymbolRefAttr(op.attributes["callee"]).value)
            if places is not None:
                operands = list(op.operands)
                writes = set().union(*(roots(operands[at]) for at in places))
                reads = set().union(*(roots(v) for at, v in enumerate(operands)
                                      if isinstance(v.type, ir.MemRefType) and at not in places))
                return reads - self.own, writes, root(operands[places[0]])
        touched = _buffers(op) - self.own
        return touched, touched, None

    def _stamp(self, label: str) -> None:
        """Thread 0 notes the cycle counter; the labels are listed in ``espalier.labels``."""
        at = arith.ConstantOp(self.index, self.stamped).result
        now = ir.Operation.create("llvm.call_intrinsic", results=[self.i64], attributes={
            "intrin": ir.StringAttr.get("llvm.readcyclecounter"),
            "op_bundle_sizes": ir.DenseI32ArrayAttr.get([]),
            "operandSegmentSizes": ir.DenseI32ArrayAttr.get([0, 0])}).result
        write = scf.IfOp(self.first)
        with ir.InsertionPoint(write.then_block):
            memref.StoreOp(now, self.stamps, [at])
            scf.YieldOp([])
        self.stamped += 1
        attributes = self.module.attributes
        known = list(ir.ArrayAttr(attributes["espalier.labels"])) if "espalier.labels" in attributes else []
        attributes["espalier.labels"] = ir.ArrayAttr.get([*known, ir.StringAttr.get(label)])


def _written_operands(module: ir.Operation) -> dict[str, list[int]]:
    """The operands that each kernel function writes (``espalier.writes``), by function name."""
    found = {}
    for view in module.regions[0].blocks[0].operations:
        if "espalier.writes" in view.operation.attributes:
            name = ir.StringAttr(view.operation.attributes["sym_name"]).value
            found[name] = list(ir.DenseI64ArrayAttr(view.operation.attributes["espalier.writes"]))
    return found


def _buffers(op: ir.Operation) -> set[Any]:
    """Roots of all memrefs that ``op``, or anything inside it, uses and that are defined outside."""
    return set().union(*(roots(value) for one in with_inner(op) for value in one.operands
                         if isinstance(value.type, ir.MemRefType)))


def _is_planned(allocation: ir.Operation) -> bool:
    """Whether ``sparse-plan-memory`` puts the buffer into the arena, where all threads share it."""
    static = ir.MemRefType(allocation.results[0].type).has_static_shape
    return static or bytes_per_step(allocation) is not None


def _single(lower: ir.Value, upper: ir.Value, step: ir.Value) -> bool:
    """Whether a loop is known to take at most one turn."""
    numbers = []
    for value in (lower, upper, step):
        if isinstance(value.owner, ir.Block) or value.owner.operation.name != "arith.constant":
            return False
        numbers.append(ir.IntegerAttr(value.owner.operation.attributes["value"]).value)
    return bool(numbers[0] + numbers[2] >= numbers[1])
