"""``sparse-outline-dispatches``: kernel calls become dispatches of IREE's, whose workgroups share the units.

    func.func @main(%x: tensor<1x3x224x224xf32>, %scratch: memref<?xi8>) -> tensor<1x10xf32> {
      %in = bufferization.to_buffer %x;  %out = memref.alloc()
      call @conv_0(%in, %out, %bias, ..., %scratch, %c0, %c196) {espalier.units}
      %y = bufferization.to_tensor %out restrict writable
      %z = linalg.softmax %y
    ->
    func.func @main(%x: tensor<1x3x224x224xf32>) -> tensor<1x10xf32> {
      %w = "util.global.load"() {global = @weights}
      %y = "flow.dispatch"(%x, %w) {entry_points = [@espalier::@conv_0_0], ...}
      %z = linalg.softmax %y                                          // as it was: IREE's
    }
    module @espalier {
      func.func private @conv_0 ...
      func.func @espalier_conv_0_0(%x: !llvm.ptr, %w: !llvm.ptr, %y: !llvm.ptr, %item: i64, %items: i64)
          attributes {espalier.units = 196} {                  // units 196 * item / items ... of @conv_0
    }

What ``sparse-distribute-work`` is for our own runtime, but on tensors: what no pass raised stays linalg, and
IREE fuses, tiles and bufferizes. Kernel calls that follow each other and write parts of one buffer are
one dispatch; so is the loop over a recurrent layer's time steps, of one item. Constants that kernels read
lie in one block, which the module carries as ``espalier.weight_data``. No kernel waits for another: the items
of a dispatch may run in any order, one after the other. The ops of ``flow`` and ``util`` are IREE's, unknown
to our context, which allows that from now on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...dialect.schedules import TARGET
from ...errors import op_error
from ...ir.constants import attribute_of, constant_of
from ...ir.mlir import ir
from ...ir.walk import blocks
from ...passes import Pass, PassContext
from ..buffers.arguments import ALIASES, align, public_functions, root
from ..buffers.externalize_constants import DATA, Contents, assemble, total_bytes
from .dispatch_functions import EXECUTABLE, Place, add_function, callee, inner_module, written_operands
from .scratch_slots import add_slots

WEIGHTS = "weights"  # the global
# What IREE takes on tensors.
KNOWN = ("arith.", "math.", "linalg.", "tensor.", "scf.", "func.", "affine.", "complex.", "flow.", "util.",
         "cf.assert")
Value = Any


@dataclass(frozen=True)
class OutlineDispatchesPass(Pass):
    """
    Makes every kernel call a dispatch of IREE's and moves the kernels into an inner module; other ops stay.
    """

    name = "sparse-outline-dispatches"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        op.context.allow_unregistered_dialects = True
        with op.context, ir.Location.unknown(op.context):
            public = public_functions(op)
            if len(public) != 1 or "espalier.scratch" not in op.attributes:
                raise op_error(op, "one public function that calls kernels",
                               f"{len(public)} public functions", "run sparse-to-vector first")
            scratch = align(4 * ir.IntegerAttr(op.attributes["espalier.scratch"]).value)
            outliner = _Outliner(op, public[0], context)
            outliner.run()
            add_slots(outliner.inner, scratch)
            for name in ("espalier.inputs", "espalier.scratch", TARGET):
                if name in op.attributes:
                    del op.attributes[name]
            block = assemble(outliner.pieces, context.allocate(total_bytes(outliner.pieces)))
            if outliner.pieces:
                op.attributes[DATA] = attribute_of(block, WEIGHTS, small=0)


@dataclass
class _Group:
    """Kernel calls of one dispatch: they write parts of the same ``outputs``, buffers that are allocated."""

    outputs: list[Value] = field(default_factory=list)
    calls: list[ir.Operation] = field(default_factory=list)


class _Outliner:
    def __init__(self, module: ir.Operation, function: Any, context: PassContext) -> None:
        self.function, self.context = function, context
        self.entry = function.regions[0].blocks[0]
        self.scratch = list(self.entry.arguments)[-1]
        self.written = written_operands(module)
        self.pieces: list[tuple[int, np.ndarray]] = []
        self.offsets: dict[Value, int] = {}  # of the buffers that are constants
        self.tensors: dict[Value, Value | None] = {}  # what allocated buffers hold by now
        self.count = 0
        _check_static(function)
        self.inner = inner_module(module, function)

    def run(self) -> None:
        self._lay_out_weights()
        group = _Group()
        for op in [view.operation for view in self.entry.operations]:
            if self._calls(op):
                if not self._joins(op, group):
                    self._flush(group)
                    group = _Group(self._outputs(op))
                group.calls.append(op)
            elif op.name == "memref.alloc":
                self.tensors[op.results[0]] = None
            elif op.name == "bufferization.to_tensor" and list(op.results[0].uses):
                self._flush(group)
                group = _Group()
                self._read(op)
            elif op.name == "memref.copy":
                self._flush(group)
                group = _Group()
                self._copy(op)
        self._drop_buffers()
        _check_left(self.function)

    def _calls(self, op: ir.Operation) -> list[ir.Operation]:
        """``op``, where it calls a kernel, or the kernel calls of a loop over time steps."""
        if op.name == "scf.for" and not list(op.results):
            return [inner for inner in _inside(op) if self._calls(inner)]
        return [op] if op.name == "func.call" and callee(op) in self.written else []

    def _lay_out_weights(self) -> None:
        """Gives every constant that a kernel reads a place in the block of weights, and loads the block."""
        contents = Contents()
        for loop in [view.operation for view in self.entry.operations if self._calls(view.operation)]:
            for op in _inside(loop):
                if op.name == "bufferization.to_buffer":
                    op.move_before(loop)
        for op in [view.operation for view in self.entry.operations]:
            array = constant_of(op.operands[0]) if op.name == "bufferization.to_buffer" else None
            if array is not None:
                free = total_bytes(self.pieces)
                offset = contents.offset(array, free)
                if offset == free:
                    self.pieces.append((offset, array))
                self.offsets[op.results[0]] = offset
        type_ = ir.RankedTensorType.get([total_bytes(self.pieces)], ir.IntegerType.get_signless(8))
        with ir.InsertionPoint.at_block_begin(self.entry):
            self.weights = ir.Operation.create("util.global.load", results=[type_], attributes={
                "global": ir.FlatSymbolRefAttr.get(WEIGHTS)}).result

    # -- kernel calls ---------------------------------------------------------------------------

    def _outputs(self, op: ir.Operation) -> list[Value]:
        """The buffers that the kernels called by ``op`` write to."""
        found = list(dict.fromkeys(root(call.operands[at]) for call in self._calls(op)
                                   for at in self.written[callee(call)]))
        for buffer in found:
            if buffer not in self.tensors:
                raise op_error(op, "outputs that are allocated", str(buffer.type),
                               "run sparse-to-vector first")
        return found

    def _joins(self, call: ir.Operation, group: _Group) -> bool:
        """Whether ``call`` writes other parts of what ``group`` writes, and reads nothing of it."""
        if not all(op.name == "func.call" for op in (call, *group.calls)):
            return False
        written = self.written[callee(call)]
        reads = {root(value) for at, value in enumerate(call.operands)
                 if isinstance(value.type, ir.MemRefType) and at not in written}
        return bool(group.calls) and self._outputs(call) == group.outputs and not reads & set(group.outputs)

    def _read(self, op: ir.Operation) -> None:
        """What reads a buffer as a tensor reads what the dispatches have made of it."""
        known = self.tensors.get(op.operands[0])
        if known is None:
            raise op_error(op, "a buffer that kernels have written", str(op.operands[0].type),
                           "run sparse-to-vector first")
        op.results[0].replace_all_uses_with(known)

    def _copy(self, op: ir.Operation) -> None:
        """A buffer that begins as a copy of a tensor is that tensor, until something is written to it."""
        source, target = op.operands
        if target not in self.tensors or isinstance(source.owner, ir.Block):
            raise op_error(op, "a copy of a tensor to a buffer that is allocated", str(source.type),
                           "report this")
        is_tensor = source.owner.operation.name == "bufferization.to_buffer"
        self.tensors[target] = source.owner.operation.operands[0] if is_tensor else self.tensors[source]

    def _flush(self, group: _Group) -> None:
        """The dispatch of ``group``, before its last call, and the inner module's function that it runs."""
        if not group.calls:
            return
        sources = {buffer: self._source(buffer, group) for buffer in self._buffers(group)}
        fresh = [buffer for buffer in group.outputs if sources[buffer] is None]
        operands = list(dict.fromkeys(source for source in sources.values() if source is not None))
        bindings = [*operands, *fresh]
        places = {buffer: Place(bindings.index(source or buffer), self.offsets.get(buffer, 0))
                  for buffer, source in sources.items()}
        name = f"{callee(self._calls(group.calls[0])[0])}_{self.count}"
        tied = [-1 if buffer in fresh else places[buffer].binding for buffer in group.outputs]
        results = self._dispatch(group, name, operands, tied)
        add_function(self.inner, name, group.calls, places, self.scratch)
        self.tensors.update(zip(group.outputs, results, strict=True))
        self.count += 1
        self.context.statistics["dispatches"] += 1

    def _buffers(self, group: _Group) -> list[Value]:
        """What the calls take, but scratch."""
        values = [value for op in group.calls for call in self._calls(op) for value in call.operands]
        found = dict.fromkeys(root(value) for value in values if isinstance(value.type, ir.MemRefType))
        return [buffer for buffer in found if buffer != self.scratch]

    def _dispatch(self, group: _Group, name: str, operands: list[Value], tied: list[int]) -> list[Value]:
        """The ``flow.dispatch``; its results, each written into the operand that it is ``tied`` to, or -1."""
        index = ir.IndexType.get()
        with ir.InsertionPoint(group.calls[-1]), group.calls[-1].location:
            op = ir.Operation.create(
                "flow.dispatch", results=[_tensor_type(buffer.type) for buffer in group.outputs],
                operands=operands, attributes={
                    "entry_points": ir.ArrayAttr.get([ir.SymbolRefAttr.get([EXECUTABLE, name])]),
                    "operandSegmentSizes": ir.DenseI32ArrayAttr.get([0, len(operands), 0, 0]),
                    "tied_operands": ir.ArrayAttr.get([ir.IntegerAttr.get(index, at) for at in tied])})
        return list(op.results)

    def _source(self, buffer: Value, group: _Group) -> Value | None:
        """The tensor that ``buffer`` is for a dispatch; None for an output that nothing was written to."""
        if buffer in self.offsets:
            return self.weights
        if buffer in self.tensors:
            if self.tensors[buffer] is None and buffer not in group.outputs:
                raise op_error(group.calls[0], "inputs that kernels have written", str(buffer.type),
                               "report this")
            return self.tensors[buffer]
        if isinstance(buffer.owner, ir.Block) or buffer.owner.operation.name != "bufferization.to_buffer":
            raise op_error(group.calls[0], "tensors, or buffers that kernels have written", str(buffer.type),
                           "run sparse-to-vector first")
        return buffer.owner.operation.operands[0]

    # -- what is left ---------------------------------------------------------------------------

    def _drop_buffers(self) -> None:
        """Erases the calls, and what stood between them and tensors; the function takes tensors alone."""
        between = (*ALIASES, "memref.alloc", "memref.dim", "bufferization.", "arith.")
        for op in reversed([view.operation for view in self.entry.operations]):
            is_unused = op.name.startswith(between) and not list(op.results[0].uses)
            if self._calls(op) or op.name == "memref.copy" or is_unused:
                op.erase()
        if not list(self.weights.uses):
            self.weights.owner.erase()
        attributes = self.function.operation.attributes
        old = ir.FunctionType(ir.TypeAttr(attributes["function_type"]).value)
        self.entry.erase_argument(len(old.inputs) - 1)
        tensors = ir.FunctionType.get(list(old.inputs)[:-1], list(old.results))
        attributes["function_type"] = ir.TypeAttr.get(tensors)
        for name in ("arg_attrs", "espalier.unsigned"):
            if name in attributes:
                del attributes[name]


