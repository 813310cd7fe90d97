"""``sparse-lower-to-gpu``: packed sparse ops become launches of GPU kernels over buffers of bytes.

    %y = "sparse.packed_conv"(%x, %offset, ...) : (tensor<1x64x56x56xf32>, ...) -> tensor<1x64x56x56xf32>
    -> gpu.module @kernel_0 { gpu.func @main(%input: memref<..xvector<4xf32>>, ...) kernel { ... } }
       memref.global "private" constant @weight_0 : memref<..xi8> = dense_resource<...>
       func.func @main(%x: memref<..xi8>, %y: memref<..xi8>) {
         %t = memref.alloc() : memref<..xi8>      // zeros, for as long as the model lives
         %v = memref.view %t[%c0][] : memref<..xi8> to memref<..xvector<4xf32>>
         gpu.launch_func @kernel_0::@main blocks in (...) threads in (...) args(%v : ...)
                         {espalier.layer = "conv1", espalier.written = array<i64: 6>}

Last come words: ``%steps`` where a run decides its number of time steps (``fix_steps.py``), and ``%failures``
for the number of an assertion of a body that does not hold; ``espalier.messages`` has texts, counted from 1.

All buffers are of Vulkan's storage class. Equal kernels are one. Inputs and outputs are row-major; images
between layers are rows of pixel vectors (``layout.py``), other tensors plain elements or matrices
(``assignment.py``). No sparse op and no tensor is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np

from ...dialect.ops import Layer, PoolOp
from ...dialect.packed import PackedConvOp, PackedLinearOp
from ...dialect.recurrent import PACKED_LAYERS, PackedGruOp, PackedLstmOp
from ...dialect.schedules import record_of
from ...errors import op_error
from ...ir.mlir import ir
from ...ir.values import element_of, shape_of, text_of
from ...passes import Pass, PassContext, option
from .assignment import RESHAPES, Assignment, constant_of, is_global, is_scalar
from .emitter import Kernel
from .facts import facts_of_convolution, facts_of_product, facts_of_step
from .fix_steps import MOST_STEPS
from .generics import COVERED, as_kept, fill_of, read_generic, repeats_guards
from .kernels import moves
from .kernels.convolution import convolution
from .kernels.nest import nest
from .kernels.pools import pool
from .kernels.products import product
from .kernels.recurrent import APART, step
from .launches import FAILURES, Facts, Launches
from .layers import as_matrix, convolution_of, fusible_pool, global_pool, linear_of, pool_of, step_of
from .layout import LANES, Matrix, Plain, Rows, Tensor, same_order
from .parts import concatenated, inserted, padded, sliced
from .profiles import Profile, profile_named

_SKIPPED = ("arith.constant", "func.return", "tensor.empty", "tensor.dim")
_MOST_PARTS = 7  # of a kernel, beside its result
_HOST_BYTES = {"i64": 8, "i1": 1}  # integers that lie otherwise outside


@dataclass(frozen=True)
class LowerToGpuPass(Pass):
    """
    Lowers a function of packed sparse ops to kernels in gpu, memref, vector, arith and scf, and their
    launches.

    Convolutions, linear and recurrent layers of every scheme, pools; reshapes, slices, concatenations and
    paddings; and whatever linalg.generic computes of f32 and integers. Anything else is an error that names
    the operation: nothing falls back to the CPU.
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
            if not functions[0].regions[0].blocks:
                raise op_error(functions[0], "a function with a body", "a declaration", "give it one")
            lowering = _Lowering(functions[0], context, self.precision == "fp16", profile_named(self.profile),
                                 MOST_STEPS in op.attributes)
            lowered = lowering.module()
            op.attributes["espalier.messages"] = lowered.operation.attributes["espalier.messages"]
            functions[0].operation.erase()
            for view in list(lowered.body.operations):
                block.append(view.operation.detach_from_parent())
            op.attributes["gpu.container_module"] = ir.UnitAttr.get()


