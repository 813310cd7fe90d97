"""The body of a linalg operation, emitted for one vector of neighbouring iterations.

    ^bb0(%in: f32, %scale: f32, %out: f32):         %s = memref.load %scale[%row]        # the same for all
      %0 = arith.mulf %in, %scale          ->       %x = vector.load %in[%at] : vector<16xf32>
      linalg.yield %0                               %0 = arith.mulf %x, (vector.broadcast %s)

A value of the body is *uniform* (the same for all lanes, kept as a scalar and computed before the loop over
vectors), *steps* (a scalar that grows by one from lane to lane: an index along the vectors) or *varies*. A
load at places that step is a vector load, at places that vary a gather.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir.mlir import bindings, ir
from ...ir.values import static_layout
from .memory import Memory
from .nest import Access, Nest, NotVectorized

arith: Any = bindings("dialects.arith")
vector: Any = bindings("dialects.vector")
cf: Any = bindings("dialects.cf")

Value = Any
UNIFORM, STEPS, VARIES = range(3)
CASTS = ("arith.index_cast", "arith.index_castui", "arith.extsi", "arith.extui", "arith.trunci")
GROWS = ("arith.addi", "arith.muli", "arith.minsi", "arith.maxsi", "arith.divsi", "arith.divui",
         "arith.floordivsi", "arith.remui")
LARGEST_EXTENT = 1 << 31  # elements that 32-bit places of a gather reach


class Body:
    """The operations of a nest's body, sorted by how their values differ from lane to lane along loop
    ``along``; operands named in ``carried`` come as vectors (accumulators)."""

    def __init__(self, nest: Nest, along: int, carried: bool) -> None:
        self.nest, self.along = nest, along
        self.kinds: dict[Value, int] = {}
        self.same: dict[Value, Value] = {}  # results that are one of the operands
        self.never: set[Value] = set()  # conditions that are false
        self.natural: set[Value] = set()  # integers that are never negative
        self.loads: dict[ir.Operation, tuple[list[int], int, int]] = {}
        if nest.is_copy:
            return
        arguments = list(nest.body.arguments)
        for argument, access in zip(arguments, nest.accesses, strict=True):
            read = UNIFORM if access.strides[along] == 0 else VARIES
            self.kinds[argument] = VARIES if carried and access.written else read
        for view in nest.body.operations:
            self._sort(view.operation)

    @property
    def operations(self) -> list[ir.Operation]:
        return [view.operation for view in self.nest.body.operations]

    def kind(self, value: Value) -> int:
        """What comes from outside is the same for all lanes."""
        return self.kinds.get(value, UNIFORM)

    def _sort(self, op: ir.Operation) -> None:
        if list(op.regions) or not op.name.startswith(("arith.", "math.", "linalg.index", "linalg.yield",
                                                       "memref.load", "cf.assert")):
            raise NotVectorized(f"no vector form of {op.name}")
        if not list(op.results):
            return
        result = op.results[0]
        if op.name == "linalg.index":
            self._sort_index(op)
        elif op.name == "memref.load":
            self._sort_load(op)
        elif op.name == "arith.select" and self._of(op.operands[0]) in self.never:
            self.same[result] = self._of(op.operands[2])
            self.kinds[result] = self.kind(self.same[result])
        else:
            self._sort_arithmetic(op)
        self._note_sign(op)

    def _of(self, value: Value) -> Value:
        return self.same.get(value, value)

    def _sort_index(self, op: ir.Operation) -> None:
        loop = ir.IntegerAttr(op.attributes["dim"]).value
        origin, factor = self.nest.origins[self.along]
        kind = UNIFORM if origin != loop else STEPS
        if kind == STEPS and factor != 1:
            raise NotVectorized("an index moves unevenly")
        self.kinds[op.results[0]] = kind

    def _sort_arithmetic(self, op: ir.Operation) -> None:
        kinds = [self.kind(self._of(value)) for value in op.operands]
        kind = max(kinds, default=UNIFORM)
        if kind == STEPS:
            one = kinds.count(STEPS) == 1
            keeps = op.name in CASTS or (op.name == "arith.addi" and one) or (
                op.name == "arith.subi" and kinds == [STEPS, UNIFORM])
            kind = STEPS if keeps else VARIES
        if self._is_below_zero(op):
            self.never.add(op.results[0])
            kind = UNIFORM
        self.kinds[op.results[0]] = kind

    def _is_below_zero(self, op: ir.Operation) -> bool:
        """Whether ``op`` asks if a number that never is negative is below zero."""
        if op.name != "arith.cmpi" or self._of(op.operands[0]) not in self.natural:
            return False
        predicate = ir.IntegerAttr(op.attributes["predicate"]).value
        return predicate == int(arith.CmpIPredicate.slt) and integer_of(op.operands[1]) == 0

    def _note_sign(self, op: ir.Operation) -> None:
        natural = [self._of(v) in self.natural or (integer_of(v) or -1) >= 0 or integer_of(v) == 0
                   for v in op.operands]
        grows = op.name in (*GROWS, "arith.index_cast", "arith.extsi")
        if op.name == "linalg.index" or (grows and all(natural)) or (op.results[0] in self.same and (
                self.same[op.results[0]] in self.natural)):
            self.natural.add(op.results[0])

    def _sort_load(self, op: ir.Operation) -> None:
        type_ = ir.MemRefType(op.operands[0].type)
        layout = static_layout(type_)
        if layout is None:
            raise NotVectorized("a looked-up buffer's size is known only when it runs")
        strides, offset = layout
        extent = 1 + sum((size - 1) * stride for size, stride in zip(type_.shape, strides, strict=True))
        if extent >= LARGEST_EXTENT:
            raise NotVectorized("a looked-up buffer is too large")
        kinds = [self.kind(self._of(value)) for value in list(op.operands)[1:]]
        kind = UNIFORM if max(kinds, default=UNIFORM) == UNIFORM else VARIES
        if kind == VARIES and str(type_.element_type) == "i1":
            raise NotVectorized("booleans are looked up")
        self.kinds[op.results[0]] = kind
        self.loads[op] = (list(strides), offset, extent)


def integer_of(value: Value) -> int | None:
    """The number that ``value`` is, if it is an integer constant."""
    if isinstance(value.owner, ir.Block) or value.owner.operation.name != "arith.constant":
        return None
    attribute = value.owner.operation.attributes["value"]
    return ir.IntegerAttr(attribute).value if isinstance(attribute, ir.IntegerAttr) else None


class Uniform:
    """The values of a body that are the same for all lanes, emitted as scalars at the current place.

    ``indices``: the index of every loop of the nest but the one along vectors; ``addresses``: where each
    operand begins.
    """

    def __init__(self, body: Body, memory: Memory, indices: dict[int, Value],
                 addresses: Sequence[Value]) -> None:
        self.body, self.memory, self.indices, self.addresses = body, memory, indices, addresses
        self.scalars: dict[Value, Value] = {}
        nest = body.nest
        if nest.is_copy:
            return
        for at, (argument, access) in enumerate(zip(nest.body.arguments, nest.accesses, strict=True)):
            if body.kind(argument) == UNIFORM:
                self.scalars[argument] = self._argument(argument, access, at)
        for op in body.operations:
            if op.name == "cf.assert" and body.kind(op.operands[0]) == UNIFORM:
                cf.AssertOp(self.scalar(op.operands[0]), op.attributes["msg"])
            elif list(op.results) and body.kind(op.results[0]) == UNIFORM:
                if op.results[0] not in body.same and op.results[0] not in self.scalars:
                    self.scalars[op.results[0]] = self._operation(op)

    def scalar(self, value: Value) -> Value:
        value = self.body.same.get(value, value)
        return self.scalars.get(value, value)

    def _argument(self, argument: Value, access: Access, at: int) -> Value:
        if access.is_scalar:
            return access.value
        if not list(argument.uses):
            return argument  # never asked for
        return self.memory.scalar(access, self.addresses[at])

    def _operation(self, op: ir.Operation) -> Value:
        if op.results[0] in self.body.never:
            return self.memory.constant(op.results[0].type, 0)
        if op.name == "linalg.index":
            return self.index(ir.IntegerAttr(op.attributes["dim"]).value)
        if op.name == "memref.load":
            buffer, *places = op.operands
            return memref_load(buffer, [self.scalar(place) for place in places])
        return clone(op, [self.scalar(value) for value in op.operands], op.results[0].type)

    def index(self, loop: int, along: Value | None = None) -> Value:
        """The index of the operation's own loop ``loop``; ``along``: of the loop along vectors."""
        nest = self.body.nest
        total = self.memory.index(nest.starts[loop])
        for number, (origin, factor) in enumerate(nest.origins):
            if origin == loop:
                turn = along if number == self.body.along else self.indices[number]
                total = self.memory.add(total, self.memory.multiply(turn, factor))
        return total


