"""``sparse-place-parts``: what is put together from copies is put together where it is copied to.

    %a = memref.alloc() : memref<6x4xf32>                 rows of %x and their margins
    memref.copy %x, (memref.subview %a[1, 0] [4, 4])
    memref.copy %a, (memref.subview %y[0, 1] [6, 4])      and columns around them
    memref.copy (memref.subview %a[0, 1] [6, 1]), (memref.subview %y[0, 0] [6, 1])
    -> memref.copy %x, (memref.subview %y[1, 1] [4, 4])
       memref.copy (memref.subview %y[0, 2] [6, 1]), (memref.subview %y[0, 0] [6, 1])

Padding by reflection and concatenations of concatenations come so. Runs on buffers of known shape; while the
buffer that goes lives, nothing else may touch its new place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...ir.mlir import ir
from ...ir.walk import with_inner
from ...passes import Pass, PassContext
from .arguments import functions, memref, root


@dataclass(frozen=True)
class PlacePartsPass(Pass):
    """
    Writes what only copies write, and one copy moves as a whole, into the place where that copy moves it.
    """

    name = "sparse-place-parts"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            for function in functions(op):
                for block in function.regions[0].blocks:
                    for copy in reversed(_named(block, "memref.copy")):
                        context.statistics["parts placed"] += _place(copy)


@dataclass(frozen=True)
class _Box:
    """A part of a buffer: where it begins in each dimension, and how far it goes."""

    buffer: ir.Value
    begin: tuple[int, ...]
    sizes: tuple[int, ...]

    @staticmethod
    def of(value: ir.Value) -> _Box | None:
        """None where ``value`` is no part of a buffer of known shape, element by element."""
        if isinstance(value.owner, ir.Block) or value.owner.operation.name != "memref.subview":
            type_ = ir.MemRefType(value.type)
            plain = type_.has_static_shape and isinstance(type_.layout, ir.AffineMapAttr)
            return _Box(value, (0,) * type_.rank, tuple(type_.shape)) if plain else None
        view = value.owner.operation
        outer = _Box.of(view.operands[0])
        begin, sizes, steps = (tuple(ir.DenseI64ArrayAttr(view.attributes[f"static_{name}"]))
                               for name in ("offsets", "sizes", "strides"))
        if outer is None or len(list(view.operands)) > 1 or set(steps) - {1}:
            return None
        if tuple(ir.MemRefType(value.type).shape) != sizes:
            return None
        return _Box(outer.buffer, tuple(a + b for a, b in zip(outer.begin, begin, strict=True)), sizes)

    def inside(self, outer: _Box) -> _Box:
        """This part of a buffer that is itself ``outer``."""
        return _Box(outer.buffer, tuple(a + b for a, b in zip(outer.begin, self.begin, strict=True)),
                    self.sizes)

    def meets(self, other: _Box) -> bool:
        """Whether the two share an element."""
        return all(a < b + n and b < a + m for a, m, b, n in zip(
            self.begin, self.sizes, other.begin, other.sizes, strict=True))

    def view(self) -> ir.Value:
        """The part, at the current insertion point."""
        type_ = ir.MemRefType(self.buffer.type)
        strides, _ = type_.get_strides_and_offset()
        offset = sum(at * stride for at, stride in zip(self.begin, strides, strict=True))
        layout = ir.StridedLayoutAttr.get(offset, list(strides))
        made = ir.MemRefType.get(list(self.sizes), type_.element_type, layout)
        return memref.SubViewOp(made, self.buffer, [], [], [], list(self.begin), list(self.sizes),
                                [1] * len(self.sizes)).result


def _place(copy: ir.Operation) -> bool:
    """Has what ``copy`` moves written where it moves it, and erases it; whether that can be."""
    source, place = (_Box.of(value) for value in copy.operands)
    if source is None or place is None or source.buffer != copy.operands[0] or place.buffer == source.buffer:
        return False
    alloc = source.buffer.owner
    if isinstance(alloc, ir.Block) or alloc.operation.name != "memref.alloc":
        return False
    users = _copies_of(source.buffer, copy.block)
    if not users:
        return False
    order = {view.operation: at for at, view in enumerate(copy.block.operations)}
    if any(order[user] > order[copy] for user in users if _writes(user, source.buffer)):
        return False
    first, last = min(users, key=order.__getitem__), max(users, key=order.__getitem__)
    between = [view.operation for view in copy.block.operations
               if order[first] <= order[view.operation] <= order[last] and view.operation != copy]
    if not all(_keeps_off(op, place) for op in between) or not _is_there(place.buffer, first, order):
        return False
    _have(place.buffer, first, order)
    users.remove(copy)
    copy.erase()
    _move(users, source.buffer, place)
    return True


def _copies_of(buffer: ir.Value, block: ir.Block) -> list[ir.Operation]:
    """The copies that write and read ``buffer``; none where anything else does."""
    found: list[ir.Operation] = []
    for user in _users(buffer):
        boxes = [_Box.of(value) for value in user.operands if root(value) == buffer]
        if user.name != "memref.copy" or user.block != block or len(boxes) != 1 or boxes[0] is None:
            return []
        found.append(user)
    return found


def _users(buffer: ir.Value) -> Iterator[ir.Operation]:
    """The operations that use ``buffer`` or a subview of it, but for the subviews."""
    for use in buffer.uses:
        user = use.owner.operation
        if user.name == "memref.subview":
            yield from _users(user.results[0])
        else:
            yield user


def _writes(copy: ir.Operation, buffer: ir.Value) -> bool:
    return bool(root(copy.operands[1]) == buffer)


def _keeps_off(op: ir.Operation, place: _Box) -> bool:
    """Whether ``op`` does not touch ``place``, for all that can be told."""
    if op.name in ("memref.subview", "memref.alloc"):
        return True
    values = [value for one in with_inner(op) for value in one.operands
              if isinstance(value.type, ir.MemRefType)]
    boxes = [_Box.of(value) for value in values if root(value) == place.buffer]
    known = all(box is not None and not box.meets(place) for box in boxes)
    return known and not any(_may_be_any(value) for value in values)


def _may_be_any(value: ir.Value) -> bool:
    """Whether ``value`` is a buffer that a branch or a loop chose."""
    owner = root(value).owner
    if isinstance(owner, ir.Block):
        return bool(owner.owner.operation.name != "func.func")
    return owner.operation.name not in ("memref.alloc", "memref.get_global")


def _is_there(buffer: ir.Value, first: ir.Operation, order: dict[ir.Operation, int]) -> bool:
    """Whether ``buffer`` exists before ``first``, or can."""
    if isinstance(buffer.owner, ir.Block):
        return True
    owner = buffer.owner.operation
    return owner in order and (owner.name == "memref.alloc" or order[owner] < order[first])


def _have(buffer: ir.Value, first: ir.Operation, order: dict[ir.Operation, int]) -> None:
    """Allocates ``buffer`` before ``first``, if it comes later."""
    if not isinstance(buffer.owner, ir.Block) and order[buffer.owner.operation] > order[first]:
        buffer.owner.operation.move_before(first)


def _move(users: Sequence[ir.Operation], buffer: ir.Value, place: _Box) -> None:
    """``users`` of ``buffer`` use ``place``, and it goes."""
    for user in users:
        for at, value in enumerate(list(user.operands)):
            box = _Box.of(value) if root(value) == buffer else None
            if box is not None:
                with ir.InsertionPoint(user), user.location:
                    user.operands[at] = box.inside(place).view()
    _erase(buffer.owner.operation)


def _erase(op: ir.Operation) -> None:
    """Erases ``op`` and the subviews of its result."""
    while uses := list(op.results[0].uses):
        _erase(uses[0].owner.operation)
    op.erase()


def _named(block: ir.Block, name: str) -> list[ir.Operation]:
    return [view.operation for view in block.operations if view.operation.name == name]
