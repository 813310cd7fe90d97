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
from typing import Any, Literal

import numpy as np

from ...dialect.ops import Layer, PoolOp
from ...dialect.packed import PackedConvOp, PackedLinearOp
from ...dialect.recurrent import PACKED_LAYERS, PackedGruOp, PackedLstmOp
from ...dialect.schedules import record_of
from ...errors import op_error
from ...ir.constants import constant_of
from ...ir.mlir import ir
from ...ir.values import shape_of, text_of
from ...passes import Pass, PassContext, option
from .emitter import Kernel
from .facts import facts_of_convolution, facts_of_product, facts_of_step
from .generics import COVERED, read_generic
from .kernels import copies
from .kernels.convolution import convolution
from .kernels.elementwise import elementwise
from .kernels.pools import pool
from .kernels.products import product
from .kernels.recurrent import step
from .launches import Facts, Launches
from .layers import (
    RESHAPES,
    as_matrix,
    convolution_of,
    elements_of,
    layout_of,
    linear_of,
    pool_of,
    step_of,
)
from .layout import LANES, Layout, Matrix, Rows
from .profiles import Profile, profile_named

_SKIPPED = ("arith.constant", "func.return", "tensor.empty", "tensor.dim")


@dataclass(frozen=True)
class LowerToGpuPass(Pass):
    """
    Lowers a function of packed sparse ops to kernels in gpu, memref, vector, arith and scf, and their
    launches.

    Convolutions and linear layers of every scheme, pools, elementwise linalg, slices and concatenations of
    channels. Anything else is an error that names the operation: nothing falls back to the CPU.
    """

    name = "sparse-lower-to-gpu"

    precision: Literal["fp32", "fp16"] = option("fp32", "what tensors and weights hold and products are in")

    profile: Literal["generic", "adreno", "adreno6", "mali"] = option(
        "generic", "the GPU whose registers decide how much a thread computes"
    )

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            block = op.regions[0].blocks[0]
            functions = [view for view in block.operations if view.operation.name == "func.func"]
            if len(functions) != 1:
                raise op_error(op, "one function", f"{len(functions)}", "make a model of one function")
            lowering = _Lowering(functions[0], context, self.precision == "fp16", profile_named(self.profile))
            lowered = lowering.module()
            functions[0].operation.erase()
            for view in list(lowered.body.operations):
                block.append(view.operation.detach_from_parent())
            op.attributes["gpu.container_module"] = ir.UnitAttr.get()


