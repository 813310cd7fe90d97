"""``sparse-schedule-loads``: vector loads in pairs, some multiplies ahead of their first reader.

    %a = vector.load %x[%c, %l0, %0]          %a = vector.load %x[%c, %l0, %0]   // neighbours: one LDP
    %s = vector.fma %a, %w0, %acc0            %b = vector.load %x[%c, %l1, %0]
    %b = vector.load %x[%c, %l1, %0]    ->    %s = vector.fma %a, %w0, %acc0
    %t = vector.fma %b, %w0, %acc1            %t = vector.fma %b, %w0, %acc1

For cores whose code generator keeps this order (``Core.places_loads``): LLVM's own scheduler moves loads up
until accumulators spill. In-order cores then find their operands loaded, and none of the lines in flight
costs an accumulator its register.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from ...dialect.schedules import device_of
from ...ir.mlir import bindings, ir
from ...ir.walk import blocks, operations
from ...passes import Pass, PassContext, option
from .eliminate_redundant_loads import (
    WIDENING,
    gives_lanes,
    is_lane,
    only_reads,
    register_of,
)

func: Any = bindings("dialects.func")
llvm: Any = bindings("dialects.llvm")

FEWEST_MULTIPLIES = 4


@dataclass(frozen=True)
class ScheduleLoadsPass(Pass):
    """
    Orders the loads and multiplies at the head of every block: loads of neighbouring lines in pairs, up to
    some multiplies before the first one that reads them, as far as registers hold them beside the
    accumulators. A block's head ends where something writes memory or branches. Does nothing where the
    target's code generator places loads itself.
    """

    name = "sparse-schedule-loads"

    ahead: int | None = option(
        None, "multiplies between a load and its first reader; none: the core's number")
    spare: int | None = option(
        None, "registers that stay free where a line outlives one loaded after it; none: the core's number")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        core = device_of(op).costs
        if not core.places_loads:
            return
        ahead = core.ahead if self.ahead is None else self.ahead
        spare = core.spare if self.spare is None else self.spare
        with op.context:
            for function in operations(op, func.FuncOp):
                for block in list(blocks(function)):
                    head = _Head(block)
                    if len(head.multiplies) >= FEWEST_MULTIPLIES:
                        head.rewrite(ahead, core.registers, spare)
                        context.statistics["blocks scheduled"] += 1


@dataclass(frozen=True)
class _Line:
    """A load, and the first and last multiply that reads it, by number; as the head's end counts what is not
    a multiply."""

    op: ir.Operation
    first: int
    last: int


_Address = tuple[tuple[ir.Value | None, ...], int]


class _Head:
    """The operations of ``block`` before the first that writes memory or holds a region."""

    def __init__(self, block: ir.Block) -> None:
        everything = [view.operation for view in block.operations]
        reads = [only_reads(op) for op in everything]
        self.end = everything[reads.index(False)]  # a terminator at the latest
        self.ops = everything[: reads.index(False)]
        self.multiplies = [op for op in self.ops if op.name == "vector.fma"]
        self.number = {op.results[0]: at for at, op in enumerate(self.multiplies)}
        self.inside = {result: op for op in self.ops for result in op.results}
        self.arguments = list(block.arguments)
        self.placed: set[ir.Operation] = set()
        self.loaded: set[_Address] = set()

    def rewrite(self, ahead: int, registers: int, spare: int) -> None:
        """Moves the operations into their new order."""
        lines, pressure = self._lines(), self._pressure()
        if any(a.last > b.last for a, b in pairwise(a for a in lines if not gives_lanes(a.op))):
            registers -= spare
        groups = _pairs(lines)
        live: list[_Line] = []
        for at, multiply in enumerate(self.multiplies):
            live = [line for line in live if line.last >= at]
            while groups and groups[0][0].first <= at + ahead:
                if len(groups[0]) > registers - pressure[at] - len(live):
                    if groups[0][0].first > at:
                        break
                    groups[:1] = [[line] for line in groups[0]]
                live += groups[0]
                self._place_lines(groups.pop(0))
            self._place([multiply])
        self._place(self.ops)

    def _place_lines(self, group: Sequence[_Line]) -> None:
        """LLVM would serve a repeated load from the register of the first and spill that: before one goes a
        statement that may write memory, for all that LLVM knows."""
        addresses = [_address(line.op) for line in group]
        if not self.loaded.isdisjoint(addresses):
            with ir.InsertionPoint(self.end), self.end.location:
                llvm.InlineAsmOp(None, [], "", "~{memory}", has_side_effects=True)
        self.loaded.update(addresses)
        self._place([line.op for line in group])

    def _place(self, ops: Iterable[ir.Operation]) -> None:
        """Moves ``ops`` behind what is placed so far, each behind what it needs of the head."""
        for op in ops:
            if op not in self.placed:
                self.placed.add(op)
                self._place([self.inside[value] for value in op.operands if value in self.inside])
                op.move_before(self.end)

    def _lines(self) -> list[_Line]:
        """The input lines that multiplies read, in the order of their first readers."""
        found = []
        for op in self.ops:
            if op.name == "vector.load":
                readers = self._readers(op.results[0])
                if min(readers, default=len(self.multiplies)) < len(self.multiplies):
                    found.append(_Line(op, min(readers), max(readers)))
        return sorted(found, key=lambda line: line.first)

    def _readers(self, value: ir.Value) -> list[int]:
        """The multiplies that read ``value``, a lane of it, or it in a wider type."""
        found: list[int] = []
        for use in value.uses:
            owner = use.owner.operation
            if (is_lane(owner) or owner.name == WIDENING) and owner.results[0] in self.inside:
                found += self._readers(owner.results[0])
            else:
                result = owner.results[0] if len(owner.results) else None
                found.append(self.number.get(result, len(self.multiplies)))
        return found

    def _pressure(self) -> list[int]:
        """At each multiply, the live vectors that are no loads."""
        end = len(self.multiplies)
        change = [0] * (end + 1)
        for value in self._vectors():
            readers = self._readers(value)
            if value not in self.inside and value not in self.arguments:
                change[0] += 1  # it comes from outside and stays for the block's next run
            elif readers:
                start = self.number.get(value, min(readers) if value in self.inside else 0)
                change[start] += 1
                change[min(max(readers), end)] -= 1  # the last reader may write to the same register
        return list(accumulate(change))

    def _vectors(self) -> list[ir.Value]:
        """Vectors that hold a register somewhere in the head and are no loads of its own."""
        read = [register_of(value) for op in self.multiplies for value in op.operands]
        own = [result for op in self.ops if not is_lane(op) for result in op.results]
        values = dict.fromkeys([*self.arguments, *read, *own])
        return [value for value in values if isinstance(value.type, ir.VectorType)
                and (value not in self.inside or self.inside[value].name != "vector.load")]


def _pairs(lines: Sequence[_Line]) -> list[list[_Line]]:
    """Neighbours in order and in memory two by two, the others alone."""
    groups: list[list[_Line]] = []
    for line in lines:
        if groups and len(groups[-1]) == 1 and _adjacent(groups[-1][0].op, line.op):
            groups[-1].append(line)
        else:
            groups.append([line])
    return groups


def _adjacent(first: ir.Operation, second: ir.Operation) -> bool:
    """Whether ``second`` loads the vector behind the one that ``first`` loads."""
    (base, at), (other, behind) = _address(first), _address(second)
    return base == other and behind == at + ir.VectorType(first.results[0].type).shape[0]


def _address(load: ir.Operation) -> _Address:
    """What a load's address has besides constants, and the sum of these in elements."""
    base, *indices = load.operands
    strides, _ = ir.MemRefType(base.type).get_strides_and_offset()
    variable: list[ir.Value | None] = [base]
    offset = 0
    for index, stride in zip(indices, strides, strict=True):
        value, constant = _split(index)
        variable.append(value)
        offset += constant * stride
    return tuple(variable), offset


def _split(index: ir.Value) -> tuple[ir.Value | None, int]:
    """``index`` as a value (None: nothing) plus a constant."""
    owner = index.owner
    if not isinstance(owner, ir.Block):
        if owner.name == "arith.constant":
            return None, ir.IntegerAttr(owner.attributes["value"]).value
        if owner.name == "arith.addi":
            (left, less), (right, more) = map(_split, owner.operands)
            if left is None or right is None:
                return left or right, less + more
    return index, 0
