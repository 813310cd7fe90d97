"""A short-hand for emitting kernels: constants are shared, index arithmetic is folded, loops are context
managers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ...mlir import bindings, ir

arith: Any = bindings("dialects.arith")
func: Any = bindings("dialects.func")
memref: Any = bindings("dialects.memref")
scf: Any = bindings("dialects.scf")
vector: Any = bindings("dialects.vector")

Value = Any


class Builder:
    """Emits into one function's body, at the current insertion point; vectors have ``lanes`` f32 elements."""

    def __init__(self, entry: ir.Block, lanes: int) -> None:
        self.entry, self.lanes = entry, lanes
        self.index_type, self.f32 = ir.IndexType.get(), ir.F32Type.get()
        self.i32 = ir.IntegerType.get_signless(32)
        self.vector = ir.VectorType.get([lanes], self.f32)
        self.alignment = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), lanes * 4)
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
        element = ir.FloatAttr.get(self.f32, value)
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
        alignment = self.alignment if aligned else None
        return vector.LoadOp(self.vector, base, list(indices), alignment=alignment).result

    def store(self, value: Value, base: Value, *indices: Value, aligned: bool = True,
              streaming: bool = False) -> None:
        """A vector store, aligned unless said otherwise; a ``streaming`` one goes past the caches (for large
        outputs)."""
        alignment = self.alignment if aligned else None
        vector.StoreOp(value, base, list(indices), alignment=alignment, nontemporal=streaming or None)

    def prefetch(self, base: Value, *indices: Value, write: bool = False) -> None:
        """Asks for a line that will be read (or written) soon; reaching past the end is harmless."""
        memref.PrefetchOp(base, list(indices), write, 3, True)

    def put(self, value: Value, base: Value, *indices: Value) -> None:
        """Stores a scalar."""
        memref.StoreOp(value, base, list(indices))

    def flatten(self, lifted: Value) -> Value:
        """[N, C, lines, lanes] as [N, C, lines * lanes]."""
        n, c, lines, lanes = ir.MemRefType(lifted.type).shape
        type_ = ir.MemRefType.get([n, c, lines * lanes], self.f32)
        groups = ir.ArrayAttr.get([ir.ArrayAttr.get([ir.IntegerAttr.get(ir.IntegerType.get_signless(64), d)
                                                     for d in dims])
                                   for dims in ((0,), (1,), (2, 3))])
        return memref.CollapseShapeOp(type_, lifted, groups).result

    # -- vectors -------------------------------------------------------------------------------

    def broadcast(self, scalar: Value) -> Value:
        return vector.BroadcastOp(self.vector, scalar).result

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        return vector.FMAOp(a, b, c).result

    def activation(self, value: Value, kind: str) -> Value:
        """``none``, ``relu`` or ``relu6``; NaN passes through, as in PyTorch.

        Compare and select in this order is one max or min instruction on x86 (``arith.maximumf`` is four)."""
        if kind in ("relu", "relu6"):
            value = self._clamp(arith.CmpFPredicate.OGT, self.splat(0.0), value)
        if kind == "relu6":
            value = self._clamp(arith.CmpFPredicate.OLT, self.splat(6.0), value)
        return value

    def clamp(self, value: Value, low: float, high: float) -> Value:
        """``value`` cut to [low, high]; NaN passes through."""
        value = self._clamp(arith.CmpFPredicate.OGT, self.splat(low), value)
        return self._clamp(arith.CmpFPredicate.OLT, self.splat(high), value)

    def _clamp(self, predicate: Any, bound: Value, value: Value) -> Value:
        return arith.SelectOp(arith.CmpFOp(predicate, bound, value).result, bound, value).result

    def maximum(self, a: Value, b: Value) -> Value:
        return self._clamp(arith.CmpFPredicate.OGT, a, b)

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
