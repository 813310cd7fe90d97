"""Loads, stores and index arithmetic of vectorised loops, on buffers seen as one row of elements.

Loops of known length end in one masked vector, so that nothing outside of a buffer is touched. Booleans take
a byte each in memory, where a vector of them would be bits: they go through bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir.mlir import bindings, ir
from .nest import Access

arith: Any = bindings("dialects.arith")
memref: Any = bindings("dialects.memref")
scf: Any = bindings("dialects.scf")
vector: Any = bindings("dialects.vector")

Value = Any


class Memory:
    """Emits at the current insertion point, for vectors of ``lanes`` elements; ``entry`` is where constants
    and views of operands go, a place before every loop of the operation."""

    def __init__(self, lanes: int, entry: ir.InsertionPoint) -> None:
        self.lanes, self.entry = lanes, entry
        self.index_type = ir.IndexType.get()
        self._constants: dict[str, Value] = {}
        self._rows: dict[tuple[Value, int, int], Value] = {}

    # -- numbers -------------------------------------------------------------------------------

    def attribute(self, attribute: ir.Attribute) -> Value:
        """A constant; each is made once."""
        key = str(attribute)
        if key not in self._constants:
            with self.entry:
                self._constants[key] = arith.ConstantOp(attribute.type, attribute).result
        return self._constants[key]

    def constant(self, type_: ir.Type, value: float) -> Value:
        """A scalar constant of a number type."""
        integral = isinstance(type_, ir.IntegerType | ir.IndexType)
        return self.attribute(ir.IntegerAttr.get(type_, int(value)) if integral
                              else ir.FloatAttr.get(type_, value))

    def index(self, value: int) -> Value:
        return self.attribute(ir.IntegerAttr.get(self.index_type, value))

    def add(self, a: Value, b: Value | int) -> Value:
        """Index addition; adding 0 emits nothing."""
        b = self.index(b) if isinstance(b, int) else b
        if b == self.index(0):
            return a
        return b if a == self.index(0) else arith.AddIOp(a, b).result

    def multiply(self, a: Value, b: int) -> Value:
        if b == 0 or a == self.index(0):
            return self.index(0)
        return a if b == 1 else arith.MulIOp(a, self.index(b)).result

    # -- vectors -------------------------------------------------------------------------------

    def vector(self, element: ir.Type) -> ir.Type:
        return ir.VectorType.get([self.lanes], element)

    def broadcast(self, scalar: Value) -> Value:
        return vector.BroadcastOp(self.vector(scalar.type), scalar).result

    def splat(self, element: ir.Type, value: float) -> Value:
        return self.broadcast(self.constant(element, value))

    def numbers(self, element: ir.Type, values: Sequence[int]) -> Value:
        """A constant vector of integers."""
        attributes = [ir.IntegerAttr.get(element, value) for value in values]
        return self.attribute(ir.DenseElementsAttr.get(attributes, self.vector(element)))

    def steps(self, first: Value) -> Value:
        """``first``, ``first + 1``, and so on."""
        return arith.AddIOp(self.broadcast(first), self.numbers(first.type, range(self.lanes))).result

    def first_lanes(self, count: int) -> Value:
        """A mask of the first ``count`` lanes."""
        bit = ir.IntegerType.get_signless(1)
        return self.numbers(bit, [int(lane < count) for lane in range(self.lanes)])

    def all_true(self, condition: Value, count: int | None) -> Value:
        """Whether ``condition`` holds in the first ``count`` lanes."""
        if count is not None:
            bits = [int(lane >= count) for lane in range(self.lanes)]
            others = self.numbers(ir.IntegerType.get_signless(1), bits)
            condition = arith.OrIOp(condition, others).result
        kind = ir.Attribute.parse("#vector.kind<and>")
        return vector.ReductionOp(ir.IntegerType.get_signless(1), kind, condition).result

    def scaled_places(self, places: Value, stride: int) -> Value:
        """Integers or indices times ``stride``, in 32 bits."""
        i32 = ir.IntegerType.get_signless(32)
        element = ir.VectorType(places.type).element_type
        narrow = self.vector(i32)
        if isinstance(element, ir.IndexType):
            places = arith.IndexCastOp(narrow, places).result
        if stride == 1:
            return places
        return arith.MulIOp(places, self.numbers(i32, [stride] * self.lanes)).result

    # -- memory --------------------------------------------------------------------------------

    def row(self, access: Access) -> Value:
        """The operand as one row of elements; each is made once."""
        key = (access.value, access.offset, access.extent)
        if key not in self._rows:
            with self.entry:
                self._rows[key] = access.flat()
        return self._rows[key]

    def scalar(self, access: Access, address: Value) -> Value:
        """The element at ``address``, or what an output begins with."""
        if access.initial is not None:
            return access.initial
        return memref.LoadOp(self.row(access), [address]).result

    def put(self, access: Access, address: Value, value: Value) -> None:
        memref.StoreOp(value, self.row(access), [address])

    def fetch(self, access: Access, address: Value, *, written: bool) -> None:
        """Has the line of the element at ``address``, which will be read or ``written``, come to the cache;
        an address behind the buffer does no harm."""
        memref.PrefetchOp(self.row(access), [address], written, 3, True)

    def load(self, access: Access, address: Value, stride: int, count: int | None) -> Value:
        """A vector of the elements at ``address``, ``stride`` apart; only the first ``count`` lanes are read,
        the others hold zero. Or what an output begins with, in all lanes."""
        if access.initial is not None:
            return self.broadcast(access.initial)
        if stride != 1:
            i32 = ir.IntegerType.get_signless(32)
            places = self.numbers(i32, [stride * lane for lane in range(self.lanes)])
            return self.gather(access, address, places, count)
        element, row = access.element, self.row(access)
        if _is_bit(element):
            return self._load_bits(row, address, count)
        type_ = self.vector(element)
        if count is None:
            return vector.LoadOp(type_, row, [address]).result
        return vector.MaskedLoadOp(type_, row, [address], self.first_lanes(count),
                                   self.splat(element, 0)).result

    def gather(self, access: Access, address: Value, places: Value, count: int | None) -> Value:
        """A vector of the elements at ``address`` and 32-bit ``places`` behind it."""
        element, row = access.element, self.row(access)
        if _is_bit(element):
            return self._gather_bits(row, address, places, count)
        mask = self.first_lanes(self.lanes if count is None else count)
        type_ = self.vector(element)
        return vector.GatherOp(type_, row, [address], places, mask, self.splat(element, 0)).result

    def store(self, value: Value, access: Access, address: Value, stride: int, count: int | None) -> None:
        """Stores the first ``count`` lanes (None: all) at ``address``, ``stride`` apart."""
        row = self.row(access)
        if stride != 1:
            self._scatter(value, access, address, stride, count)
        elif _is_bit(access.element):
            self._store_bits(value, row, address, count)
        elif count is None:
            vector.StoreOp(value, row, [address])
        else:
            vector.MaskedStoreOp(row, [address], self.first_lanes(count), value)

    def _scatter(self, value: Value, access: Access, address: Value, stride: int,
                 count: int | None) -> None:
        for lane in range(self.lanes if count is None else count):
            element = vector.ExtractOp(value, [], [lane]).result
            self.put(access, self.add(address, self.index(lane * stride)), element)

    # -- booleans ------------------------------------------------------------------------------

    def _bytes(self, row: Value, address: Value) -> Value:
        """A pointer to byte ``address`` of a row of booleans."""
        offset = ir.MemRefType(row.type).get_strides_and_offset()[1]
        base = memref.ExtractAlignedPointerAsIndexOp(row).result
        place = self.add(self.add(base, offset), address)
        integer = arith.IndexCastOp(ir.IntegerType.get_signless(64), place).result
        return ir.Operation.create("llvm.inttoptr", results=[ir.Type.parse("!llvm.ptr")],
                                   operands=[integer]).result

    def _load_bits(self, row: Value, address: Value, count: int | None) -> Value:
        if count is not None:
            return self._each_bit(row, [self.add(address, self.index(lane)) for lane in range(count)])
        held = self.vector(ir.IntegerType.get_signless(8))
        loaded = ir.Operation.create("llvm.load", results=[held], operands=[self._bytes(row, address)],
                                     attributes={"alignment": _alignment()}).result
        return arith.TruncIOp(self.vector(ir.IntegerType.get_signless(1)), loaded).result

    def _store_bits(self, value: Value, row: Value, address: Value, count: int | None) -> None:
        if count is not None:
            for lane in range(count):
                bit = vector.ExtractOp(value, [], [lane]).result
                memref.StoreOp(bit, row, [self.add(address, self.index(lane))])
            return
        wide = arith.ExtUIOp(self.vector(ir.IntegerType.get_signless(8)), value).result
        ir.Operation.create("llvm.store", operands=[wide, self._bytes(row, address)],
                            attributes={"alignment": _alignment()})

    def _gather_bits(self, row: Value, address: Value, places: Value, count: int | None) -> Value:
        found = []
        for lane in range(self.lanes if count is None else count):
            place = vector.ExtractOp(places, [], [lane]).result
            found.append(self.add(address, arith.IndexCastOp(self.index_type, place).result))
        return self._each_bit(row, found)

    def _each_bit(self, row: Value, addresses: Sequence[Value]) -> Value:
        zero = self.constant(ir.IntegerType.get_signless(1), 0)
        bits = [memref.LoadOp(row, [address]).result for address in addresses]
        padded = [*bits, *[zero] * (self.lanes - len(bits))]
        return vector.FromElementsOp(self.vector(zero.type), padded).result

    # -- loops ---------------------------------------------------------------------------------

    def loop(self, upper: Value | int, body: Callable[..., Sequence[Value] | None],
             carried: Sequence[Value] = (), step: int = 1, lower: int = 0) -> list[Value]:
        """``for i in range(lower, upper, step)``: ``body(i, *carried)`` returns the next carried values."""
        end = self.index(upper) if isinstance(upper, int) else upper
        op = scf.ForOp(self.index(lower), end, self.index(step), list(carried))
        with ir.InsertionPoint(op.body):
            scf.YieldOp(list(body(op.induction_variable, *op.inner_iter_args) or ()))
        return list(op.results)


def _is_bit(element: ir.Type) -> bool:
    return isinstance(element, ir.IntegerType) and ir.IntegerType(element).width == 1


def _alignment() -> ir.Attribute:
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), 1)
