"""A buffer that only one group of rows touches at a time lies in the scratch of the thread that runs it.

    %t = memref.alloc() : memref<1024x256xf32>              %t = memref.view %scratch : memref<1024xf32>
    scf.parallel (%i) {                                     scf.parallel (%i) {
      writes rows 4 i .. 4 i + 3 of %t          ->            writes %t, 4 rows
      reads rows 4 i .. 4 i + 3 of %t                         reads %t
    }                                                       }

What one row leaves there the next finds in cache: nothing of it goes through memory, nor takes room in the
arena.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...ir.mlir import ir
from ..buffers.arguments import ALIASES, align, byte_view, root, scratch_of, set_size
from .loops import Plan
from .nest import Access
from .row_groups import Group, bytes_of

WORD = 4  # bytes, in which scratch is counted


@dataclass
class Private:
    """A buffer of elements of ``type_`` that a group of rows has for itself: ``first`` of the whole buffer's
    elements stands for where it begins."""

    first: int
    last: int
    element: ir.Type
    offset: int = 0
    view: Any = None

    @property
    def size(self) -> int:
        """In bytes."""
        return (self.last - self.first) * bytes_of(self.element)


def private_buffers(group: Group) -> dict[Any, Private]:
    """Views of scratch, made at the current insertion point, for the buffers that only one turn of ``group``
    touches at a time; none where the function has no scratch."""
    function = group.steps[0].op.parent.operation
    scratch = scratch_of(function)
    if scratch is None:
        return {}
    ops = [step.op for step in group.steps]
    found: dict[Any, Private] = {}
    for cut in group.cuts:
        for at, access in enumerate(cut.accesses):
            buffer = root(access.value)
            if access.is_scalar or not _is_only_in(buffer, ops):
                continue
            last = access.offset + (group.together - 1) * cut.outer[-1].strides[at] + cut.extent(at)
            known = found.setdefault(buffer, Private(access.offset, last, access.element))
            known.first, known.last = min(known.first, access.offset), max(known.last, last)
    total = 0
    for private in found.values():
        private.offset, total = total, align(total + private.size)
        count = private.last - private.first
        private.view = scratch_view(scratch, count, private.element, private.offset)
    return found


def scratch_view(scratch: Any, count: int, element: ir.Type, offset: int = 0) -> Any:
    """``count`` elements, ``offset`` bytes behind where ``scratch`` begins, which is made long enough."""
    end = align(offset + count * bytes_of(element))
    set_size(scratch.owner.owner.parent.operation, "espalier.scratch", end // WORD)
    return byte_view(scratch, offset, ir.MemRefType.get([count], element))


def _is_only_in(buffer: Any, ops: Sequence[ir.Operation]) -> bool:
    """Whether ``buffer`` is allocated, and nothing but ``ops`` uses it."""
    if isinstance(buffer.owner, ir.Block) or buffer.owner.operation.name != "memref.alloc":
        return False
    return all(user in ops for user in _users(buffer))


def _users(buffer: Any) -> Iterator[ir.Operation]:
    for use in buffer.uses:
        user = use.owner.operation
        if user.name in ALIASES:
            yield from _users(user.results[0])
        else:
            yield user


def in_private(plan: Plan, outer: int, buffers: dict[Any, Private]) -> Plan:
    """``plan``, whose first ``outer`` loops are those over groups of rows, with ``buffers`` in scratch."""
    def moved(access: Access) -> Access:
        private = None if access.is_scalar else buffers.get(root(access.value))
        if private is None:
            return access
        strides = (*(0,) * outer, *access.strides[outer:])
        sizes = plan.nest.sizes
        extent = 1 + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
        return replace(access, value=private.view, offset=access.offset - private.first, strides=strides,
                       extent=extent)

    nest = replace(plan.nest, accesses=tuple(moved(access) for access in plan.nest.accesses))
    return replace(plan, nest=nest)
