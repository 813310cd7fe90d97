"""A linalg operation on buffers as a loop nest: its sizes, and how far each operand moves with each loop.

    linalg.generic {maps = [(i, j) -> (i, j), (i, j) -> (j)], ...} ins(%x : memref<8x20xf32>) ...
    -> sizes (8, 20); %x: strides (20, 1); the other: strides (0, 1)

Every operand is looked at as one row of elements (``memref.reinterpret_cast``), so that neighbouring loops
can be made one and an address is a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from ...ir.mlir import bindings, ir

memref: Any = bindings("dialects.memref")

Value = Any
UNKNOWN = ir.ShapedType.get_dynamic_size()


class NotVectorized(Exception):
    """Why an operation stays a scalar loop; without a reason where that is what it is."""


@dataclass(frozen=True)
class Access:
    """An operand: a buffer and how many of its elements one turn of each loop moves on from ``offset``; a
    scalar operand has no strides. ``initial``: what all elements of an output stand for that nobody has
    written yet."""

    value: Value
    strides: tuple[int, ...]
    offset: int
    extent: int
    written: bool
    initial: Value | None = None

    @property
    def is_scalar(self) -> bool:
        return not isinstance(self.value.type, ir.MemRefType)

    @property
    def element(self) -> ir.Type:
        return self.value.type if self.is_scalar else ir.MemRefType(self.value.type).element_type

    def flat(self) -> Value:
        """The buffer as one row of elements that begins at ``offset``."""
        type_ = ir.MemRefType.get([self.extent], self.element, ir.StridedLayoutAttr.get(self.offset, [1]))
        return memref.ReinterpretCastOp(type_, self.value, [], [], [], [self.offset], [self.extent],
                                        [1]).result


@dataclass(frozen=True)
class Nest:
    """Loops of ``sizes``, outermost first; ``reduces`` says which of them add up.

    ``origins``: for each loop, the operation's own loop that it is part of, and how far one turn moves it;
    ``starts``: where the operation's own loops begin. Together they give back an index (``linalg.index``).
    ``copies``: the one input goes to the one output, whatever ``op`` is."""

    op: ir.Operation
    sizes: tuple[int, ...]
    reduces: tuple[bool, ...]
    accesses: tuple[Access, ...]
    origins: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]
    copies: bool = False

    @property
    def inputs(self) -> tuple[Access, ...]:
        return tuple(access for access in self.accesses if not access.written)

    @property
    def outputs(self) -> tuple[Access, ...]:
        return tuple(access for access in self.accesses if access.written)

    @property
    def is_copy(self) -> bool:
        return self.copies or bool(self.op.name == "memref.copy")

    @property
    def body(self) -> ir.Block:
        return self.op.regions[0].blocks[0]

    @property
    def is_empty(self) -> bool:
        return 0 in self.sizes

    def covers(self, output: int) -> bool:
        """Whether every element of an output's buffer is written."""
        access = self.outputs[output]
        turns = prod(size for size, stride in zip(self.sizes, access.strides, strict=True) if stride)
        return turns == prod(ir.MemRefType(access.value.type).shape)

    def starting_from(self, initial: dict[int, Value]) -> Nest:
        """The nest where outputs, by number, are not read but start from a value."""
        first = len(self.inputs)
        return replace(self, accesses=tuple(
            replace(access, initial=initial.get(at - first, access.initial)) if at >= first else access
            for at, access in enumerate(self.accesses)))

    @staticmethod
    def of(op: ir.Operation) -> Nest:
        """The nest of a linalg.generic or a memref.copy; raises ``NotVectorized``."""
        if op.name == "memref.copy":
            return _of_copy(op)
        if not list(op.operands):
            raise NotVectorized("no operands")
        maps = [ir.AffineMapAttr(a).value for a in ir.ArrayAttr(op.attributes["indexing_maps"])]
        reduces = tuple("reduction" in str(kind) for kind in ir.ArrayAttr(op.attributes["iterator_types"]))
        sizes = _sizes(list(op.operands), maps, len(reduces))
        segments = list(ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"]))
        accesses = tuple(_access(value, map_, sizes, written=at >= segments[0])
                         for at, (value, map_) in enumerate(zip(op.operands, maps, strict=True)))
        return _nest(op, sizes, reduces, accesses)


def _nest(op: ir.Operation, sizes: tuple[int, ...], reduces: tuple[bool, ...],
          accesses: tuple[Access, ...]) -> Nest:
    return Nest(op, sizes, reduces, accesses, tuple((loop, 1) for loop in range(len(sizes))),
                (0,) * len(sizes))


def _of_copy(op: ir.Operation) -> Nest:
    source, target = op.operands
    rank = len(ir.MemRefType(source.type).shape)
    identity = ir.AffineMap.get_identity(rank, op.context)
    sizes = _sizes([source, target], [identity, identity], rank)
    accesses = tuple(_access(value, identity, sizes, written=value == target) for value in (source, target))
    return _nest(op, sizes, (False,) * rank, accesses)


def _sizes(values: list[Value], maps: list[ir.AffineMap], loops: int) -> tuple[int, ...]:
    """How many turns each loop takes: the sizes where it stands alone in an operand's map."""
    found: dict[int, int] = {}
    for value, map_ in zip(values, maps, strict=True):
        if not isinstance(value.type, ir.MemRefType):
            continue
        for size, result in zip(ir.MemRefType(value.type).shape, map_.results, strict=True):
            if isinstance(result, ir.AffineDimExpr) and size != UNKNOWN:
                found.setdefault(ir.AffineDimExpr(result).position, size)
    if len(found) < loops:
        raise NotVectorized("a size is known only when it runs")
    return tuple(found[loop] for loop in range(loops))


def _access(value: Value, map_: ir.AffineMap, sizes: Sequence[int], written: bool) -> Access:
    if not isinstance(value.type, ir.MemRefType):
        return Access(value, (0,) * len(sizes), 0, 1, written)
    strides, offset = ir.MemRefType(value.type).get_strides_and_offset()
    total, constant = [0] * len(sizes), offset
    for stride, result in zip(strides, map_.results, strict=True):
        factors, fixed = linear(result, len(sizes))
        constant += stride * fixed
        total = [t + stride * factor for t, factor in zip(total, factors, strict=True)]
    if any(abs(number) >= 1 << 62 for number in (*total, constant, offset)):
        raise NotVectorized("a stride is known only when it runs")
    if any(stride < 0 for stride in total):
        raise NotVectorized("an operand is read backwards")
    extent = 1 + sum((size - 1) * stride for size, stride in zip(sizes, total, strict=True) if size)
    return Access(value, tuple(total), constant, extent, written)


def linear(expression: ir.AffineExpr, loops: int) -> tuple[list[int], int]:
    """The factor of every loop in a linear ``expression``, and its constant; raises ``NotVectorized``."""
    if isinstance(expression, ir.AffineDimExpr):
        position = ir.AffineDimExpr(expression).position
        return [int(loop == position) for loop in range(loops)], 0
    if isinstance(expression, ir.AffineConstantExpr):
        return [0] * loops, ir.AffineConstantExpr(expression).value
    if isinstance(expression, ir.AffineAddExpr | ir.AffineMulExpr):
        (left, one), (right, other) = (linear(part, loops) for part in (expression.lhs, expression.rhs))
        if isinstance(expression, ir.AffineAddExpr):
            return [a + b for a, b in zip(left, right, strict=True)], one + other
        if not any(left):
            return [one * factor for factor in right], one * other
        if not any(right):
            return [other * factor for factor in left], one * other
    raise NotVectorized(f"an index is not linear: {expression}")


def merged(nest: Nest, indexed: frozenset[int] = frozenset()) -> Nest:
    """``nest`` without loops of one turn, and with neighbouring loops made one where every operand moves on
    evenly; those whose index the body asks for (``indexed``) stay apart."""
    order = [at for at, size in enumerate(nest.sizes) if size != 1]
    loops = [Loop(nest, at) for at in order]
    kept: list[Loop] = []
    for loop in loops:
        if kept and kept[-1].joins(loop) and not {loop.origin[0], kept[-1].origin[0]} & indexed:
            loop.size *= kept.pop().size
        kept.append(loop)
    return nest_of(nest, kept)


def split(nest: Nest, at: int, block: int) -> tuple[Nest, Nest | None]:
    """Loop ``at`` in blocks: a nest with a new outermost loop over the whole blocks of ``block`` turns, and
    one for the turns that are left."""
    loops = loops_of(nest)
    whole, rest = divmod(loops[at].size, block)
    outer = Loop(nest, at)
    outer.size = whole
    outer.strides = [stride * block for stride in outer.strides]
    outer.origin = (outer.origin[0], outer.origin[1] * block)
    loops[at].size = block
    main = nest_of(nest, [outer, *loops])
    if not rest:
        return main, None
    loops[at].size = rest
    last = nest_of(nest, loops)
    begin = whole * block
    starts = list(nest.starts)
    starts[outer.origin[0]] += begin * nest.origins[at][1]
    accesses = tuple(replace(access, offset=access.offset + begin * access.strides[at],
                             extent=access.extent - begin * access.strides[at]) for access in last.accesses)
    return main, replace(last, accesses=accesses, starts=tuple(starts))


class Loop:
    """One loop of a nest, apart from it: its size, and the stride of every operand."""

    def __init__(self, nest: Nest, at: int) -> None:
        self.size = nest.sizes[at]
        self.reduces = nest.reduces[at]
        self.strides = [access.strides[at] for access in nest.accesses]
        self.origin = nest.origins[at]

    def split(self, block: int) -> tuple[Loop, Loop]:
        """A loop over blocks of ``block`` turns, which divides the size, and the one inside a block."""
        outer, inner = copy(self), copy(self)
        outer.size //= block
        outer.strides = [stride * block for stride in self.strides]
        outer.origin = (self.origin[0], self.origin[1] * block)
        inner.size = block
        return outer, inner

    def joins(self, inner: Loop) -> bool:
        """Whether this loop and ``inner``, the next inside it, move on evenly."""
        return self.reduces == inner.reduces and self.strides == [s * inner.size for s in inner.strides]


def loops_of(nest: Nest) -> list[Loop]:
    """The loops of ``nest``, outermost first."""
    return [Loop(nest, at) for at in range(len(nest.sizes))]


def nest_of(nest: Nest, loops: Sequence[Loop]) -> Nest:
    """``nest`` with other loops over the same operands."""
    accesses = tuple(replace(access, strides=tuple(loop.strides[at] for loop in loops))
                     for at, access in enumerate(nest.accesses))
    return replace(nest, sizes=tuple(loop.size for loop in loops),
                   reduces=tuple(loop.reduces for loop in loops), accesses=accesses,
                   origins=tuple(loop.origin for loop in loops))
