"""``sparse-export-entry``: one function of plain pointers and numbers, which C and Python call alike.

    func.func @main(%x: memref<1x8xf32>, %scratch: memref<?xi8>, ..., %arena: memref<?xi8>)
    ->
    func.func private @main(...)                                  // internal linkage from here on
    func.func @espalier_entry(%buffers: !llvm.ptr, %sizes: !llvm.ptr, %thread: i64, %threads: i64) {
      %0 = llvm.load %buffers[0] ...  %x = builtin.unrealized_conversion_cast %descriptor to memref<1x8xf32>
      call @main(%x, ..., %thread, %threads, %arena)

``void espalier_entry(void *const *buffers, const int64_t *sizes, int64_t thread, int64_t threads)``:
``buffers`` are the memrefs of ``espalier.entry`` in their order, row-major; ``sizes`` are the dynamic
dimensions of the inputs, then of the outputs. Every other function becomes internal, and kernels stay
functions of their own, so that profilers and instruction counters see them. The module says what the code
takes, so that a model file that says otherwise is refused:

    module attributes {espalier.arguments = ["inputs", "scratch", ...], espalier.input_types = ["1x8xf32"],
                       espalier.output_types = ["1x4xf32"], espalier.arena = 4096 : i64, ...}
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ....entry import SYMBOL
from ...dialect.schedules import TARGET
from ...errors import op_error
from ...ir.mlir import bindings, ir
from ...passes import Pass, PassContext
from ..buffers.arguments import expected_arguments, functions, public_functions, tensor_arguments

arith: Any = bindings("dialects.arith")
func: Any = bindings("dialects.func")


@dataclass(frozen=True)
class ExportEntryPass(Pass):
    """
    Adds espalier_entry, which calls the one public function, and makes all other functions internal.
    """

    name = "sparse-export-entry"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context, ir.Location.unknown(op.context):
            public = public_functions(op)
            if len(public) != 1:
                raise op_error(op, "one public function", str(len(public)), "make the others private")
            _check(op, public[0])
            _declare(op, public[0])
            if TARGET in op.attributes:  # code is made: who loads it knows upstream's dialects alone
                del op.attributes[TARGET]
            inner = [function for function in functions(op) if function not in public]
            _add_entry(op, public[0])
            for function in inner:
                function.operation.attributes["llvm.no_inline"] = ir.UnitAttr.get()
            for function in [*inner, *public]:
                function.operation.attributes["llvm.linkage"] = ir.Attribute.parse("#llvm.linkage<internal>")
                function.operation.attributes["sym_visibility"] = ir.StringAttr.get("private")


def _check(module: ir.Operation, function: Any) -> None:
    """Raises where ``function`` has not the arguments of ``espalier.entry``, or gives results besides."""
    type_ = ir.FunctionType(ir.TypeAttr(function.operation.attributes["function_type"]).value)
    if "espalier.inputs" not in module.attributes:
        raise op_error(function, "the arguments that sparse-plan-memory leaves", str(type_),
                       "run sparse-to-loops first")
    listed = expected_arguments(module, len(type_.inputs))
    kinds = {"number": "index", "tensors": "memref<"}
    expected = [kinds.get(argument.kind, f"memref<?x{argument.element}>") for argument in listed]
    found = [str(entry) for entry in type_.inputs]
    if len(expected) != len(found) or not all(map(str.startswith, found, expected)):
        names = ", ".join(argument.name for argument in listed)
        raise op_error(function, f"the arguments that sparse-plan-memory leaves ({names})", str(type_),
                       "run sparse-to-loops first")
    if type_.results:
        raise op_error(function, "results as output arguments", str(type_), "run sparse-to-loops first")


def _declare(module: ir.Operation, function: Any) -> None:
    """Writes onto the module which buffers the code takes, in order, and the types of the tensors."""
    arguments = list(function.regions[0].blocks[0].arguments)
    listed = expected_arguments(module, len(arguments))
    buffers = dict.fromkeys(argument.name for argument in listed if argument.kind != "number")
    types = {kind: [_type_text(value.type) for value, argument in zip(arguments, listed, strict=True)
                    if argument.name == kind] for kind in ("inputs", "outputs")}
    for name, texts in (("arguments", list(buffers)), ("input_types", types["inputs"]),
                        ("output_types", types["outputs"])):
        attribute = ir.ArrayAttr.get([ir.StringAttr.get(text) for text in texts])
        module.attributes[f"espalier.{name}"] = attribute


def _type_text(type_: ir.Type) -> str:
    """A memref's sizes and element as text: ``1x?x8xf32``."""
    dynamic = ir.ShapedType.get_dynamic_size()
    sizes = ["?" if size == dynamic else str(size) for size in ir.MemRefType(type_).shape]
    return "x".join([*sizes, str(ir.MemRefType(type_).element_type)])


