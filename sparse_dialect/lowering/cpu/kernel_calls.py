"""What every kernel family writes with: buffers of a layer's values, and calls of kernels on them.

    %in = bufferization.to_buffer %x;  %out = memref.alloc()
    call @conv_0(%in, %out, %bias, ..., %scratch, %c0, %units) {espalier.units, espalier.layer = "conv1"}
    %y = bufferization.to_tensor %out restrict
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ...devices.cores import Core
from ...dialect.layouts import LanesAttr, layout_of
from ...dialect.ops import LiftOp, UnliftOp
from ...dialect.schedules import record_of
from ...errors import op_error
from ...geometry.layouts import LaneGrid, Plain
from ...ir.constants import constant_of
from ...ir.mlir import bindings, ir
from ...ir.values import element_of, integer_array, shape_of
from ...passes import PassContext
from ..buffers.arguments import append_argument, dynamic_memref, set_size
from ..buffers.joined_outputs import JoinedOutputs, allocate
from .emit.builder import arith, func

bufferization: Any = bindings("dialects.bufferization")
tensor_dialect: Any = bindings("dialects.tensor")

Value = Any
WORD = 32  # bits, in which scratch is counted
WITH_SCRATCH = ("strays", "conv", "depthwise", "max", "average", "fused", "slices", "gru", "lstm")


class KernelCalls:
    """The kernel calls of one function; ``kernels`` of the module are keyed by what they do, so that equal
    layers share one."""

    def __init__(self, module: ir.Operation, function: Any, layers: list[Any], kernels: dict[Any, str],
                 core: Core, context: PassContext) -> None:
        self.core = core
        self._module, self._kernels, self._context = module, kernels, context
        self._index = ir.IndexType.get()
        inputs = len(function.regions[0].blocks[0].arguments)
        if not inputs:
            raise op_error(function, "an input", "none", "what it gives is the same each time")
        set_size(module, "espalier.inputs", inputs)
        self._scratch = append_argument(function, dynamic_memref(ir.IntegerType.get_signless(8)))
        self._scratch_words = 0
        self._joined = JoinedOutputs([layer.output for layer in layers if _writes_lanes(layer)])

    def close(self) -> None:
        """Behind the last layer: concatenations, and how much scratch a thread needs."""
        self._joined.close()
        set_size(self._module, "espalier.scratch", self._scratch_words)

    def call(self, stem: str, key: Any, operands: list[Value], units: int, layer: Any,
             emit: Callable[..., None]) -> ir.Operation:
        """The call of the kernel of ``key`` on ``operands`` (tensors become buffers) for all its units."""
        buffers = [self.buffer(value) for value in operands]
        kernel = self.kernel(stem, key, [value.type for value in buffers], emit)
        scratch = [self._scratch] if stem in WITH_SCRATCH else []
        bounds = [arith.ConstantOp(self._index, value).result for value in (0, units)]
        call = func.CallOp([], kernel, [*buffers, *scratch, *bounds])
        call.operation.attributes["espalier.units"] = ir.UnitAttr.get()
        name_layer(call.operation, layer)
        self._context.statistics["kernel calls"] += 1
        return call.operation

    def kernel(self, stem: str, key: Any, types: list[ir.Type], emit: Callable[..., None]) -> str:
        """The name of the kernel of ``key`` on operands of ``types``, emitted where there is none yet."""
        scratch = [self._scratch.type] if stem in WITH_SCRATCH else []
        types = [*types, *scratch, self._index, self._index]
        key = (stem, key, tuple(str(type_) for type_ in types))
        if key not in self._kernels:
            self._kernels[key] = f"{stem}_{len(self._kernels)}"
            emit(self._module, self._kernels[key], operand_types=types, core=self.core)
            self._context.statistics["kernels"] += 1
        return self._kernels[key]

    def reserve(self, count: int, like: Value) -> None:
        """Makes scratch hold at least so many elements of the type that computes ``like``."""
        self._scratch_words = max(self._scratch_words, -(-count * self.computes(like).width // WORD))

    def computes(self, value: Value) -> ir.Type:
        """The element type of the arithmetic behind ``value``."""
        return ir.F32Type.get() if self.core.widens else element_of(value.type)

    def buffer(self, value: Value) -> Value:
        """``value``, a tensor or a buffer, as a buffer."""
        if isinstance(value.type, ir.MemRefType):
            return value
        tensor = ir.RankedTensorType(value.type)
        type_ = ir.MemRefType.get(tensor.shape, tensor.element_type)
        return bufferization.ToBufferOp(type_, value, read_only=True).result

    def tensor(self, buffer: Value, type_: ir.Type) -> Value:
        """What a kernel wrote."""
        return bufferization.ToTensorOp(type_, buffer, restrict=True, writable=True).result

    def allocate(self, like: Value, source: Value | None = None) -> Value:
        """The buffer that a layer writes ``like`` to: its part of a concatenation, or a new one, whose first
        size is that of ``source`` where a run decides it."""
        part = self._joined.place_of(like)
        if part is not None:
            return part
        known = source is None or ir.RankedTensorType(like.type).has_static_shape
        return allocate(like, [] if known else [
            tensor_dialect.DimOp(source, arith.ConstantOp(self._index, 0).result).result])


def image_of(value: Value, layout: Plain | LaneGrid) -> Value:
    """The input of a kernel: row-major channels as [N, C, pixels]."""
    if isinstance(layout, LaneGrid) or len(shape_of(value)) == 3:
        return value
    n, c, *sizes = shape_of(value)
    type_ = ir.RankedTensorType.get([n, c, prod(sizes)], ir.RankedTensorType(value.type).element_type)
    groups = ir.ArrayAttr.get([integer_array([0]), integer_array([1]),
                               integer_array(range(2, len(sizes) + 2))])
    return ir.Operation.create("tensor.collapse_shape", results=[type_], operands=[value],
                               attributes={"reassociation": groups}).result


def lanes_of(attribute: ir.Attribute, layer: Any) -> LaneGrid:
    """The lane grid that ``attribute`` of ``layer`` says; raises ``PassError`` for rows of pixels."""
    layout = layout_of(attribute, layer.output)
    if not isinstance(layout, LaneGrid):
        raise op_error(layer, "a lane grid", "a row-major layout", "run sparse-assign-layouts first")
    return layout


def name_layer(call: ir.Operation, layer: Any) -> None:
    """Notes on a call which layer it computes."""
    name = name_of(layer)
    if name:
        call.attributes["espalier.layer"] = ir.StringAttr.get(name)


def name_of(layer: Any) -> str:
    """A layer's name; changes of layout have none."""
    return "" if isinstance(layer, LiftOp | UnliftOp) else record_of(layer).layer


def padded_bias(layer: Any, rows: int, padded: int = 0) -> np.ndarray:
    """The bias of a matrix, zeros where there is none, with zeros behind it."""
    known = constant_of(layer.bias) if layer.bias is not None else np.zeros(rows, np.float32)
    if known is None:
        raise op_error(layer, "a constant bias", "a bias computed at run time",
                       "fold it into a constant first")
    return np.pad(known, (0, max(padded - rows, 0)))


def _writes_lanes(layer: Any) -> bool:
    name = "layout" if isinstance(layer, LiftOp) else "output_layout"
    attributes = layer.operation.attributes
    return not isinstance(layer, UnliftOp) and name in attributes and isinstance(attributes[name], LanesAttr)