def _inside(op: ir.Operation) -> list[ir.Operation]:
    """The operations in the body of a loop; none of a call."""
    return [view.operation for region in op.regions for view in region.blocks[0].operations]


def _check_static(function: Any) -> None:
    """Raises where a run decides sizes."""
    type_ = ir.FunctionType(ir.TypeAttr(function.operation.attributes["function_type"]).value)
    for entry in (*list(type_.inputs)[:-1], *type_.results):
        if not (isinstance(entry, ir.RankedTensorType) and entry.has_static_shape):
            raise op_error(function, "tensors of static sizes", str(entry), "compile with fixed sizes")


def _check_left(function: Any) -> None:
    """Raises where ``function`` holds what IREE does not know."""
    for block in blocks(function.operation):
        for view in block.operations:
            op = view.operation
            if not op.name.startswith(KNOWN):
                raise op_error(op, "an op that IREE knows", op.name,
                               "compile for our own runtime: --emit obj")
            if any(isinstance(result.type, ir.MemRefType) for result in op.results):
                raise op_error(op, "tensors between kernels", str(op.results[0].type), "report this")


def _tensor_type(type_: ir.Type) -> ir.Type:
    shaped = ir.MemRefType(type_)
    return ir.RankedTensorType.get(shaped.shape, shaped.element_type)
