"""``sparse-lower-to-gpu``: packed sparse ops become launches of GPU kernels over buffers of bytes.

    %y = "sparse.packed_conv"(%x, %offset, ...) : (tensor<1x64x56x56xf32>, ...) -> tensor<1x64x56x56xf32>
    -> gpu.module @kernel_0 { gpu.func @main(%input: memref<..xvector<4xf32>>, ...) kernel { ... } }
       memref.global "private" constant @weight_0 : memref<..xi8> = dense_resource<...>
       func.func @main(%x: memref<..xi8>, %y: memref<..xi8>) {
         %t = memref.alloc() : memref<..xi8>      // zeros, for as long as the model lives
         %v = memref.view %t[%c0][] : memref<..xi8> to memref<..xvector<4xf32>>
         gpu.launch_func @kernel_0::@main blocks in (...) threads in (...) args(%v : ...)
                         {espalier.layer = "conv1", espalier.written = array<i64: 6>}

All buffers are of Vulkan's storage class. Equal kernels are one. Inputs and outputs are row-major; images
between layers are rows of pixel vectors (``layout.py``). No sparse op and no tensor is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...dialect.ops import Layer, PoolOp
from ...dialect.packed import PackedConvOp, PackedLinearOp
from ...dialect.schedules import record_of
from ...errors import op_error
from ...ir.constants import attribute_of
from ...ir.mlir import ir
from ...ir.values import shape_of, text_of
from ...ir.walk import operations
from ...passes import Pass, PassContext
from .emitter import THREADS, Kernel
from .kernels.convolution import convolution
from .kernels.pixels import copy, copy_flat, pool, product
from .layers import convolution_of, layout_of_value, linear_of, margin_of, pool_of
from .layout import LANES, Flat, Layout, Rows

VECTOR_BYTES = 4 * LANES
CLASS = "#spirv.storage_class<StorageBuffer>"
_SKIPPED = ("arith.constant", "func.return")
_RESHAPES = ("tensor.collapse_shape", "tensor.expand_shape")


@dataclass(frozen=True)
class LowerToGpuPass(Pass):
    """
    Lowers a function of packed sparse ops to kernels in gpu, memref, vector, arith and scf, and their
    launches.

    Convolutions (dense, pattern, connectivity), dense linear layers and pools. Anything else is an error that
    names the operation: nothing falls back to the CPU.
    """

    name = "sparse-lower-to-gpu"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            block = op.regions[0].blocks[0]
            functions = [view for view in block.operations if view.operation.name == "func.func"]
            if len(functions) != 1:
                raise op_error(op, "one function", f"{len(functions)}", "make a model of one function")
            lowering = _Lowering(functions[0], context)
            lowered = lowering.module()
            functions[0].operation.erase()
            for view in list(lowered.body.operations):
                block.append(view.operation.detach_from_parent())
            op.attributes["gpu.container_module"] = ir.UnitAttr.get()


class _Lowering:
    """The text of the lowered module, as it grows."""

    def __init__(self, function: Any, context: PassContext) -> None:
        self._function, self._context = function, context
        self._margin = margin_of(operations(function, PackedConvOp, PoolOp))
        self._kernels: dict[str, tuple[str, Kernel]] = {}  # by their text: its name
        self._weights: dict[str, np.ndarray] = {}
        self._lines: list[str] = []
        self._count = 0
        self._buffers: dict[Any, tuple[str, Layout]] = {}  # of each tensor
        self._sizes: dict[str, int] = {}  # bytes of each buffer

    def module(self) -> ir.Module:
        """The whole: kernels, weights and the function of launches."""
        body = self._function.regions[0].blocks[0]
        arguments = []
        for number, argument in enumerate(body.arguments):
            layout = layout_of_value(argument, self._margin)
            arguments.append(self._take_input(argument, f"%input_{number}", layout))
        results = [
            value
            for view in body.operations
            if view.operation.name == "func.return"
            for value in view.operation.operands
        ]
        for view in body.operations:
            self._lower(view)
        for number, value in enumerate(results):
            arguments.append(self._give_output(value, f"%output_{number}"))
        text = "\n".join(
            [
                "module attributes {gpu.container_module} {",
                *(
                    f'memref.global "private" constant @{name} : {_bytes(array.nbytes)} = uninitialized'
                    for name, array in self._weights.items()
                ),
                *(kernel.module(name) for name, kernel in self._kernels.values()),
                f"func.func @main({', '.join(arguments)}) {{",
                "%zero = arith.constant 0 : index",
                *self._lines,
                "return",
                "}",
                "}",
            ]
        )
        module = ir.Module.parse(text)
        self._fill(module)
        return module

    def _fill(self, module: ir.Module) -> None:
        """Puts the weights into their globals."""
        for view in module.body.operations:
            name = text_of(view.operation.attributes, "sym_name")
            if name in self._weights:
                flat = np.ascontiguousarray(self._weights[name]).reshape(-1).view(np.int8)
                view.operation.attributes["initial_value"] = attribute_of(flat, name)

    def _take_input(self, value: Any, name: str, layout: Layout) -> str:
        """The function's argument for an input; an image goes into rows first."""
        self._sizes[name] = 4 * int(np.prod(shape_of(value)))
        self._buffers[value] = (name, layout)
        if isinstance(layout, Rows):
            self._buffers[value] = (self._allocate(layout), layout)
            self._launch("input", copy(layout, into_rows=True), [name, self._buffers[value][0]], {})
        return f"{name}: {_bytes(self._sizes[name])}"

    def _give_output(self, value: Any, name: str) -> str:
        """The function's argument for a result, which is copied: a layer may read it too."""
        if value not in self._buffers:
            raise op_error(
                self._function, "results that are computed", "a constant", "return a layer's result"
            )
        source, layout = self._buffers[value]
        self._sizes[name] = 4 * int(np.prod(shape_of(value)))
        kernel = copy(layout, into_rows=False) if isinstance(layout, Rows) else copy_flat(layout)
        self._launch("output", kernel, [source, name], {})
        return f"{name}: {_bytes(self._sizes[name])}"

    def _lower(self, view: Any) -> None:
        operation = view.operation
        layer = (record_of(view).layer if isinstance(view, Layer) else "") or operation.name
        if operation.name in _SKIPPED:
            return
        if operation.name in _RESHAPES:
            self._reshape(operation)
            return
        if isinstance(view, PackedConvOp):
            what, arrays = convolution_of(view, self._margin)
            source = self._buffers[view.input][0]
            inputs = [source, source, "rows", "index", "weight", "bias"]
            if view.residual is not None:
                inputs.append(self._buffers[view.residual][0])
            kernel = convolution(what)
        elif isinstance(view, PackedLinearOp):
            linear, arrays = linear_of(view)
            inputs, kernel = [self._buffers[view.input][0], "weight", "bias"], product(linear)
        elif isinstance(view, PoolOp):
            inputs, arrays, kernel = [self._buffers[view.input][0]], {}, pool(pool_of(view, self._margin))
        else:
            raise op_error(
                operation,
                "a convolution, a linear layer or a pool",
                "an op without a GPU kernel",
                "compile for a CPU",
            )
        output = operation.results[0]
        layout = layout_of_value(output, self._margin)
        self._buffers[output] = (self._allocate(layout), layout)
        self._launch(layer, kernel, [*inputs, self._buffers[output][0]], arrays)

    def _reshape(self, operation: Any) -> None:
        """Between shapes; a matrix of what was an image is a copy out of its rows."""
        source, layout = self._buffers[operation.operands[0]]
        result = operation.results[0]
        wanted = layout_of_value(result, self._margin)
        if isinstance(layout, Rows) and isinstance(wanted, Flat):
            self._buffers[result] = (self._allocate(wanted), wanted)
            self._launch("flatten", copy(layout, into_rows=False), [source, self._buffers[result][0]], {})
        elif isinstance(layout, Flat) and isinstance(wanted, Rows):
            self._buffers[result] = (self._allocate(wanted), wanted)
            self._launch("unflatten", copy(wanted, into_rows=True), [source, self._buffers[result][0]], {})
        elif layout == wanted:
            self._buffers[result] = (source, wanted)
        else:
            raise op_error(operation, "a reshape that flattens", str(result.type), "compile for a CPU")

    def _allocate(self, layout: Layout) -> str:
        self._count += 1
        name = f"%buffer_{self._count}"
        self._sizes[name] = layout.vectors * VECTOR_BYTES
        self._lines.append(f"{name} = memref.alloc() : {_bytes(self._sizes[name])}")
        return name

    def _launch(
        self, layer: str, kernel: Kernel, operands: list[str], arrays: Mapping[str, np.ndarray]
    ) -> None:
        """A launch of the kernel; an operand that names one of ``arrays`` is that weight."""
        key = kernel.module("kernel")
        name, _ = self._kernels.setdefault(key, (f"kernel_{len(self._kernels)}", kernel))
        views = [
            self._view(operand, buffer.type, arrays)
            for operand, buffer in zip(operands, kernel.buffers, strict=True)
        ]
        sizes = [self._constant(size) for size in (*kernel.groups, THREADS, 1, 1)]
        written = ", ".join(str(at) for at, buffer in enumerate(kernel.buffers) if buffer.written)
        typed = ", ".join(
            f"{view} : {buffer.type}" for view, buffer in zip(views, kernel.buffers, strict=True)
        )
        self._lines.append(
            f"gpu.launch_func @{name}::@main blocks in ({', '.join(sizes[:3])}) "
            f"threads in ({', '.join(sizes[3:])}) "
            f'args({typed}) {{espalier.layer = "{_quoted(layer)}", espalier.written = array<i64: {written}>}}'
        )
        self._context.statistics["launches"] += 1

    def _view(self, operand: str, type_: str, arrays: Mapping[str, np.ndarray]) -> str:
        """The buffer, or the weight, as the kernel sees it."""
        self._count += 1
        if operand in arrays:
            name = f"weight_{len(self._weights)}"
            self._weights[name] = arrays[operand]
            operand = f"%{name}"
            self._sizes[operand] = self._weights[name].nbytes
            self._lines.append(f"{operand} = memref.get_global @{name} : {_bytes(self._sizes[operand])}")
        self._lines.append(
            f"%view_{self._count} = memref.view {operand}[%zero][] : "
            f"{_bytes(self._sizes[operand])} to {type_}"
        )
        return f"%view_{self._count}"

    def _constant(self, value: int) -> str:
        self._count += 1
        self._lines.append(f"%size_{self._count} = arith.constant {value} : index")
        return f"%size_{self._count}"


def _bytes(count: int) -> str:
    return f"memref<{count}xi8, {CLASS}>"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
