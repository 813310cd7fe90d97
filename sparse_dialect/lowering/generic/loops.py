"""One linalg operation as vector loops: which loop runs along the vectors, which are rows, and their code.

    rows (shared by threads): every loop whose turns are independent, but the one along the vectors
      loops that add up, with vectors as accumulators
        the loop along the vectors; its last vector is masked
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ...ir.mlir import ir
from .body import Body, Lanes, Uniform
from .memory import Memory, Value, arith
from .nest import Nest, NotVectorized, merged, split
from .reductions import Joins, joins_of

BLOCK = 2048  # elements of one row where a single long loop is cut into rows
ROWS = 16  # fewer rows than this, and a long loop is cut
ACCUMULATORS = 4  # vectors summed side by side, so that additions need not wait for each other
LARGE_BODY = 12  # operations: a longer body keeps the pipelines busy with one vector


@dataclass(frozen=True)
class Plan:
    """How a nest is run: ``along`` is the loop along the vectors, ``joins`` how its lanes are joined where it
    adds up."""

    nest: Nest
    along: int
    joins: tuple[Joins, ...] = ()

    @property
    def rows(self) -> list[int]:
        """The loops over rows."""
        return [at for at, reduces in enumerate(self.nest.reduces) if not reduces and at != self.along]

    @property
    def sums(self) -> list[int]:
        """The loops that add up, but for the one along the vectors."""
        return [at for at, reduces in enumerate(self.nest.reduces) if reduces and at != self.along]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return prod(self.nest.sizes[at] for at in self.rows)

    @property
    def reduces(self) -> bool:
        return any(self.nest.reduces)


def plans_of(nest: Nest, lanes: int) -> list[Plan]:
    """The plan for ``nest``; two where a long loop is cut into blocks that leave a rest. Raises
    ``NotVectorized``."""
    plan = _plan(merged(nest, indexed_loops(nest)), lanes)
    along = plan.along
    if plan.joins or plan.count >= ROWS or plan.nest.sizes[along] < 2 * BLOCK:
        return [plan]
    main, rest = split(plan.nest, along, _block(plan.nest.sizes[along], lanes))
    return [Plan(part, at) for part, at in ((main, along + 1), (rest, along)) if part is not None]


def _block(size: int, lanes: int) -> int:
    """A part of ``size`` near ``BLOCK``, one that divides it if there is any."""
    whole = [block for block in range(BLOCK, BLOCK // 4, -lanes) if size % block == 0]
    return whole[0] if whole else BLOCK


def _plan(nest: Nest, lanes: int) -> Plan:
    if not nest.sizes:
        raise NotVectorized  # one element is a scalar
    joins = joins_of(nest) if any(nest.reduces) else None
    candidates = [at for at in range(len(nest.sizes)) if not nest.reduces[at] or (
        joins is not None and all(out.strides[at] == 0 for out in nest.outputs))]
    if not candidates:
        raise NotVectorized("a reduction of unknown kind")
    along = min(candidates, key=lambda at: (_cost(nest, at, lanes), -at))
    Body(nest, along, carried=any(nest.reduces))  # raises where it has no vector form
    return Plan(nest, along, tuple(joins or ()) if nest.reduces[along] else ())


def _cost(nest: Nest, along: int, lanes: int) -> float:
    """Cycles an element, roughly, with loop ``along`` along the vectors."""
    size = nest.sizes[along]
    vectors = -(-size // lanes)
    each = sum(_access_cost(access.strides[along], access.written, lanes) for access in nest.accesses)
    overhead = (6.0 if nest.reduces[along] else 2.0) / vectors
    return (each + overhead) * vectors / size


def _access_cost(stride: int, written: bool, lanes: int) -> float:
    if stride == 0:
        return 0.25
    if stride == 1:
        return 1.0
    return lanes * (1.0 if written else 0.75)


def indexed_loops(nest: Nest) -> frozenset[int]:
    """The loops whose index the body asks for."""
    if nest.is_copy:
        return frozenset()
    return frozenset(ir.IntegerAttr(view.operation.attributes["dim"]).value
                     for view in nest.body.operations if view.operation.name == "linalg.index")


class Rows:
    """Emits the code of one row of a plan."""

    def __init__(self, plan: Plan, memory: Memory) -> None:
        self.plan, self.nest, self.memory = plan, plan.nest, memory
        self.body = Body(plan.nest, plan.along, carried=plan.reduces)
        self.size = plan.nest.sizes[plan.along]

    def emit(self, row: Value) -> None:
        """The code for the row numbered ``row``, at the current insertion point."""
        indices = self._indices(row)
        starts = self._addresses([self.memory.index(0)] * len(self.nest.accesses), indices)
        if self.plan.joins:
            self._join_lanes(indices, starts)
        elif self.plan.reduces:
            self._each_part(lambda at, real, count: self._add_up(indices, starts, at, real, count),
                            ACCUMULATORS)
        else:
            uniform = Uniform(self.body, self.memory, indices, starts)
            self._each_part(lambda at, real, count: self._store(Lanes(uniform, at, real).run(), starts, at,
                                                                real), 1)

    def _indices(self, row: Value) -> dict[int, Value]:
        """The index of every loop over rows, from the number of the row."""
        found: dict[int, Value] = {}
        rows = self.plan.rows
        for at in reversed(rows[1:]):
            size = self.memory.index(self.nest.sizes[at])
            found[at] = arith.RemUIOp(row, size).result
            row = arith.DivUIOp(row, size).result
        if rows:
            found[rows[0]] = row
        return found

    def _addresses(self, starts: Sequence[Value], indices: dict[int, Value]) -> list[Value]:
        """Where every operand is after so many turns of some loops."""
        found = []
        for start, access in zip(starts, self.nest.accesses, strict=True):
            for at, index in indices.items():
                start = self.memory.add(start, self.memory.multiply(index, access.strides[at]))
            found.append(start)
        return found

    def _each_part(self, part: Any, together: int) -> None:
        """``part(at, real, count)`` for all vectors of a row: ``count`` at a time, then one by one, then the
        rest, of which ``real`` lanes count."""
        lanes = self.memory.lanes
        done, whole = 0, self.size // lanes * lanes
        for count in sorted({together, 1}, reverse=True):
            end = done + (whole - done) // (count * lanes) * count * lanes
            if end > done:
                self.memory.loop(end, lambda at, count=count: part(at, None, count), lower=done,
                                 step=count * lanes)
            done = end
        if self.size > done:
            part(self.memory.index(done), self.size - done, 1)

    def _store(self, values: Sequence[Value], starts: Sequence[Value], at: Value, real: int | None) -> None:
        first = len(self.nest.accesses) - len(self.nest.outputs)
        for value, start, access in zip(values, starts[first:], self.nest.outputs, strict=True):
            stride = access.strides[self.plan.along]
            if stride == 0 and self.size > 1:
                raise NotVectorized("an output stands still along the vectors")
            address = self.memory.add(start, self.memory.multiply(at, stride))
            self.memory.store(value, access, address, stride, real)

    # -- loops that add up, along which the vectors do not run -----------------------------------

    def _add_up(self, indices: dict[int, Value], starts: Sequence[Value], at: Value, real: int | None,
                count: int) -> None:
        """``count`` vectors of outputs, all of whose terms are added up in registers."""
        lanes, memory = self.memory.lanes, self.memory
        first = len(self.nest.inputs)
        places = [memory.add(at, memory.index(lanes * part)) for part in range(count)]
        outputs = list(zip(starts[first:], self.nest.outputs, strict=True))
        carried = [memory.load(access, memory.add(start, memory.multiply(place, self._step(access))),
                               self._step(access), real)
                   for place in places for start, access in outputs]

        def term(inner: dict[int, Value], values: Sequence[Value]) -> list[Value]:
            uniform = Uniform(self.body, memory, inner, self._addresses(starts, {
                loop: index for loop, index in inner.items() if loop not in indices}))
            return [value for part, place in enumerate(places) for value in
                    Lanes(uniform, place, real, values[part * len(outputs):][:len(outputs)]).run()]

        values = self._nested(self.plan.sums, dict(indices), carried, term)
        for part, place in enumerate(places):
            self._store(values[part * len(outputs):][:len(outputs)], starts, place, real)

    def _step(self, access: Any) -> int:
        return int(access.strides[self.plan.along])

    def _nested(self, loops: Sequence[int], indices: dict[int, Value], carried: Sequence[Value],
                term: Any) -> list[Value]:
        """``term(indices, carried)`` inside ``loops``."""
        if not loops:
            return list(term(indices, carried))
        return self.memory.loop(self.nest.sizes[loops[0]], lambda index, *values: self._nested(
            loops[1:], {**indices, loops[0]: index}, values, term), carried)

    # -- a loop that adds up along the vectors ---------------------------------------------------

    def _join_lanes(self, indices: dict[int, Value], starts: Sequence[Value]) -> None:
        """Outputs whose terms lie along the vectors: lanes are added up apart, and joined in the end."""
        memory, lanes = self.memory, self.memory.lanes
        outputs = len(self.nest.outputs)
        short = len(list(self.nest.body.operations)) <= LARGE_BODY
        together = min(ACCUMULATORS if short else 1, max(self.size // lanes, 1))
        carried = [memory.splat(access.element, joins.neutral) for _ in range(together)
                   for joins, access in zip(self.plan.joins, self.nest.outputs, strict=True)]

        def terms(inner: dict[int, Value], values: Sequence[Value]) -> list[Value]:
            uniform = Uniform(self.body, memory, inner, self._addresses(starts, {
                loop: index for loop, index in inner.items() if loop not in indices}))
            return self._along(uniform, list(values), together)

        values = self._nested(self.plan.sums, dict(indices), carried, terms)
        for number, (joins, access) in enumerate(zip(self.plan.joins, self.nest.outputs, strict=True)):
            total = values[number]
            for part in range(1, together):
                total = joins.join(total, values[part * outputs + number])
            start = starts[len(self.nest.inputs) + number]
            before = memory.scalar(access, start)
            memory.put(access, start, joins.join(joins.across(total), before))

    def _along(self, uniform: Uniform, values: list[Value], together: int) -> list[Value]:
        """Adds a whole row of terms to ``values``: ``together`` vectors at a time, then the rest."""
        memory, lanes = self.memory, self.memory.lanes
        outputs = len(self.nest.outputs)
        step = together * lanes
        end = self.size // step * step

        def turn(at: Value, *carried: Value) -> list[Value]:
            return [value for part in range(together) for value in
                    Lanes(uniform, memory.add(at, memory.index(part * lanes)), None,
                          carried[part * outputs:][:outputs]).run()]

        if end:
            values = memory.loop(end, turn, values, step=step)
        for part, place in enumerate(range(end, self.size, lanes)):
            left = self.size - place
            real = None if left >= lanes else left
            before = values[part * outputs:][:outputs]
            after = Lanes(uniform, memory.index(place), real, before).run()
            if real is not None:
                after = [arith.SelectOp(memory.first_lanes(real), new, old).result
                         for new, old in zip(after, before, strict=True)]
            values[part * outputs:(part + 1) * outputs] = after
        return values
