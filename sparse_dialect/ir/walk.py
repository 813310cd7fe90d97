"""Walks over IR: every block, every operation, those of a class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .mlir import ir


def blocks(root: ir.Operation) -> Iterator[ir.Block]:
    """Every block inside ``root``, outer ones before those inside them."""
    for region in root.operation.regions:
        for block in region.blocks:
            yield block
            for op in block.operations:
                if len(op.operation.regions):
                    yield from blocks(op)


def operations(root: ir.Operation, *classes: type) -> list[Any]:
    """The ops inside ``root`` that are of one of ``classes``, in program order (a list: the IR may change
    under it)."""
    found: list[Any] = []
    for region in root.operation.regions:
        for block in region.blocks:
            for op in block.operations:
                if isinstance(op, classes):
                    found.append(op)
                if len(op.operation.regions):
                    found += operations(op, *classes)
    return found


def with_inner(op: ir.Operation) -> list[ir.Operation]:
    """``op`` and all operations inside it, outer ones before those inside them."""
    return [op, *(view.operation for block in blocks(op) for view in block.operations)]


def rename_operands(op: ir.Operation, names: Mapping[ir.Value, ir.Value]) -> None:
    """Replaces the operands of ``op``, and of all inside it, for which there is another in ``names``."""
    for one in with_inner(op):
        for at, value in enumerate(one.operands):
            if value in names:
                one.operands[at] = names[value]


def mentions(root: ir.Operation, prefix: str) -> bool:
    """Whether ``root`` holds an operation whose name starts with ``prefix``."""
    return any(op.operation.name.startswith(prefix) for block in blocks(root) for op in block.operations)