class _Lowering:
    """The text of the lowered module, as it grows."""

    def __init__(self, function: Any, context: PassContext, half: bool, profile: Profile) -> None:
        self._function, self._half, self._profile = function, half, profile
        self._launches = Launches(context)
        self._packed = 0  # packed layers so far
        self._buffers: dict[Any, tuple[str, Layout]] = {}  # of each tensor

    def module(self) -> ir.Module:
        """The whole: kernels, weights and the function of launches."""
        body = self._function.regions[0].blocks[0]
        arguments = [
            self._take_input(argument, f"%input_{number}") for number, argument in enumerate(body.arguments)
        ]
        for view in body.operations:
            self._lower(view)
        results = [
            value
            for view in body.operations
            if view.operation.name == "func.return"
            for value in view.operation.operands
        ]
        arguments += [
            self._give_output(value, f"%output_{number}") for number, value in enumerate(results)
        ]
        return self._launches.module(arguments)

    def _take_input(self, value: Any, name: str) -> str:
        """The function's argument for an input, which is copied into its layout."""
        layout = layout_of(value)
        argument = self._launches.argument(name, 4 * elements_of(layout))
        self._run(value, "input", copies.from_plain(layout, self._half), [name], layout)
        return argument

    def _give_output(self, value: Any, name: str) -> str:
        """The function's argument for a result, which is copied: a layer may read it too."""
        if value not in self._buffers:
            raise op_error(
                self._function, "results that are computed", "a constant", "return a layer's result"
            )
        source, layout = self._buffers[value]
        argument = self._launches.argument(name, 4 * elements_of(layout))
        self._launches.launch("output", copies.to_plain(layout, self._half), [source, name])
        return argument

    def _run(self, result: Any, layer: str, kernel: Kernel, operands: list[Any], layout: Layout,
             facts: Facts | None = None) -> None:
        """A launch whose result lies in a new buffer."""
        name = self._launches.allocate(self._bytes(layout))
        self._buffers[result] = (name, layout)
        self._launches.launch(layer, kernel, [*operands, name], facts)

    def _bytes(self, layout: Layout) -> int:
        return layout.vectors * LANES * (2 if self._half else 4)

    def _lower(self, view: Any) -> None:
        operation = view.operation
        layer = (record_of(view).layer if isinstance(view, Layer) else "") or operation.name
        if isinstance(view, PACKED_LAYERS):
            layer = record_of(view).layer or f"layer{self._packed}"  # as the report's records call it
            self._packed += 1
        if operation.name in _SKIPPED:
            return
        if operation.name in RESHAPES:
            self._reshape(operation)
        elif isinstance(view, PackedConvOp):
            self._convolution(view, layer)
        elif isinstance(view, PackedLinearOp):
            self._linear(view, layer)
        elif isinstance(view, PackedGruOp | PackedLstmOp):
            self._recurrent(view, layer)
        elif isinstance(view, PoolOp):
            name, source = self._buffers[view.input]
            what = pool_of(view, source, self._half)
            self._run(view.output, layer, pool(what), [name, name], what.target)
        elif operation.name == "tensor.concat":
            self._concatenate(operation)
        elif operation.name == "tensor.extract_slice":
            self._slice(operation)
        elif operation.name == "linalg.generic":
            self._generic(operation, layer)
        else:
            raise op_error(operation, COVERED, "an op without a GPU kernel", "compile for a CPU")

    def _generic(self, operation: Any, layer: str) -> None:
        target = layout_of(operation.results[0])
        what, body, values = read_generic(operation, self._layout, target, self._half)
        operands = [value if isinstance(value, np.ndarray) else self._buffers[value][0] for value in values]
        self._run(operation.results[0], layer, elementwise(what, body), operands, target)

    def _layout(self, value: ir.Value) -> Layout:
        if value not in self._buffers:
            raise op_error(value.owner, "a tensor that a layer computes", "another", "compile for a CPU")
        return self._buffers[value][1]

    def _convolution(self, view: Any, layer: str) -> None:
        name, source = self._buffers[view.input]
        residual = None if view.residual is None else self._buffers[view.residual]
        added = None if residual is None else residual[1]
        what, arrays = convolution_of(view, source, added, self._half, self._profile)
        operands = [name, name, *_in_order(arrays, ("rows", "index", "weight", "bias"))]
        if residual is not None:
            operands.append(residual[0])
        facts = facts_of_convolution(what, arrays)
        self._run(view.output, layer, convolution(what), operands, what.target, facts)

    def _linear(self, view: Any, layer: str) -> None:
        source = self._buffers[view.input][0]
        target = layout_of(view.output)
        name = self._launches.allocate(self._bytes(target))
        self._buffers[view.output] = (name, target)
        for what, arrays in linear_of(view, self._half):
            operands = _in_order(arrays, ("start", "index", "weight", "row", "bias"))
            facts = facts_of_product(what, arrays)
            self._launches.launch(layer, product(what), [source, *operands, name], facts)

    def _recurrent(self, view: Any, layer: str) -> None:
        """A launch a time step; the states of all steps are the rows of the output."""
        what, arrays = step_of(view, self._half)
        weights = _in_order(arrays, ("table", "index", "weight", "bias"))
        size = 2 if self._half else 4
        gates, target = self._buffers[view.gates][0], layout_of(view.output)
        output = self._launches.allocate(self._bytes(target))
        self._buffers[view.output] = (output, target)
        cell = [self._cell(view, what.state)] if what.gates == LANES else []
        kernel, facts = step(what), facts_of_step(what, arrays)
        state = self._state(view.initial)
        steps = range(shape_of(view.output)[0])
        for at in reversed(steps) if text_of(view.attributes, "direction") == "reverse" else steps:
            given = (gates, at * what.inputs.rows * what.inputs.pitch * size)
            place = (output, at * what.state.rows * what.state.pitch * size)
            self._launches.launch(layer, kernel, [given, state, *weights, place, *cell], facts)
            state = place

    def _cell(self, view: Any, layout: Matrix) -> str:
        """A buffer of its own for an LSTM's cell, which every step changes in place."""
        name = self._launches.allocate(self._bytes(layout))
        self._buffers[view.final_cell] = (name, layout)
        self._launches.launch("cell", copies.columns(layout, layout, (0, 0), self._half),
                              [self._state(view.cell), name])
        return name

    def _state(self, value: Any) -> Any:
        """The state before the first step: a constant, or what another layer computes."""
        array = constant_of(value)
        return self._buffers[value][0] if array is None else as_matrix(array, self._half)

    def _reshape(self, operation: Any) -> None:
        """Between shapes; a matrix of what was an image is a copy out of its rows."""
        source, layout = self._buffers[operation.operands[0]]
        result = operation.results[0]
        wanted = layout_of(result)
        if isinstance(layout, Rows) and isinstance(wanted, Matrix) and layout.planes % wanted.rows == 0:
            self._run(result, "flatten", copies.out_of_rows(layout, wanted, self._half), [source], wanted)
        elif isinstance(layout, Matrix) and isinstance(wanted, Rows) and wanted.planes % layout.rows == 0:
            self._run(result, "unflatten", copies.into_rows(wanted, layout, self._half), [source], wanted)
        elif layout == wanted or (
            isinstance(layout, Rows) and isinstance(wanted, Rows)
            and (layout.planes, layout.image) == (wanted.planes, wanted.image)
        ):
            self._buffers[result] = (source, layout)
        else:
            raise op_error(operation, "a reshape that flattens", str(result.type), "compile for a CPU")

    def _concatenate(self, operation: Any) -> None:
        """Parts after each other along the second dimension: channels, or columns of a matrix."""
        result = operation.results[0]
        target = layout_of(result)
        along = ir.IntegerAttr(operation.attributes["dim"]).value
        if along != (len(shape_of(result)) - 1 if isinstance(target, Matrix) else 1):
            raise op_error(operation, "a concatenation of channels", "another", "compile for a CPU")
        name = self._launches.allocate(self._bytes(target))
        self._buffers[result] = (name, target)
        first = 0
        for value in operation.operands:
            source, layout = self._buffers[value]
            self._launches.launch("concat", self._part(layout, target, shape_of(value)[0], (0, first)),
                                  [source, name])
            first += shape_of(value)[along]

    def _slice(self, operation: Any) -> None:
        """Some of the second dimension, all of the others."""
        source, layout = self._buffers[operation.operands[0]]
        result = operation.results[0]
        own, whole = shape_of(result), shape_of(operation.operands[0])
        offsets, strides = (list(ir.DenseI64ArrayAttr(operation.attributes[name]))
                            for name in ("static_offsets", "static_strides"))
        if (len(own) != len(whole) or own[0] != whole[0] or own[2:] != whole[2:] or set(strides) != {1}
                or len(operation.operands) > 1):
            raise op_error(operation, "a slice of channels", str(result.type), "compile for a CPU")
        target = layout_of(result)
        self._run(result, "slice", self._part(layout, target, own[0], (offsets[1], 0)), [source], target)

    def _part(self, source: Layout, target: Layout, batch: int, first: tuple[int, int]) -> Kernel:
        if isinstance(source, Rows) and isinstance(target, Rows):
            return copies.planes(source, target, batch, first, self._half)
        assert isinstance(source, Matrix)
        assert isinstance(target, Matrix)
        return copies.columns(source, target, first, self._half)


def _in_order(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> list[np.ndarray]:
    return [arrays[name] for name in names if name in arrays]
