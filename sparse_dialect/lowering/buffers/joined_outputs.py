"""Concatenations along the channels whose parts are written where they will lie: nothing is copied.

    %a = "sparse.packed_conv"(...) : tensor<1x64x197x16xf32>
    %b = "sparse.pool"(...)        : tensor<1x32x197x16xf32>
    %c = tensor.concat dim(1) %a, %b
    -> %out = memref.alloc() : memref<1x96x197x16xf32>
       call @conv_0(..., memref.subview %out[0, 0, 0, 0] [1, 64, 197, 16], ...)
       call @max_1(..., memref.subview %out[0, 64, 0, 0] [1, 32, 197, 16], ...)
       %c = bufferization.to_tensor %out restrict writable

Only where every part is a layer's output that nothing else reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...ir.mlir import bindings, ir
from ...ir.values import shape_of
from ..cpu.emit.builder import memref

bufferization: Any = bindings("dialects.bufferization")

Value = Any


@dataclass
class _Joined:
    """A concatenation, and the buffer that its parts are written to once the first of them is lowered."""

    concat: ir.Operation
    buffer: Value | None = None


class JoinedOutputs:
    """The concatenations of the ``outputs`` of layers, values of type [N, C, lines, lanes]."""

    def __init__(self, outputs: list[Value]) -> None:
        self._parts: dict[Value, tuple[_Joined, int]] = {}  # and the first channel of each part
        for concat in dict.fromkeys(use.owner.operation for output in outputs for use in output.uses):
            if _joins(concat, outputs):
                joined, channel = _Joined(concat), 0
                for part in concat.operands:
                    self._parts[part] = joined, channel
                    channel += shape_of(part)[1]

    def place_of(self, output: Value) -> Value | None:
        """Where a layer has to write ``output``, a part of a bigger buffer; None where it is no part."""
        if output not in self._parts:
            return None
        joined, channel = self._parts[output]
        if joined.buffer is None:
            joined.buffer = allocate(joined.concat.results[0])
        sizes = shape_of(output)
        whole = shape_of(joined.concat.results[0])
        strides = [whole[1] * whole[2] * whole[3], whole[2] * whole[3], whole[3], 1]
        layout = ir.StridedLayoutAttr.get(channel * strides[1], strides)
        type_ = ir.MemRefType.get(sizes, ir.RankedTensorType(output.type).element_type, layout=layout)
        return memref.SubViewOp(type_, joined.buffer, [], [], [], [0, channel, 0, 0], sizes, [1] * 4).result

    def close(self) -> None:
        """Replaces the concatenations, once all layers are lowered."""
        for joined in {id(joined): joined for joined, _ in self._parts.values()}.values():
            result = joined.concat.results[0]
            with ir.InsertionPoint(joined.concat), joined.concat.location:
                whole = bufferization.ToTensorOp(result.type, joined.buffer, restrict=True, writable=True)
            result.replace_all_uses_with(whole.result)
            joined.concat.erase()


def allocate(like: Value, sizes: Sequence[Value] = ()) -> Value:
    """A new buffer for a tensor; ``sizes``: its dynamic ones."""
    tensor = ir.RankedTensorType(like.type)
    alignment = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), 64)
    return memref.AllocOp(ir.MemRefType.get(tensor.shape, tensor.element_type), list(sizes), [],
                          alignment=alignment).result


def _joins(op: ir.Operation, outputs: list[Value]) -> bool:
    """Whether ``op`` concatenates the channels of ``outputs`` that it alone reads."""
    if op.name != "tensor.concat" or ir.IntegerAttr(op.attributes["dim"]).value != 1:
        return False
    return all(part in outputs and len(list(part.uses)) == 1 and part.owner.operation.block == op.block
               for part in op.operands)
