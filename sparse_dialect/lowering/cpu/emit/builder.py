"""A short-hand for emitting kernels: constants are shared, index arithmetic is folded, loops are context
managers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ....devices.cores import Core
from ....ir.mlir import bindings, ir
from ....ir.values import element_of

arith: Any = bindings("dialects.arith")
func: Any = bindings("dialects.func")
llvm: Any = bindings("dialects.llvm")
memref: Any = bindings("dialects.memref")
scf: Any = bindings("dialects.scf")
vector: Any = bindings("dialects.vector")

Value = Any
CACHE_LINE = 64  # bytes


class Builder:
    """
    Emits into one function's body, at the current insertion point, what suits ``core``.

    It computes with vectors of ``lanes`` elements of the type ``element``: f32 unless said otherwise, and
    where the core ``widens``. What memory holds as floats of another width is converted as it is loaded,
    broadcast or stored.
    """

    def __init__(self, entry: ir.Block, lanes: int, core: Core, element: ir.Type | None = None) -> None:
        self.entry, self.lanes, self.core = entry, lanes, core
        self.index_type = ir.IndexType.get()
        self.element = ir.F32Type.get() if core.widens or element is None else element
        self.i32 = ir.IntegerType.get_signless(32)
        self.vector = ir.VectorType.get([lanes], self.element)
        self._constants: dict[Any, Value] = {}

    # -- constants and index arithmetic --------------------------------------------------------

    def _constant(self, type_: ir.Type, attribute: ir.Attribute) -> Value:
        key = (str(type_), str(attribute))
        if key not in self._constants:
            with ir.InsertionPoint.at_block_begin(self.entry):
                self._constants[key] = arith.ConstantOp(type_, attribute).result
        return self._constants[key]

    def index(self, value: int) -> Value:
        return self._constant(self.index_type, ir.IntegerAttr.get(self.index_type, value))

    def splat(self, value: float) -> Value:
        """A vector that holds ``value`` in every lane."""
        element = ir.FloatAttr.get(self.element, value)
        return self._constant(self.vector, ir.DenseElementsAttr.get_splat(self.vector, element))

    def integer_attribute(self, value: int) -> ir.Attribute:
        return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), value)

    def constant(self, type_: ir.Type, value: int | bool) -> Value:
        """A vector of an integer type that holds ``value`` in every lane."""
        element = ir.VectorType(type_).element_type
        return self._constant(type_,
                              ir.DenseElementsAttr.get_splat(type_, ir.IntegerAttr.get(element, int(value))))

    def constants(self, type_: ir.Type, values: Sequence[int]) -> Value:
        """A vector of an integer type that holds ``values``."""
        element = ir.VectorType(type_).element_type
        attributes = [ir.IntegerAttr.get(element, value) for value in values]
        return self._constant(type_, ir.DenseElementsAttr.get(attributes, type_))

    def minimum(self, a: Value, b: Value) -> Value:
        """The smaller of two indices."""
        return arith.MinSIOp(a, b).result

    def add(self, a: Value, b: Value | int) -> Value:
        """Index addition; adding the literal 0 emits nothing."""
        if isinstance(b, int):
            if b == 0:
                return a
            b = self.index(b)
        return arith.AddIOp(a, b).result

    def multiply(self, a: Value, b: Value | int) -> Value:
        if isinstance(b, int):
            if b == 1:
                return a
            b = self.index(b)
        return arith.MulIOp(a, b).result

    def divide(self, a: Value, b: int) -> tuple[Value, Value]:
        """Quotient and remainder of an index that is not negative."""
        divisor = self.index(b)
        return arith.DivUIOp(a, divisor).result, arith.RemUIOp(a, divisor).result

    def as_index(self, integer: Value, unsigned: bool = False) -> Value:
        cast = arith.IndexCastUIOp if unsigned else arith.IndexCastOp
        return cast(self.index_type, integer).result

    # -- memory --------------------------------------------------------------------------------

    def scalar(self, base: Value, *indices: Value) -> Value:
        return memref.LoadOp(base, list(indices)).result

    def integer(self, base: Value, *indices: Value) -> Value:
        """Loads an integer and casts it to index; 16-bit and narrower ones count as unsigned."""
        loaded = self.scalar(base, *indices)
        return self.as_index(loaded, unsigned=ir.IntegerType(loaded.type).width <= 16)

    def load(self, base: Value, *indices: Value, aligned: bool = True) -> Value:
        """A vector load, of an aligned vector unless said otherwise."""
        held = self._held(base)
        alignment = self.integer_attribute(self.line_bytes(base)) if aligned else None
        loaded = vector.LoadOp(held, base, list(indices), alignment=alignment).result
        return self.convert(loaded, self.vector)

    def places(self, base: Value, *indices: Value) -> Value:
        """A vector of i32, as ``gather`` takes it."""
        return vector.LoadOp(ir.VectorType.get([self.lanes], self.i32), base, list(indices)).result

    def gather(self, base: Value, leading: Sequence[Value], places: Value,
               outside: float | None = None) -> Value:
        """A vector of the elements ``places`` (i32 offsets from ``base`` [*leading, 0, ...]).

        ``outside``: the value where a place is negative; None: no place is."""
        start = [*leading, *[self.index(0)] * (len(ir.MemRefType(base.type).shape) - len(leading))]
        if outside is None:
            inside = self.constant(ir.VectorType.get([self.lanes], ir.IntegerType.get_signless(1)), True)
        else:
            inside = arith.CmpIOp(arith.CmpIPredicate.sge, places, self.constant(places.type, 0)).result
        held = self._held(base)
        rest = self.convert(self.splat(outside or 0.0), held)
        return self.convert(vector.GatherOp(held, base, start, places, inside, rest).result, self.vector)

    def store(self, value: Value, base: Value, *indices: Value, aligned: bool = True,
              streaming: bool = False) -> None:
        """A vector store, aligned unless said otherwise; a ``streaming`` one goes past the caches (for large
        outputs)."""
        held = self._held(base)
        alignment = self.integer_attribute(self.line_bytes(base)) if aligned else None
        vector.StoreOp(self.convert(value, held), base, list(indices), alignment=alignment,
                       nontemporal=streaming or None)

    def prefetch(self, base: Value, *indices: Value, write: bool = False, level: int = 1) -> None:
        """Asks that a line that will be read (or written) soon be brought to a level of cache; reaching past
        the end is harmless."""
        memref.PrefetchOp(base, list(indices), write, 4 - level, True)

    def one_a_cache_line(self, base: Value, lines: Iterable[int]) -> list[int]:
        """Those of ``lines``, increasing numbers of vectors of ``base``, that do not share a cache line with
        the one before."""
        found: list[int] = []
        for line in lines:
            if not found or (line - found[-1]) * self.line_bytes(base) >= CACHE_LINE:
                found.append(line)
        return found

    def put(self, value: Value, base: Value, *indices: Value) -> None:
        """Stores a scalar."""
        memref.StoreOp(self.convert(value, element_of(base.type)), base, list(indices))

    def view(self, scratch: Value, offset: int, shape: Sequence[int]) -> Value:
        """A row-major array of ``shape`` in scratch (memref<?xi8>), ``offset`` elements from its start."""
        type_ = ir.MemRefType.get(list(shape), self.element)
        return memref.ViewOp(type_, scratch, self.index(offset * self.element.width // 8), []).result

    def line_bytes(self, base: Value) -> int:
        """Bytes of a vector as ``base`` holds it."""
        return int(self.lanes * element_of(base.type).width // 8)

    def _held(self, base: Value) -> ir.Type:
        """The vector type of ``lanes`` elements as ``base`` holds them."""
        return ir.VectorType.get([self.lanes], element_of(base.type))

    # -- vectors -------------------------------------------------------------------------------

    def convert(self, value: Value, type_: ir.Type) -> Value:
        """A float, or a vector of floats, in the wider or narrower ``type_``."""
        if value.type == type_:
            return value
        before, after = (t.element_type if isinstance(t, ir.VectorType) else t for t in (value.type, type_))
        return (arith.ExtFOp if before.width < after.width else arith.TruncFOp)(type_, value).result

    def broadcast(self, scalar: Value) -> Value:
        return vector.BroadcastOp(self.vector, self.convert(scalar, self.element)).result

    def interleaved(self, vectors: Sequence[Value]) -> Value:
        """The first elements of all ``vectors``, a power of two, then their second elements, and so on."""
        if len(vectors) == 1:
            return vectors[0]
        even, odd = self.interleaved(vectors[::2]), self.interleaved(vectors[1::2])
        length = ir.VectorType(even.type).shape[0]
        return vector.ShuffleOp(even, odd, [at + half * length for at in range(length)
                                            for half in (0, 1)]).result

    def part(self, value: Value, at: int) -> Value:
        """The ``at``-th vector of ``lanes`` elements of a longer one."""
        return vector.ExtractStridedSliceOp(self.vector, value, [at * self.lanes], [self.lanes], [1]).result

    def weights(self, base: Value, leading: Sequence[Value], first: Value,
                count: int) -> Callable[[int], Value]:
        """Gives splats of ``count`` neighbouring scalars, from ``first`` on, each made when first asked for.

        Where a multiply takes one lane of a register as its scalar, one load brings several."""
        width = 1
        while self.core.lane_weights and 2 * width <= min(count, self.lanes):
            width *= 2
        made: dict[int, Value] = {}
        loaded: dict[int, Value] = {}

        def splat(at: int) -> Value:
            if at not in made:
                made[at] = lane(at) if width > 1 else self.broadcast(
                    self.scalar(base, *leading, self.add(first, at)))
            return made[at]

        def lane(at: int) -> Value:
            start = min(at // width * width, count - width)  # the last load reaches back, not past the end
            if start not in loaded:
                held = ir.VectorType.get([width], element_of(base.type))
                values = vector.LoadOp(held, base, [*leading, self.add(first, start)]).result
                loaded[start] = self.convert(values, ir.VectorType.get([width], self.element))
            return vector.ShuffleOp(loaded[start], loaded[start], [at - start] * self.lanes).result

        return splat

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        return vector.FMAOp(a, b, c).result

    def clamp(self, value: Value, low: float, high: float) -> Value:
        """``value`` cut to [low, high]; NaN passes through."""
        return self.least(self.splat(high), self.maximum(self.splat(low), value))

    def maximum(self, a: Value, b: Value) -> Value:
        """The larger; ``b`` where that is NaN.

        Compare and select in this order is one instruction on x86 (``arith.maximumf`` is four); on Arm
        ``arith.maximumf`` is one."""
        if self.core.keeps_nan:
            return arith.MaximumFOp(a, b).result
        return arith.SelectOp(arith.CmpFOp(arith.CmpFPredicate.OGT, a, b).result, a, b).result

    def least(self, a: Value, b: Value) -> Value:
        """The smaller; ``b`` where that is NaN."""
        if self.core.keeps_nan:
            return arith.MinimumFOp(a, b).result
        return arith.SelectOp(arith.CmpFOp(arith.CmpFPredicate.OLT, a, b).result, a, b).result

    # -- control -------------------------------------------------------------------------------

    def loop(self, lower: Value | int, upper: Value | int, body: Callable[..., Sequence[Value] | None],
             carried: Sequence[Value] = (), step: int = 1,
             attributes: Mapping[str, int] | None = None) -> list[Value]:
        """``for i in range(lower, upper, step)``: ``body(i, *carried)`` returns the next carried values."""
        bounds = [self.index(b) if isinstance(b, int) else b for b in (lower, upper)]
        op = scf.ForOp(*bounds, self.index(step), list(carried))
        for name, value in (attributes or {}).items():
            op.attributes[name] = self.integer_attribute(value)
        with ir.InsertionPoint(op.body):
            scf.YieldOp(list(body(op.induction_variable, *op.inner_iter_args) or ()))
        return list(op.results)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """``if condition:`` with no results."""
        op = scf.IfOp(condition)
        with ir.InsertionPoint(op.then_block):
            yield
            scf.YieldOp([])

    def either(self, condition: Value, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """``if condition: then() else: otherwise()`` with no results."""
        op = scf.IfOp(condition, has_else=True)
        for block, emit in ((op.then_block, then), (op.else_block, otherwise)):
            with ir.InsertionPoint(block):
                emit()
                scf.YieldOp([])

    def choose(self, condition: Value, then: Callable[[], Sequence[Value]],
               otherwise: Callable[[], Sequence[Value]],
               types: Sequence[ir.Type]) -> list[Value]:
        """``then() if condition else otherwise()``: the values of one of the two."""
        op = scf.IfOp(condition, list(types), has_else=True)
        for block, emit in ((op.then_block, then), (op.else_block, otherwise)):
            with ir.InsertionPoint(block):
                scf.YieldOp(list(emit()))
        return list(op.results)

    def compare(self, predicate: str, a: Value, b: Value) -> Value:
        """Integer comparison: ``eq``, ``slt``, ``sge``, ..."""
        return arith.CmpIOp(getattr(arith.CmpIPredicate, predicate), a, b).result


class RunningMaximum:
    """The largest of several vectors, added one by one; NaN where any of them is, as in PyTorch's pools.

    ``Builder.maximum`` keeps a NaN of its second operand alone, the one that was added last: where the core
    has no better, what went before is looked at in pairs.
    """

    def __init__(self, b: Builder) -> None:
        self.b = b
        self.largest: Value = None
        self._last: Value = None  # is not in ``largest`` yet
        self._unpaired: Value = None
        self._is_nan: Value = None

    def add(self, value: Value) -> None:
        """One more vector."""
        if self._last is not None:
            self._settle()
        self._last = value

    def result(self) -> Value:
        """The largest of what was added, one vector or more."""
        if self.largest is None:
            return self._last
        if self._unpaired is not None:
            self._look(self._unpaired, self._unpaired)
        largest = self.b.maximum(self.largest, self._last)
        if self._is_nan is None:
            return largest
        return arith.SelectOp(self._is_nan, self.b.splat(math.nan), largest).result

    def _settle(self) -> None:
        """Takes in the vector that was the last one until now."""
        value = self._last
        self.largest = value if self.largest is None else self.b.maximum(self.largest, value)
        if self.b.core.keeps_nan:
            return
        if self._unpaired is None:
            self._unpaired = value
        else:
            self._look(self._unpaired, value)
            self._unpaired = None

    def _look(self, left: Value, right: Value) -> None:
        """Notes in which lanes one of the two is NaN."""
        found = arith.CmpFOp(arith.CmpFPredicate.UNO, left, right).result
        self._is_nan = found if self._is_nan is None else arith.OrIOp(self._is_nan, found).result


def static_memref(shape: Sequence[int], element: ir.Type) -> ir.Type:
    return ir.MemRefType.get(list(shape), element)


def private_function(module: ir.Operation, name: str, types: Sequence[ir.Type],
                     writes: Sequence[int] = (1,)) -> tuple[Any, ir.Block]:
    """A private kernel function of the module's top level and its entry block; ``writes``: the operands it
    writes."""
    with ir.InsertionPoint.at_block_begin(module.regions[0].blocks[0]):
        op = func.FuncOp(name, (list(types), []), visibility="private")
    op.attributes["espalier.writes"] = ir.DenseI64ArrayAttr.get(list(writes))
    return op, op.add_entry_block()



def each_group(b: Builder, count: Value | int, together: int, body: Callable[[list[Value]], None]) -> None:
    """``body([n, n + 1, ...])`` for the numbers below ``count``, at most ``together`` at a time: in groups of
    near-equal size where their number is known, otherwise the rest one by one."""
    def groups(first: Value | int, end: Value | int, size: int) -> None:
        b.loop(first, end, lambda n: body([n, *(b.add(n, at) for at in range(1, size))]), step=size)

    if isinstance(count, int):
        parts = max(1, -(-count // together))
        small, larger = divmod(count, parts)
        split = larger * (small + 1)
        if split:
            groups(0, split, small + 1)
        if split < count:
            groups(split, count, small)
        return
    whole = b.multiply(arith.DivUIOp(count, b.index(together)).result, together)
    groups(0, whole, together)
    groups(whole, count, 1)


def flat(buffer: Value) -> Value:
    """All elements of a contiguous buffer as one row."""
    size = math.prod(ir.MemRefType(buffer.type).shape)
    type_ = ir.MemRefType.get([size], element_of(buffer.type))
    return memref.ReinterpretCastOp(type_, buffer, [], [], [], [0], [size], [1]).result
