"""``sparse-eliminate-redundant-loads``: register load redundancy elimination (LRE; PatDNN, ASPLOS 2020).

    %a = vector.load %x[%c, %l, %0];  %s = vector.fma %a, %w0, %acc
    %b = vector.load %x[%c, %l, %0];  %t = vector.fma %b, %w1, %s
    -> the second load goes, and its multiply reads %a

The lowering emits one load for every multiply. Two kinds are redundant: a kernel's weights read the same
lines for neighbouring outputs (kernel level), and filters of a group read the same line of a channel (filter
level).

Registers are finite. Accumulators and broadcast weights take what they take; in the other registers stay the
lines whose next use is nearest (Belady, 1966), so that what the pass keeps fits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal

from ...dialect.schedules import device_of
from ...ir.mlir import bindings, ir
from ...ir.walk import blocks, operations
from ...passes import Pass, PassContext, option
from .kernel_loads import Reads, eliminate

func: Any = bindings("dialects.func")
llvm: Any = bindings("dialects.llvm")

ARITHMETIC = ("arith.addi", "arith.muli")  # index arithmetic that addresses are compared through
WIDENING = "arith.extf"
READS = ("vector.load", "memref.load", "vector.gather")
PURE = ("arith.", "math.", "vector.broadcast", "vector.fma", "vector.extract", "vector.insert",
        "vector.shuffle", "vector.reduction", "memref.reinterpret_cast", "memref.collapse_shape",
        "memref.view")


@dataclass(frozen=True)
class EliminateRedundantLoadsPass(Pass):
    """
    Replaces vector loads whose value is still in a register by that value, block by block.

    `level` says how far: `kernel` shares lines among the multiplies of one filter, `filter` also among the
    filters of a group; stores and calls end what is known. `none` removes nothing, to let one measure what
    the pass gives: LLVM would remove the same loads, so an empty `llvm.inline_asm` that clobbers memory goes
    before each repeated load that a level below `filter` leaves.

    In a GPU's kernels (``kernel_loads.py``) it works on loads of input pixels, and notes what each class's
    loop reads in `espalier.reads`.

    Calls that have `espalier.visits` (runs of each class's loop body) get `espalier.loads_before` and
    `espalier.loads_after`: vector loads of input lines that the call executes.
    """

    name = "sparse-eliminate-redundant-loads"

    level: Literal["none", "kernel", "filter"] = option(
        "filter", "share lines among nothing, a filter's multiplies, or those of all filters of a group")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context, ir.Location.unknown(op.context):
            kernels = [kernel for block in blocks(op) for kernel in _kernels(block)]
            if kernels:  # a GPU's: no vector registers of a core
                for kernel in kernels:
                    self._note(eliminate(kernel, self.level), context)
                return
            core = device_of(op).costs
            registers = core.registers - core.spare
            counts = {ir.StringAttr(f.sym_name).value: self._function(f, registers, context)
                      for f in operations(op, func.FuncOp)}
            for call in operations(op, func.CallOp):
                _count(call, counts)

    def _note(self, reads: Reads, context: PassContext) -> None:
        context.statistics["loads before"] += reads.loads_before
        context.statistics["loads after"] += reads.loads_after
        context.statistics["elements before"] += reads.elements_before
        context.statistics["elements after"] += reads.elements_after

    def _function(self, function: Any, registers: int, context: PassContext) -> dict[int, list[int]]:
        """Loads before and after in the body of each kernel class's loop."""
        counts: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        for block in blocks(function):
            before, after = self._block(block, registers, context)
            of_owner = block.owner.operation.attributes
            if "espalier.class" in of_owner:
                kind = counts[ir.IntegerAttr(of_owner["espalier.class"]).value]
                kind[0], kind[1] = kind[0] + before, kind[1] + after
        return counts

    def _block(self, block: ir.Block, registers: int, context: PassContext) -> tuple[int, int]:
        """Rewrites one block; the number of its vector loads before and after."""
        loads = _Scan(block).loads
        by_kernel = _served(loads, registers, "kernel") if self.level != "none" else [None] * len(loads)
        served = _served(loads, registers, "filter") if self.level == "filter" else by_kernel
        for load, source in zip(loads, served, strict=True):
            if source is not None:
                load.op.results[0].replace_all_uses_with(loads[source].op.results[0])
        if self.level != "filter":
            _hold_back_llvm(loads, served)
        for load, source in zip(loads, served, strict=True):
            if source is not None:
                load.op.erase()
        removed, in_kernels = (sum(s is not None for s in found) for found in (served, by_kernel))
        context.statistics["loads before"] += len(loads)
        context.statistics["loads after"] += len(loads) - removed
        context.statistics["loads removed (kernel level)"] += in_kernels
        context.statistics["loads removed (filter level)"] += removed - in_kernels
        return len(loads), len(loads) - removed


@dataclass
class _Load:
    """A vector load: equal addresses hold equal values; ``pressure`` is the number of other live vectors."""

    op: ir.Operation
    address: Hashable
    filter: int
    position: int
    pressure: int = 0


@dataclass
class _Scan:
    """What a block loads, in order. Index arithmetic is numbered by value: equal sums, equal addresses."""

    block: ir.Block
    loads: list[_Load] = field(default_factory=list)

    def __post_init__(self) -> None:
        operations = [view.operation for view in self.block.operations]
        if not any(op.name == "vector.load" for op in operations):
            return
        self.numbers: dict[Hashable, int] = {}  # of values, and of what they compute
        self.live: dict[ir.Value, list[int]] = {}  # first and last position of each vector that is no line
        self.lines: set[ir.Value] = set()
        self.epoch = 0  # counts what may write memory
        for argument in self.block.arguments:
            if isinstance(argument.type, ir.VectorType):
                self.live[argument] = [-1, -1]
        self.end = len(operations)
        for position, op in enumerate(operations):
            self._visit(op, op.name, position)
        change = [0] * (self.end + 2)
        for first, last in self.live.values():
            change[first + 1] += 1
            change[last + 1] -= 1  # the last reader may write its result to the same register
        pressure = list(accumulate(change))
        for load in self.loads:
            load.pressure = pressure[load.position]

    def _visit(self, op: ir.Operation, name: str, position: int) -> None:
        operands = list(op.operands)
        if is_lane(op):
            return
        if name == "vector.load" and not gives_lanes(op):
            tagged = "espalier.filter" in op.attributes
            reader = ir.IntegerAttr(op.attributes["espalier.filter"]).value if tagged else 0
            address = (self.epoch, op.results[0].type, *map(self._number, operands))
            self.loads.append(_Load(op, address, reader, position))
            self.lines.add(op.results[0])
            return
        for operand in operands:
            if isinstance(operand.type, ir.VectorType) and operand not in self.lines:
                # a new one comes from outside, and stays for the block's next run
                held = self.live.setdefault(register_of(operand), [-1, self.end])
                held[1] = max(held[1], position)
        if name in ARITHMETIC:
            key = (name, *sorted(map(self._number, operands)))  # both commute
            self.numbers[op.results[0]] = self.numbers.setdefault(key, len(self.numbers))
        elif not only_reads(op):
            self.epoch += 1
        for result in op.results:
            if isinstance(result.type, ir.VectorType):
                self.live[result] = [position, position]

    def _number(self, value: ir.Value) -> int:
        if value not in self.numbers:
            owner = value.owner
            constant = not isinstance(owner, ir.Block) and owner.name == "arith.constant"
            key = ("constant", owner.attributes["value"]) if constant else value
            self.numbers[value] = self.numbers.setdefault(key, len(self.numbers))
        return self.numbers[value]


def only_reads(op: ir.Operation) -> bool:
    """Whether ``op`` neither writes memory nor holds regions nor ends a block."""
    return not len(op.regions) and (op.name in READS or op.name.startswith(PURE))


def is_lane(op: ir.Operation) -> bool:
    """Whether ``op`` repeats one lane of a vector, which multiplies on Arm read in place."""
    return op.name == "vector.shuffle" and len(set(ir.DenseI64ArrayAttr(op.attributes["mask"]))) == 1


def register_of(value: ir.Value) -> ir.Value:
    """The vector whose register a multiply reads for ``value``."""
    owner = value.owner
    return value if isinstance(owner, ir.Block) or not is_lane(owner.operation) else owner.operands[0]


def gives_lanes(load: ir.Operation) -> bool:
    """Whether ``load`` brings weights, which multiplies read lane by lane, and not an input line."""
    readers = [use.owner.operation for use in load.results[0].uses]
    if len(readers) == 1 and readers[0].name == WIDENING:
        readers = [use.owner.operation for use in readers[0].results[0].uses]
    return bool(readers) and all(is_lane(reader) for reader in readers)


def _served(loads: Sequence[_Load], registers: int, level: str) -> list[int | None]:
    """For each load, the earlier one whose value is still in a register, or None where it must be loaded."""
    keys = [load.address if level == "filter" else (load.address, load.filter) for load in loads]
    coming: list[int | None] = [None] * len(loads)  # the next load of the same key
    later: dict[Hashable, int] = {}
    for at in reversed(range(len(loads))):
        coming[at] = later.get(keys[at])
        later[keys[at]] = at
    served: list[int | None] = []
    resident: dict[Hashable, tuple[int, int]] = {}  # (next use, load) of each line in a register
    for at, load in enumerate(loads):
        source = resident.pop(keys[at])[1] if keys[at] in resident else None
        served.append(source)
        while len(resident) >= max(1, registers - load.pressure):  # one is for this load
            del resident[max(resident, key=lambda key: resident[key][0])]
        following = coming[at]
        if following is not None:
            resident[keys[at]] = (following, at if source is None else source)
    return served


def _hold_back_llvm(loads: Sequence[_Load], served: Sequence[int | None]) -> None:
    """A memory clobber before each load that stays although its value was loaded before in the block."""
    seen: set[Hashable] = set()
    for load, source in zip(loads, served, strict=True):
        if load.address in seen and source is None:
            with ir.InsertionPoint(load.op):
                llvm.InlineAsmOp(None, [], "", "~{memory}", has_side_effects=True)
        seen.add(load.address)


def _count(call: Any, counts: dict[str, dict[int, list[int]]]) -> None:
    """Loads that a call executes: visits of each class times the loads of its loop body."""
    attributes = call.operation.attributes
    if "espalier.visits" not in attributes:
        return
    visits = list(ir.DenseI64ArrayAttr(attributes["espalier.visits"]))
    kinds = counts.get(ir.FlatSymbolRefAttr(attributes["callee"]).value, {})
    for name, which in (("espalier.loads_before", 0), ("espalier.loads_after", 1)):
        total = sum(visits[kind] * found[which] for kind, found in kinds.items() if kind < len(visits))
        attributes[name] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), total)


def _kernels(block: ir.Block) -> list[ir.Operation]:
    """The functions of a GPU's kernels in a block."""
    return [view.operation for view in block.operations if view.operation.name == "gpu.func"]