class Lanes:
    """One vector's worth of a body: ``at`` is the index of its first lane along the vectors, of which the
    first ``count`` are real (None: all)."""

    def __init__(self, uniform: Uniform, at: Value, count: int | None,
                 carried: Sequence[Value] | None = None) -> None:
        self.uniform, self.at, self.count = uniform, at, count
        self.body, self.memory = uniform.body, uniform.memory
        self.values: dict[Value, Value] = {}
        self.bases: dict[Value, Value] = {}
        self.carried = carried

    def run(self) -> list[Value]:
        """Emits the body; the yielded values, as vectors."""
        nest = self.body.nest
        if nest.is_copy:
            return [self._operand(nest.accesses[0], 0)]
        outputs = iter(self.carried or ())
        for at, (argument, access) in enumerate(zip(nest.body.arguments, nest.accesses, strict=True)):
            if access.written and self.carried is not None:
                self.values[argument] = next(outputs)
            elif self.body.kind(argument) == VARIES and list(argument.uses):
                self.values[argument] = self._operand(access, at)
        for op in self.body.operations:
            if op.name == "linalg.yield":
                return [self.vector(value) for value in op.operands]
            self._emit(op)
        raise NotVectorized("no yield")

    def _operand(self, access: Access, at: int) -> Value:
        if access.strides[self.body.along] == 0:
            return self.memory.broadcast(self.memory.scalar(access, self.uniform.addresses[at]))
        address = self.memory.add(self.uniform.addresses[at],
                                  self.memory.multiply(self.at, access.strides[self.body.along]))
        return self.memory.load(access, address, access.strides[self.body.along], self.count)

    def _emit(self, op: ir.Operation) -> None:
        if op.name == "cf.assert":
            if self.body.kind(op.operands[0]) != UNIFORM:
                cf.AssertOp(self.memory.all_true(self.vector(op.operands[0]), self.count),
                            op.attributes["msg"])
            return
        result = op.results[0]
        kind = self.body.kind(result)
        if kind == UNIFORM or result in self.body.same:
            return
        if kind == STEPS:
            self.bases[result] = self._step(op)
        elif (factors := self._factors(op)) is not None:
            self.values[result] = vector.FMAOp(*map(self.vector, factors)).result
        elif op.name == "memref.load":
            self.values[result] = self._looked_up(op)
        else:
            operands = [self.vector(value) for value in op.operands]
            self.values[result] = clone(op, operands, self.memory.vector(result.type))

    def _factors(self, op: ir.Operation) -> tuple[Value, Value, Value] | None:
        """``a``, ``b`` and the sum so far, where ``op`` adds the product of ``a`` and ``b`` to it."""
        if op.name != "arith.addf" or self.carried is None or str(op.results[0].type) not in ("f32", "f64"):
            return None
        arguments = list(self.body.nest.body.arguments)[len(self.body.nest.inputs):]
        for term, total in (tuple(op.operands), tuple(op.operands)[::-1]):
            owner = None if isinstance(term.owner, ir.Block) else term.owner.operation
            if total in arguments and owner is not None and owner.name == "arith.mulf" and (
                    len(list(term.uses)) == 1):
                return owner.operands[0], owner.operands[1], total
        return None

    def _step(self, op: ir.Operation) -> Value:
        """The first lane's value of a number that grows by one from lane to lane."""
        if op.name == "linalg.index":
            return self.uniform.index(ir.IntegerAttr(op.attributes["dim"]).value, self.at)
        operands = [self.first(value) for value in op.operands]
        return clone(op, operands, op.results[0].type)

    def first(self, value: Value) -> Value:
        """The first lane of what is uniform or steps."""
        value = self.body.same.get(value, value)
        return self.bases[value] if value in self.bases else self.uniform.scalar(value)

    def vector(self, value: Value) -> Value:
        value = self.body.same.get(value, value)
        if value not in self.values:
            first = self.first(value)
            self.values[value] = (self.memory.steps(first) if value in self.bases
                                  else self.memory.broadcast(first))
        return self.values[value]

    def _looked_up(self, op: ir.Operation) -> Value:
        """A vector of elements of a buffer, whose places the body computes."""
        strides, offset, extent = self.body.loads[op]
        buffer, *places = op.operands
        access = Access(buffer, (), offset, extent, False)
        kinds = [self.body.kind(self.body.same.get(place, place)) for place in places]
        *leading, last = kinds
        if last == STEPS and strides[-1] == 1 and not any(leading):
            return self.memory.load(access, self._sum(places, strides), 1, self.count)
        fixed = [(place, stride) for place, stride, kind in zip(places, strides, kinds, strict=True)
                 if kind == UNIFORM]
        total = self._sum([place for place, _ in fixed], [stride for _, stride in fixed])
        moving = [self.memory.scaled_places(self.vector(place), stride)
                  for place, stride, kind in zip(places, strides, kinds, strict=True) if kind != UNIFORM]
        lanes = moving[0]
        for other in moving[1:]:
            lanes = arith.AddIOp(lanes, other).result
        return self.memory.gather(access, total, lanes, self.count)

    def _sum(self, places: Sequence[Value], strides: Sequence[int]) -> Value:
        total = self.memory.index(0)
        for place, stride in zip(places, strides, strict=True):
            total = self.memory.add(total, self.memory.multiply(self.first(place), stride))
        return total


def clone(op: ir.Operation, operands: Sequence[Value], type_: ir.Type) -> Value:
    """``op`` on other operands: scalars or vectors."""
    attributes = {named if isinstance(named, str) else named.name: op.attributes[named] if isinstance(
        named, str) else named.attr for named in op.attributes}
    return ir.Operation.create(op.name, results=[type_], operands=list(operands),
                               attributes=attributes).result


def memref_load(buffer: Value, places: Sequence[Value]) -> Value:
    return ir.Operation.create("memref.load", results=[ir.MemRefType(buffer.type).element_type],
                               operands=[buffer, *places]).result


Emit = Callable[[], None]
