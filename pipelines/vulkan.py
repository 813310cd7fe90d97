"""The backend of GPUs: a program of SPIR-V kernels and dispatches, as a model file.

The file is a compiled model like any other; its ``code`` is the program
(``runtime/executors/vulkan_program.py``), its ``weights`` lie at the offsets that the dispatches name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.executors.vulkan_program import (
    ACTIVATIONS,
    OFFSET_ALIGNMENT,
    WEIGHTS,
    Dispatch,
    Kernel,
    Program,
    Range,
    encode,
)
from ..runtime.model_file import fingerprint_of
from ..sparse_dialect.ir.constants import dtype_of, read_attribute
from ..sparse_dialect.ir.mlir import ir
from ..sparse_dialect.ir.values import shape_of, strings, text_of
from ..sparse_dialect.lowering.gpu.fix_steps import FREE, MOST_STEPS
from ..sparse_dialect.lowering.gpu.lower_to_gpu import LowerToGpuPass
from ..sparse_dialect.lowering.gpu.lower_to_spirv import kernel_of, needs_halves, words_in
from ..sparse_dialect.lowering.gpu.schedule_gpu_layers import ScheduleGpuLayersPass
from ..sparse_dialect.lowering.loads.eliminate_redundant_loads import EliminateRedundantLoadsPass
from .backends import Backend, CompileOptions, Made, Stage
from .gpu_records import launches_of, with_gpu_facts
from .named import GPU, PREPARE_GPU, SPIRV
from .records import Records
from .target import Target

# The segment of gpu.launch_func's operands that the kernel takes: behind dependencies, three times three
# sizes and the size of dynamic memory.
_ARGUMENTS = 11


class VulkanBackend(Backend):
    """Kernels in SPIR-V, and the list of their launches."""

    name = "vulkan"
    pipeline = "sparse-to-spirv"
    free_steps = True

    def stages(self, target: Target, options: CompileOptions) -> tuple[Stage, ...]:
        lre = EliminateRedundantLoadsPass(level="filter" if options.eliminate_redundant_loads else "none")
        profile: Any = target.cpu
        choose = ScheduleGpuLayersPass(kernel="auto" if options.sparse else "dense", profile=profile)
        lower = LowerToGpuPass(precision="fp16" if target.precision == "fp16" else "fp32", profile=profile)
        return (Stage.of("sparse", PREPARE_GPU, choose, hook=_read_layers),
                Stage.of("gpu", GPU, lower, lre, hook=_read_launches), Stage.of("spirv", SPIRV))

    def make(self, root: ir.Operation, target: Target) -> Made:
        program, weights = program_of(root)
        code = encode(program, weights.data)
        stamps = len(program.dispatches) + 1
        sizes = {"arena": program.activation_bytes, "scratch": 0, "stamps": stamps, "weights": weights.nbytes}
        return Made(code, weights, fingerprint_of(code), sizes)


def _read_layers(records: Records, root: ir.Operation) -> None:
    root.verify()
    records.read_layers(root)


def _read_launches(records: Records, root: ir.Operation) -> None:
    """A label before the first launch, and one for each: what ``espalier_profile`` measures. And what the
    report shows."""
    root.verify()
    launches = (text_of(one.attributes, "espalier.layer") for one in launches_of(root))
    records.labels = ["start", *launches]
    records.layers = with_gpu_facts(root, records.layers)


def program_of(root: ir.Operation) -> tuple[Program, np.ndarray]:
    """The program of a module that ``sparse-lower-to-spirv`` made, and its weights, u8."""
    return _Reader(root).program()


class _Reader:
    """Reads kernels, weights and launches off the module. Inputs and outputs lie at the beginning of the
    activations, the arena behind them."""

    def __init__(self, root: ir.Operation) -> None:
        self._names: dict[str, int] = {}
        self._kernels: list[Kernel] = []
        self._ranges: dict[Any, Range] = {}
        self._globals: dict[str, Range] = {}
        self._sizes = {WEIGHTS: 0, ACTIVATIONS: 0}
        self._pieces: list[np.ndarray] = []
        self._dispatches: list[Dispatch] = []
        self._modules: dict[str, Any] = {}
        self._function: Any = None
        self._halves = False
        self._arena = ir.IntegerAttr(root.attributes["espalier.arena"]).value
        self._messages = strings(root.attributes["espalier.messages"])
        self._most_steps, self._free = 0, tuple[bool, ...]()
        if MOST_STEPS in root.attributes:
            self._most_steps = ir.IntegerAttr(root.attributes[MOST_STEPS]).value
            self._free = tuple(map(bool, ir.DenseI64ArrayAttr(root.attributes[FREE])))
        for view in root.regions[0].blocks[0].operations:
            name = text_of(view.operation.attributes, "sym_name")
            if view.operation.name == "gpu.binary":
                self._modules[name] = view.operation
            elif view.operation.name == "memref.global":
                self._add_weight(name, read_attribute(view.operation.attributes["initial_value"]))
            else:
                self._function = view.operation

    def program(self) -> tuple[Program, np.ndarray]:
        """The whole; the program's own ``weights`` are empty, they stand beside it."""
        body = self._function.regions[0].blocks[0]
        *tensors, arena = body.arguments
        failures = self._place(tensors.pop()) if self._messages else None
        steps = self._place(tensors.pop()) if self._most_steps else None
        arguments = [self._place(argument) for argument in tensors]
        self._ranges[arena] = self._take(ACTIVATIONS, self._arena)
        for view in body.operations:
            self._read(view.operation)
        inputs = [name for name in arguments if not self._is_written(name)]
        outputs = [name for name in arguments if self._is_written(name)]
        weights = np.zeros(self._sizes[WEIGHTS], np.uint8)
        for piece, place in zip(self._pieces, self._globals.values(), strict=True):
            weights[place.offset : place.offset + place.bytes] = piece
        program = Program(
            tuple(self._kernels),
            tuple(self._dispatches),
            tuple(inputs),
            tuple(outputs),
            b"",
            self._sizes[ACTIVATIONS],
            self._halves,
            failures,
            tuple(self._messages),
            steps,
            self._most_steps,
            self._free,
        )
        return program, weights

    def _is_written(self, place: Range) -> bool:
        return any(
            one.offset == place.offset and one.written
            for dispatch in self._dispatches
            for one in dispatch.ranges
            if one.buffer == ACTIVATIONS
        )

    def _add_weight(self, name: str, array: np.ndarray) -> None:
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._globals[name] = self._take(WEIGHTS, flat.nbytes)
        self._pieces.append(flat)

    def _take(self, buffer: int, bytes_: int) -> Range:
        """A range at the end of a buffer."""
        offset = self._sizes[buffer]
        self._sizes[buffer] = -(-(offset + bytes_) // OFFSET_ALIGNMENT) * OFFSET_ALIGNMENT
        return Range(buffer, offset, bytes_)

    def _place(self, value: ir.Value) -> Range:
        """Room for a buffer; the value becomes known."""
        size = int(np.prod(shape_of(value))) * dtype_of(ir.MemRefType(value.type).element_type).itemsize
        self._ranges[value] = self._take(ACTIVATIONS, size)
        return self._ranges[value]

    def _read(self, operation: Any) -> None:
        match operation.name:
            case "memref.get_global":
                name = ir.FlatSymbolRefAttr(operation.attributes["name"]).value
                self._ranges[operation.results[0]] = self._globals[name]
            case "memref.view":
                whole = self._ranges[operation.operands[0]]
                offset = whole.offset + _constant(operation.operands[1])
                self._ranges[operation.results[0]] = Range(whole.buffer, offset, _view_bytes(operation))
            case "gpu.launch_func":
                self._dispatches.append(self._dispatch(operation))

    def _dispatch(self, operation: Any) -> Dispatch:
        written = tuple(ir.DenseI64ArrayAttr(operation.attributes["espalier.written"]))
        segments = list(ir.DenseI32ArrayAttr(operation.attributes["operandSegmentSizes"]))
        groups = [_constant(value) for value in list(operation.operands)[segments[0] : segments[0] + 3]]
        start = sum(segments[:_ARGUMENTS])
        operands = list(operation.operands)[start : start + segments[_ARGUMENTS]]
        ranges = tuple(
            Range(found.buffer, found.offset, found.bytes, at in written)
            for at, found in enumerate(self._ranges[value] for value in operands)
        )
        layer = text_of(operation.attributes, "espalier.layer")
        return Dispatch(
            self._kernel(kernel_of(operation), layer, len(ranges)),
            (groups[0], groups[1], groups[2]),
            ranges,
        )

    def _kernel(self, name: str, layer: str, bindings: int) -> int:
        if name not in self._names:
            words = words_in(self._modules[name])
            self._halves = self._halves or needs_halves(self._modules[name])
            self._names[name] = len(self._kernels)
            self._kernels.append(Kernel(f"{name} ({layer})", words, bindings))
        return self._names[name]


def _constant(value: ir.Value) -> int:
    """The index that a constant holds."""
    return ir.IntegerAttr(value.owner.operation.attributes["value"]).value


def _view_bytes(operation: Any) -> int:
    """Bytes that a view covers: elements are vectors, or numbers."""
    type_ = ir.MemRefType(operation.results[0].type)
    vectors = isinstance(type_.element_type, ir.VectorType)
    lanes = ir.VectorType(type_.element_type).shape[0] if vectors else 1
    number = ir.VectorType(type_.element_type).element_type if vectors else type_.element_type
    return int(type_.shape[0]) * lanes * dtype_of(number).itemsize
