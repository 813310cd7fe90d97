"""Neighbouring loops over the same rows run as one: what one leaves of a few rows the next finds in cache.

    scf.parallel { largest of a row } ; scf.parallel { exp(x - largest) } ; scf.parallel { their sum } ; ...
    -> scf.parallel (%rows) { largest of 4 rows ; exp of 4 rows ; sums of 4 rows ; ... }

Rows are the turns of an operation's leading loops. Operations join where each buffer that one of them writes
and another touches is cut by both into the same rows, which do not overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import accumulate, combinations
from math import gcd, prod
from operator import mul
from typing import Any

from ...ir.mlir import ir
from ..buffers.arguments import ALIASES, root
from .fills import QUIET
from .loops import Plan, indexed_loops, plans_of
from .nest import Access, Nest, loops_of, merged, nest_of
from .products import Product

FEWEST = 16  # groups of rows, for threads to share
NEAR = 32 << 10  # bytes of a group of rows that stay in L1
NEAR_PRODUCT = 512 << 10  # of one with a matrix product, which stay in L2
SMALL = 1 << 10  # bytes: loops over less are too short
FEWEST_OF_PRODUCT = 8


@dataclass
class Step:
    """An operation that becomes vector loops."""

    op: ir.Operation
    nest: Nest

    @cached_property
    def flat(self) -> Nest:
        """The nest with neighbouring loops made one."""
        return merged(self.nest, indexed_loops(self.nest))

    @cached_property
    def product(self) -> Product | None:
        """The matrices that it multiplies, packed; loops inside others have no place for packed ones."""
        return Product.of(merged(self.nest)) if self.op.parent.name == "func.func" else None

    @cached_property
    def looked_up(self) -> list[Any]:
        """Buffers that are read anywhere, whatever the row."""
        found = [] if self.product is None else [root(self.product.nest.accesses[self.product.b].value)]
        if self.nest.is_copy:
            return found
        return found + [root(view.operation.operands[0]) for view in self.nest.body.operations
                        if view.operation.name == "memref.load"]

    @cached_property
    def most_rows(self) -> int:
        """Turns of all leading loops that add nothing up."""
        if self.product is not None:
            return self.product.rows if self.product.has_rows_first else 1
        found = 1
        for size, reduces in zip(self.flat.sizes, self.flat.reduces, strict=True):
            if reduces:
                break
            found *= size
        return found


@dataclass
class Cut:
    """A step's nest cut into rows: loops over rows, and what a row does."""

    step: Step
    outer: list[Any]
    inner: list[Any]

    @staticmethod
    def of(step: Step, rows: int) -> Cut | None:
        """None where leading loops do not take ``rows`` turns."""
        if step.product is not None:
            if rows != step.most_rows:
                return None
            loops = loops_of(step.product.nest)
            count = len(step.product.others) + 1
            return Cut(step, loops[:count], loops[count:])
        outer, inner = [], loops_of(step.flat)
        while rows > 1:
            if not inner or inner[0].reduces:
                return None
            first, *inner = inner
            shared = gcd(rows, first.size)
            if shared < first.size:
                if shared != rows:
                    return None
                first, rest = first.split(first.size // shared)
                inner = [rest, *inner]
            outer.append(first)
            rows //= first.size
        return Cut(step, outer, inner)

    @property
    def accesses(self) -> tuple[Access, ...]:
        return (self.step.flat if self.step.product is None else self.step.product.nest).accesses

    def places(self, at: int) -> tuple[tuple[int, int], ...]:
        """Sizes and strides of the loops over rows in access ``at``, evenly moving neighbours as one."""
        found: list[tuple[int, int]] = []
        for loop in self.outer:
            size, stride = loop.size, loop.strides[at]
            if found and found[-1][1] == size * stride:
                size *= found.pop()[0]
            found.append((size, stride))
        return tuple(found)

    def extent(self, at: int) -> int:
        """How far one row of access ``at`` reaches."""
        return 1 + sum((loop.size - 1) * loop.strides[at] for loop in self.inner)

    def plans(self, together: int, lanes: int) -> list[Plan]:
        """Its plans where a turn of the loops over rows takes ``together`` rows."""
        *outer, last = self.outer
        last, rows = last.split(together)
        return plans_inside(self.step.flat, [*outer, last], [rows, *self.inner], lanes)


def plans_inside(nest: Nest, outer: Sequence[Any], inner: Sequence[Any], lanes: int) -> list[Plan]:
    """The plans for the loops ``inner`` of ``nest`` inside its loops ``outer``."""
    return [_inside(outer, plan) for plan in plans_of(nest_of(nest, inner), lanes, cut=False)]


def _inside(outer: Sequence[Any], plan: Plan) -> Plan:
    """``plan`` inside loops over rows."""
    nest, count = plan.nest, len(outer)
    accesses = tuple(replace(access, strides=(*(loop.strides[at] for loop in outer), *access.strides))
                     for at, access in enumerate(nest.accesses))
    made = replace(nest, sizes=(*(loop.size for loop in outer), *nest.sizes),
                   reduces=((False,) * count + nest.reduces), accesses=accesses,
                   origins=(*(loop.origin for loop in outer), *nest.origins))
    return plan.on(made, lambda at: at + count)


@dataclass
class Group:
    """Steps that run as one loop over ``count`` groups of ``together`` rows."""

    cuts: list[Cut]
    together: int

    @property
    def steps(self) -> list[Step]:
        return [cut.step for cut in self.cuts]

    @staticmethod
    def of(steps: Sequence[Step]) -> Group | None:
        """None where the steps cannot, or should not, run as one; else with the shortest rows that they
        share."""
        return next(filter(None, (Group._of(steps, rows) for rows in _row_counts(steps))), None)

    @staticmethod
    def _of(steps: Sequence[Step], rows: int) -> Group | None:
        cuts = [cut for step in steps if (cut := Cut.of(step, rows)) is not None]
        if len(cuts) < len(steps) or not _apart(cuts):
            return None
        multiplies = any(step.product for step in steps)
        size = _row_bytes(cuts)
        even = reduce(gcd, (cut.outer[-1].size for cut in cuts))
        limit = min((NEAR_PRODUCT if multiplies else NEAR) // size, rows // FEWEST)
        together = max(part for part in range(1, min(even, max(limit, 1)) + 1) if even % part == 0)
        short = together < FEWEST_OF_PRODUCT if multiplies else together * size < SMALL
        return None if short or together * size > NEAR_PRODUCT else Group(cuts, together)

    @property
    def count(self) -> int:
        return prod(loop.size for loop in self.cuts[0].outer) // self.together


def _row_counts(steps: Sequence[Step]) -> list[int]:
    """How many rows the leading loops of ``steps`` may have in common, most first."""
    most = min(step.most_rows for step in steps)
    found = {most}
    if not any(step.product for step in steps):  # the rows of a matrix stay whole
        for step in steps:
            found |= set(accumulate(step.flat.sizes, mul))
    return sorted((rows for rows in found if FEWEST <= rows <= most), reverse=True)


def _row_bytes(cuts: Sequence[Cut]) -> int:
    """Bytes that one row of all steps touches."""
    found: dict[Any, int] = {}
    for cut in cuts:
        for at, access in enumerate(cut.accesses):
            if not access.is_scalar and cut.outer[-1].strides[at]:
                key = root(access.value)
                found[key] = max(found.get(key, 0), cut.extent(at) * bytes_of(access.element))
    return max(sum(found.values()), 1)


def bytes_of(element: ir.Type) -> int:
    """Bytes of an element in memory."""
    digits = "".join(filter(str.isdigit, str(element)))
    return -(-int(digits or 64) // 8)


def _apart(cuts: Sequence[Cut]) -> bool:
    """Whether no row touches what another row writes."""
    touched = [(cut, at, root(access.value), access) for cut in cuts
               for at, access in enumerate(cut.accesses) if not access.is_scalar]
    written = {buffer for _, _, buffer, access in touched if access.written}
    if any(buffer in written for cut in cuts for buffer in cut.step.looked_up):
        return False
    return all(_same_rows(one, other) for one, other in combinations(touched, 2)
               if one[2] == other[2] and (one[3].written or other[3].written))


def _same_rows(one: Any, other: Any) -> bool:
    (cut, at, _, access), (cut_, at_, _, access_) = one, other
    places = cut.places(at)
    if places != cut_.places(at_) or access.element != access_.element:
        return False
    first = min(access.offset, access_.offset)
    last = max(access.offset + cut.extent(at), access_.offset + cut_.extent(at_))
    room = [stride for _, stride in places]
    needed = [size * stride for size, stride in places[1:]] + [last - first]
    return all(stride > 0 and stride >= need for stride, need in zip(room, needed, strict=True))


def groups_of(steps: Sequence[Step]) -> Iterator[list[Step] | Group]:
    """``steps`` in order, those that run as one together."""
    stretches = _stretches(steps)
    ahead: list[Step] = []
    found: Group | None = None
    for step in steps:
        follows = bool(ahead) and stretches[step.op] == stretches[ahead[-1].op] and _meets(ahead, step)
        joined = Group.of([*ahead, step]) if follows else None
        if ahead and joined is None:
            yield found or ahead
        ahead, found = ([step], None) if joined is None else ([*ahead, step], joined)
    if ahead:
        yield found or ahead


def _stretches(steps: Sequence[Step]) -> dict[ir.Operation, int]:
    """For each operation, a number that it shares with those that nothing but memory stands between."""
    ours = {step.op for step in steps}
    found: dict[ir.Operation, int] = {}
    number = 0
    for block in dict.fromkeys(step.op.block for step in steps):
        number += 1
        for view in block.operations:
            op = view.operation
            if op in ours:
                found[op] = number
            elif op.name not in (*QUIET, *ALIASES):
                number += 1
    return found


def _meets(ahead: Sequence[Step], step: Step) -> bool:
    """Whether ``step`` touches what one before it touches."""
    before = {root(access.value) for one in ahead for access in one.nest.accesses if not access.is_scalar}
    return any(root(access.value) in before for access in step.nest.accesses if not access.is_scalar)