class _Lowering:
    """The text of the lowered module, as it grows."""

    def __init__(self, function: Any, context: PassContext, half: bool, profile: Profile,
                 free: bool) -> None:
        self._function, self._half, self._profile, self._free = function, half, profile, free
        self._assignment = Assignment(function)
        self._launches = Launches(context)
        self._packed = 0  # packed layers so far
        self._buffers: dict[Any, tuple[Any, Tensor]] = {}  # of each tensor
        self._filled: dict[Any, float] = {}  # tensors of one number, which nobody has written

    def module(self) -> ir.Module:
        """The whole: kernels, weights and the function of launches."""
        body = self._function.regions[0].blocks[0]
        arguments = [self._take_input(argument, f"%input_{number}")
                     for number, argument in enumerate(body.arguments)]
        for view in body.operations:
            self._lower(view)
        results = [value for view in body.operations if view.operation.name == "func.return"
                   for value in view.operation.operands]
        arguments += [self._give_output(value, f"%output_{number}") for number, value in enumerate(results)]
        return self._launches.module(arguments)

    def _take_input(self, value: Any, name: str) -> str:
        """The function's argument for an input, which is copied unless it lies there as it should."""
        tensor, bytes_ = self._assignment.tensor(value), self._host_bytes(value)
        argument = self._launches.argument(name, bytes_ * prod(tensor.shape))
        if str(element_of(value.type)) in _HOST_BYTES:
            self._run(value, "input", moves.from_words(tensor, bytes_), [name], tensor)
        elif isinstance(tensor.layout, Plain):
            self._buffers[value] = name, tensor
        else:
            plain = Tensor(Plain(prod(tensor.shape)), tensor.shape)
            self._run(value, "input", moves.reshaped(plain, tensor, self._half), [name], tensor)
        return argument

    def _give_output(self, value: Any, name: str) -> str:
        """The function's argument for a result, which is copied: a layer may read it too."""
        source, tensor = self._held(value)
        bytes_ = self._host_bytes(value)
        argument = self._launches.argument(name, bytes_ * prod(tensor.shape))
        if str(element_of(value.type)) in _HOST_BYTES:
            kernel = moves.to_words(tensor, bytes_)
        else:
            element = "i32" if tensor.kind == "index" else "f32"
            plain = Tensor(Plain(prod(tensor.shape), element), tensor.shape)
            kernel = moves.reshaped(tensor, plain, self._half)
        self._launches.launch("output", kernel, [source, name])
        return argument

    def _host_bytes(self, value: Any) -> int:
        """Of an element outside."""
        element = str(element_of(value.type))
        if element in ("f64", "i8"):
            raise op_error(self._function, "inputs and outputs of f32, i32, i64 or i1", str(value.type),
                           "convert them, or compile for a CPU")
        return _HOST_BYTES.get(element, 4)

    def _run(self, result: Any, layer: str, kernel: Kernel, operands: list[Any], tensor: Tensor,
             facts: Facts | None = None) -> None:
        """A launch whose result lies in a new buffer."""
        name = self._allocate(result, tensor)
        self._launches.launch(layer, kernel, [*operands, name], facts)

    def _allocate(self, result: Any, tensor: Tensor) -> str:
        """A new buffer for a tensor."""
        name = self._launches.allocate(tensor.bytes(self._half))
        self._buffers[result] = name, tensor
        return name

    def _held(self, value: Any) -> tuple[Any, Tensor]:
        """Where a tensor lies, a constant or one number included."""
        if value not in self._buffers:
            array = constant_of(value)
            if array is None and value in self._filled:
                whole = np.float32 if self._assignment.tensor(value).kind == "f32" else np.int32
                array = np.full(shape_of(value), self._filled[value], whole)
            if array is None:
                raise op_error(self._function if isinstance(value.owner, ir.Block) else value.owner,
                               COVERED, "a tensor that no kernel writes", "compile for a CPU")
            element = {"b": "i1", "f": "f32"}.get(array.dtype.kind, "i32")
            if str(element_of(value.type)) == "i1":
                element = "i1"
            plain = Tensor(Plain(array.size, element), tuple(shape_of(value)))
            self._buffers[value] = as_kept(array), plain
        return self._buffers[value]

    def _as(self, value: Any, tensor: Tensor) -> Any:
        """The buffer of a tensor that must lie in one way; a copy where it lies otherwise."""
        name, own = self._held(value)
        if own.layout == tensor.layout:
            return name
        self._run(value, "layout", moves.reshaped(own, tensor, self._half), [name], tensor)
        return self._buffers[value][0]

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
            if view.output not in self._buffers:  # the layer before has not computed it
                self._pool(view, layer)
        elif operation.name == "tensor.concat":
            self._concatenate(operation)
        elif operation.name == "tensor.extract_slice":
            self._slice(operation)
        elif operation.name in ("tensor.pad", "tensor.insert_slice"):
            self._assemble(operation)
        elif operation.name == "linalg.generic":
            self._generic(operation, layer)
        elif not is_scalar(operation):  # numbers that are needed are refused where they are
            raise op_error(operation, COVERED, "an op without a GPU kernel", "compile for a CPU")

    def _generic(self, operation: Any, layer: str) -> None:
        number = fill_of(operation)
        if number is not None:
            self._filled[operation.results[0]] = number
            return
        if repeats_guards(operation):
            return
        results = list(operation.results)
        targets = [self._assignment.tensor(result) for result in results]
        if len(results) > 1:  # all are written at one place: as plain elements
            targets = [Tensor(Plain(prod(own.shape), {"index": "i32"}.get(own.kind, own.kind)), own.shape)
                       for own in targets]
        found = read_generic(operation, lambda value: self._held(value)[1], self._filled.get, targets,
                             self._half, self._launches.assertion)
        operands = [value if isinstance(value, np.ndarray) else self._held(value)[0]
                    for value in found.operands]
        names = [self._allocate(result, target) for result, target in zip(results, targets, strict=True)]
        failures = [FAILURES] * found.nest.guarded
        self._launches.launch(layer, nest(found.nest, found.body), [*operands, *names, *failures])

    def _pool(self, view: Any, layer: str) -> None:
        target = self._assignment.tensor(view.output)
        if is_global(view):
            name, source = self._held(view.input)
            what, body = global_pool(view, source, target, self._half)
            self._run(view.output, layer, nest(what, body), [name], target)
            return
        name = self._rows(view.input)
        images = pool_of(view, self._buffers[view.input][1].layout, self._half)
        self._run(view.output, layer, pool(images), [name, name], target)

    def _rows(self, value: Any) -> Any:
        """The buffer of an image."""
        return self._as(value, self._assignment.tensor(value))

    def _convolution(self, view: Any, layer: str) -> None:
        name = self._rows(view.input)
        added = None if view.residual is None else self._rows(view.residual)
        residual = None if added is None else self._buffers[view.residual][1].layout
        what, arrays = convolution_of(view, self._buffers[view.input][1].layout, residual, self._half,
                                      self._profile)
        operands = [name, name, *_in_order(arrays, ("rows", "index", "weight", "bias"))]
        if added is not None:
            operands.append(added)
        facts = facts_of_convolution(what, arrays)
        pool = fusible_pool(view) if what.pooled else None
        output = view.output if pool is None else pool.output
        target = Tensor(what.target, tuple(shape_of(output)))
        self._run(output, layer, convolution(what), operands, target, facts)

    def _linear(self, view: Any, layer: str) -> None:
        source = self._rows(view.input)
        name = self._allocate(view.output, self._assignment.tensor(view.output))
        for what, arrays in linear_of(view, self._half):
            operands = _in_order(arrays, ("start", "index", "weight", "row", "bias"))
            facts = facts_of_product(what, arrays)
            self._launches.launch(layer, product(what), [source, *operands, name], facts)

    def _recurrent(self, view: Any, layer: str) -> None:
        """A launch a time step; the states of all steps are the rows of the output."""
        what, arrays = step_of(view, self._half, self._free)
        weights = _in_order(arrays, ("table", "weight", "bias"))
        size = 2 if self._half else 4
        gates = self._rows(view.gates)
        output = self._allocate(view.output, self._assignment.tensor(view.output))
        cell = [self._cell(view, what.state)] if what.gates == LANES else []
        kernel, facts = step(what), facts_of_step(what, arrays)
        state = self._state(view.initial)
        steps = range(shape_of(view.output)[0])
        live = self._launches.live(len(steps)) if self._free else ""
        for at in reversed(steps) if text_of(view.attributes, "direction") == "reverse" else steps:
            given = (gates, at * what.inputs.rows * what.inputs.pitch * size)
            place = (output, at * what.state.rows * what.state.pitch * size)
            has = [(live, 4 * APART * at)] * self._free
            self._launches.launch(layer, kernel, [given, state, *weights, place, *cell, *has], facts)
            state = place

    def _cell(self, view: Any, layout: Matrix) -> str:
        """A buffer of its own for an LSTM's cell, which every step changes in place."""
        state = Tensor(layout, (layout.rows, layout.columns))
        name = self._allocate(view.final_cell, state)
        self._launches.launch("cell", moves.reshaped(state, state, self._half),
                              [self._state(view.cell), name])
        return name

    def _state(self, value: Any) -> Any:
        """The state before the first step: a constant, or what another layer computes."""
        array = constant_of(value)
        if array is None and value in self._filled:
            array = np.full(shape_of(value), self._filled[value], np.float32)
        return self._rows(value) if array is None else as_matrix(array, self._half)

    def _reshape(self, operation: Any) -> None:
        """Between shapes: a copy, unless the elements lie already as the result's should."""
        result = operation.results[0]
        if constant_of(result) is not None:
            return
        if operation.operands[0] in self._filled:
            self._filled[result] = self._filled[operation.operands[0]]
            return
        source, own = self._held(operation.operands[0])
        wanted = self._assignment.tensor(result)
        if same_order(own, wanted):
            self._buffers[result] = source, Tensor(own.layout, wanted.shape)
        else:
            self._run(result, "reshape", moves.reshaped(own, wanted, self._half), [source], wanted)

    def _concatenate(self, operation: Any) -> None:
        """Parts after each other: channels of images by planes."""
        result = operation.results[0]
        target = self._assignment.tensor(result)
        along = ir.IntegerAttr(operation.attributes["dim"]).value
        held = [self._held(value) for value in operation.operands]
        images = all(isinstance(own.layout, Rows) for _, own in held)
        if not isinstance(target.layout, Rows) or not images or along != 1:
            self._join(result, target, along, held)
            return
        name, first = self._allocate(result, target), 0
        for source, own in held:
            assert isinstance(own.layout, Rows)
            kernel = moves.planes(own.layout, target.layout, target.shape[0], (0, first), self._half)
            self._launches.launch("concat", kernel, [source, name])
            first += own.shape[1]

    def _join(self, result: Any, target: Tensor, along: int, held: list[tuple[Any, Tensor]]) -> None:
        """A concatenation in one kernel, or, of many parts, of some first."""
        while len(held) > _MOST_PARTS:
            some, held = held[:_MOST_PARTS], held[_MOST_PARTS:]
            shape = list(target.shape)
            shape[along] = sum(own.shape[along] for _, own in some)
            whole = Tensor(Plain(prod(shape), {"index": "i32"}.get(target.kind, target.kind)), tuple(shape))
            name = self._launches.allocate(whole.bytes(self._half))
            parts = concatenated([own for _, own in some], along)
            self._launches.launch("concat", moves.assembled(whole, parts, 0, self._half),
                                  [*(source for source, _ in some), name])
            held = [(name, whole), *held]
        parts = concatenated([own for _, own in held], along)
        self._run(result, "concat", moves.assembled(target, parts, 0, self._half),
                  [source for source, _ in held], target)

    def _slice(self, operation: Any) -> None:
        """Part of a tensor: whole channels of images by planes."""
        source, own = self._held(operation.operands[0])
        result = operation.results[0]
        target, part = self._assignment.tensor(result), sliced(operation, own)
        whole = part.sizes[:1] + part.sizes[2:] == own.shape[:1] + own.shape[2:] and set(part.step) == {1}
        if isinstance(own.layout, Rows) and isinstance(target.layout, Rows) and whole:
            kernel = moves.planes(own.layout, target.layout, own.shape[0], (part.begin[1], 0), self._half)
        else:
            kernel = moves.assembled(target, [part], 0, self._half)
        self._run(result, "slice", kernel, [source], target)

    def _assemble(self, operation: Any) -> None:
        """tensor.pad and tensor.insert_slice."""
        result = operation.results[0]
        target = self._assignment.tensor(result)
        if operation.name == "tensor.pad":
            source, own = self._held(operation.operands[0])
            part, filling = padded(operation, own)
            self._run(result, "pad", moves.assembled(target, [part], filling, self._half), [source], target)
            return
        source, own = self._held(operation.operands[0])
        parts, sources = [inserted(operation, own)], [source]
        around, filling = operation.operands[1], self._filled.get(operation.operands[1], 0.0)
        empty = not isinstance(around.owner, ir.Block) and around.owner.operation.name == "tensor.empty"
        if around not in self._filled and not empty:
            behind, other = self._held(around)
            parts += concatenated([other], 0)
            sources.append(behind)
        self._run(result, "insert", moves.assembled(target, parts, filling, self._half), sources, target)


def _in_order(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> list[np.ndarray]:
    return [arrays[name] for name in names if name in arrays]
