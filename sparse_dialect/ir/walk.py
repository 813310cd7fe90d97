"""Walks over IR: every block, every operation of a class."""

from __future__ import annotations

from collections.abc import Iterator
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
                found += operations(op, *classes)
    return found


def mentions(root: ir.Operation, prefix: str) -> bool:
    """Whether ``root`` holds an operation whose name starts with ``prefix``."""
    return any(op.operation.name.startswith(prefix) for block in blocks(root) for op in block.operations)
