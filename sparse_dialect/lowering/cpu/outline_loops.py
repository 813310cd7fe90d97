"""``sparse-outline-loops``: loops that occur several times become one function, which is compiled once.

    scf.while (%begin, %end claimed) {                    scf.while (%begin, %end claimed) {
      scf.parallel (%i) = (%begin) to (%end) {              call @loop_0(%begin, %end, %a, %b)
        ... %a[%i] ... %b[%i] ...                   ->    }
      }                                                   ...
    }                                                     scf.while (%begin, %end claimed) {
    ...                                                     call @loop_0(%begin, %end, %c, %d)
    the same with %c for %a and %d for %b                 }

A transformer's layers differ in their weights and buffers alone. What a loop takes from outside becomes an
argument, but for constants, which it keeps: they are part of what makes loops equal. A loop that occurs once
stays where it is, where LLVM knows more of its buffers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ...ir.mlir import bindings, ir
from ...ir.walk import rename_operands
from ...passes import Pass, PassContext
from ..buffers.arguments import public_functions

func: Any = bindings("dialects.func")

NAMES = re.compile(r"%[\w.$-]+")  # of values, in printed IR


@dataclass(frozen=True)
class OutlineLoopsPass(Pass):
    """
    Makes one function of each set of equal loops that threads claim chunks of.

    Equal are loops with the same operations, attributes and constants that differ only in what they read and
    write.
    """

    name = "sparse-outline-loops"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        equal: dict[Any, list[_Body]] = {}
        with op.context, ir.Location.unknown(op.context):
            for function in public_functions(op):
                for body in _bodies(function):
                    equal.setdefault(body.key, []).append(body)
            several = [bodies for bodies in equal.values() if len(bodies) > 1]
            for number, bodies in enumerate(several):
                _join(op, f"loop_{number}", bodies)
        context.statistics["functions"] += len(several)
        context.statistics["loops"] += sum(map(len, several))


class _Body:
    """What a thread does with a chunk that it claimed: the operations of ``block`` but its end, in order.

    ``outer`` are the values from outside, the chunk's begin and end first, in the order of their first uses;
    ``key`` is equal where bodies are, see ``OutlineLoopsPass``: their text without the names of values, and
    for each value that they use or define, in the order in which they do, a number or what constant it is.
    """

    def __init__(self, block: ir.Block) -> None:
        self.block = block
        self.outer: list[ir.Value] = []
        own: set[ir.Value] = set()
        numbers: dict[ir.Value, int] = {}
        order: list[int | str] = []
        chunk = [(argument, False) for argument in block.arguments]
        for value, is_own in chain(chunk, *map(_values, self.operations)):
            if is_own:
                own.add(value)
            elif value not in own and value not in self.outer:
                self.outer.append(value)
            constant = None if value in own else _constant(value)
            order.append(numbers.setdefault(value, len(numbers)) if constant is None
                         else str(constant.attributes["value"]))
        copies = [op.clone() for op in self.operations]  # to print one in its function numbers all of that
        texts = [NAMES.sub("%", copy.get_asm(use_local_scope=True)) for copy in copies]
        self.key = (*texts, *order)

    @property
    def operations(self) -> list[ir.Operation]:
        return [view.operation for view in self.block.operations][:-1]

    @property
    def arguments(self) -> list[ir.Value]:
        """What a function of the body takes."""
        return [value for value in self.outer if _constant(value) is None]


def _bodies(function: Any) -> Iterator[_Body]:
    """The bodies of the loops over chunks in ``function`` that hold more than a call."""
    for view in function.regions[0].blocks[0].operations:
        op = view.operation
        if op.name == "scf.while" and not list(op.operands):
            block = op.regions[1].blocks[0]
            if any(list(inner.operation.regions) for inner in block.operations):
                yield _Body(block)


def _values(op: ir.Operation) -> Iterator[tuple[ir.Value, bool]]:
    """The operands of ``op`` and all inside it, False with each, and what they define, with True."""
    for operand in op.operands:
        yield operand, False
    for result in op.results:
        yield result, True
    for region in op.regions:
        for block in region.blocks:
            for argument in block.arguments:
                yield argument, True
            for inner in block.operations:
                yield from _values(inner.operation)


def _constant(value: ir.Value) -> ir.Operation | None:
    """The constant operation that defines ``value``, if one does."""
    owner = value.owner
    is_one = not isinstance(owner, ir.Block) and owner.operation.name == "arith.constant"
    return owner.operation if is_one else None


def _join(module: ir.Operation, name: str, bodies: Sequence[_Body]) -> None:
    """Moves the first body into a function ``name``; calls of it take the place of all."""
    for body in bodies:
        end = list(body.block.operations)[-1]
        with ir.InsertionPoint(end), end.operation.location:
            func.CallOp([], name, body.arguments)
    first, *others = bodies
    for body in others:
        for op in reversed(body.operations[:-1]):
            op.erase()
    types = [value.type for value in first.arguments]
    with ir.InsertionPoint.at_block_begin(module.regions[0].blocks[0]):
        function = func.FuncOp(name, (types, []), visibility="private")
    entry = function.add_entry_block()
    with ir.InsertionPoint(entry):
        inside = dict(zip(first.arguments, entry.arguments, strict=True))
        for value in first.outer:
            constant = _constant(value)
            if constant is not None:
                inside[value] = constant.clone().results[0]
        end = func.ReturnOp([])
    for op in first.operations[:-1]:
        op.move_before(end.operation)
        rename_operands(op, inside)