def _add_entry(module: ir.Operation, function: Any) -> None:
    """``func.func @espalier_entry`` behind ``function``, calling it."""
    pointer, i64 = ir.Type.parse("!llvm.ptr"), ir.IntegerType.get_signless(64)
    with ir.InsertionPoint.after(function.operation):
        entry = func.FuncOp(SYMBOL, ([pointer, pointer, i64, i64], []))
    buffers, sizes, *numbers = entry.add_entry_block().arguments
    arguments = list(function.regions[0].blocks[0].arguments)
    tensors = set(tensor_arguments(module, function))
    with ir.InsertionPoint(entry.entry_block):
        dimensions = _elements(sizes, i64)
        pointers = _elements(buffers, pointer)
        indices = (arith.IndexCastOp(ir.IndexType.get(), number).result for number in numbers)
        values = []
        for at, argument in enumerate(arguments):
            if isinstance(argument.type, ir.MemRefType):
                known = dimensions if at in tensors else None
                values.append(memref_of(argument.type, next(pointers), known))
            else:
                values.append(next(indices))
        name = ir.StringAttr(function.operation.attributes["sym_name"]).value
        func.CallOp([], name, values)
        func.ReturnOp([])


def _elements(base: ir.Value, type_: ir.Type) -> Iterator[ir.Value]:
    """base[0], base[1], ... of an array of ``type_`` (eight bytes each), loaded as they are asked for."""
    at = 0
    while True:
        address = _create("llvm.getelementptr", ir.Type.parse("!llvm.ptr"), [base],
                          rawConstantIndices=ir.DenseI32ArrayAttr.get([at]), elem_type=ir.TypeAttr.get(type_))
        yield _create("llvm.load", type_, [address])
        at += 1


def memref_of(type_: ir.Type, pointer: ir.Value, sizes: Iterator[ir.Value] | None = None) -> ir.Value:
    """``pointer`` as a row-major memref; without ``sizes`` its dynamic sizes, which no code reads, are 0."""
    shape, rank = ir.MemRefType(type_).shape, ir.MemRefType(type_).rank
    dynamic = ir.ShapedType.get_dynamic_size()
    extents = [_integer(size) if size != dynamic else _integer(0) if sizes is None else next(sizes)
               for size in shape]
    strides = [_integer(1)] if rank else []
    for extent in reversed(extents[1:]):
        strides.insert(0, arith.MulIOp(strides[0], extent).result)
    arrays = f", array<{rank} x i64>, array<{rank} x i64>" if rank else ""
    struct = ir.Type.parse(f"!llvm.struct<(ptr, ptr, i64{arrays})>")
    value = _create("llvm.mlir.poison", struct, [])
    fields = [([0], pointer), ([1], pointer), ([2], _integer(0)),
              *(([3, i], extent) for i, extent in enumerate(extents)),
              *(([4, i], stride) for i, stride in enumerate(strides))]
    for position, field in fields:
        value = _create("llvm.insertvalue", struct, [value, field],
                        position=ir.DenseI64ArrayAttr.get(position))
    return _create("builtin.unrealized_conversion_cast", type_, [value])


def _integer(value: int) -> ir.Value:
    return arith.ConstantOp(ir.IntegerType.get_signless(64), value).result


def _create(name: str, result: ir.Type, operands: list[ir.Value], **attributes: ir.Attribute) -> ir.Value:
    return ir.Operation.create(name, results=[result], operands=operands, attributes=attributes).result
