"""LRE in a GPU's kernels: what ``sparse-eliminate-redundant-loads`` does to ``gpu.func``.

    %a = memref.load %input[%0] {espalier.filter = 0 : i64};  %s = vector.fma %a, %w0, %acc
    %b = memref.load %input[%0] {espalier.filter = 0 : i64};  %t = vector.fma %b, %w1, %s
    -> the second load goes, and its multiply reads %a

The lowering marks the loads of input pixels with the filter that they are for. Its order of products, input
row by input row, keeps few values live, so there is no limit of registers here. ``espalier.reads`` on the
function says what each class's loop reads: elements before and after, load instructions before and after,
and multiply-adds.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import astuple, dataclass
from math import prod
from typing import Literal

from ...ir.mlir import ir
from ...ir.walk import blocks

Level = Literal["none", "kernel", "filter"]
FILTER, CLASS, READS, KEEP = ("espalier.filter", "espalier.class", "espalier.reads", "espalier.keep_loads")
_COMMUTE = ("arith.addi", "arith.muli")


@dataclass
class Reads:
    """Of one turn of a loop: elements and load instructions of the input, multiply-adds."""

    elements_before: int = 0
    elements_after: int = 0
    loads_before: int = 0
    loads_after: int = 0
    multiply_adds: int = 0


def eliminate(kernel: ir.Operation, level: Level) -> Reads:
    """Rewrites one ``gpu.func``; the sum over its loops."""
    found: dict[int, Reads] = {}
    for block in blocks(kernel):
        reads = _block(block, level)
        of_owner = block.owner.operation.attributes
        if CLASS in of_owner:
            found[ir.IntegerAttr(of_owner[CLASS]).value] = reads
    if found:
        numbers = [number for kind in range(max(found) + 1) for number in astuple(found.get(kind, Reads()))]
        kernel.attributes[READS] = ir.DenseI64ArrayAttr.get(numbers)
    if level == "none":
        kernel.attributes[KEEP] = ir.UnitAttr.get()
    total = Reads()
    for reads in found.values():
        total = Reads(*(a + b for a, b in zip(astuple(total), astuple(reads), strict=True)))
    return total


def reads_in(kernel: ir.Operation) -> list[Reads]:
    """What ``eliminate`` noted, for each class."""
    if READS not in kernel.attributes:
        return []
    numbers = list(ir.DenseI64ArrayAttr(kernel.attributes[READS]))
    return [Reads(*numbers[at : at + 5]) for at in range(0, len(numbers), 5)]


def _block(block: ir.Block, level: Level) -> Reads:
    reads, numbers = Reads(), _Numbers()
    known: dict[Hashable, ir.Value] = {}
    for view in list(block.operations):
        op = view.operation
        if op.name == "vector.fma":
            reads.multiply_adds += prod(ir.VectorType(op.results[0].type).shape)
        if op.name in _COMMUTE:
            numbers.note(op)
        if op.name != "memref.load" or FILTER not in op.attributes:
            continue
        elements = _elements(op.results[0].type)
        reads.elements_before += elements
        reads.loads_before += 1
        reader = None if level == "filter" else ir.IntegerAttr(op.attributes[FILTER]).value
        key = (reader, *map(numbers.of, op.operands))
        if level != "none" and key in known:
            op.results[0].replace_all_uses_with(known[key])
            op.erase()
            continue
        known[key] = op.results[0]
        reads.elements_after += elements
        reads.loads_after += 1
    return reads


class _Numbers:
    """Index arithmetic numbered by value: equal sums, equal addresses."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def of(self, value: ir.Value) -> int:
        """The number of a value; constants and sums of equals have one."""
        owner = value.owner
        constant = not isinstance(owner, ir.Block) and owner.operation.name == "arith.constant"
        key = ("constant", owner.operation.attributes["value"]) if constant else value
        return self._known.setdefault(key, len(self._known))

    def note(self, op: ir.Operation) -> None:
        """The result of a sum or product is what its operands make."""
        key = (op.name, *sorted(map(self.of, op.operands)))
        self._known[op.results[0]] = self._known.setdefault(key, len(self._known))


def _elements(type_: ir.Type) -> int:
    return prod(ir.VectorType(type_).shape) if isinstance(type_, ir.VectorType) else 1
