"""``sparse-lower-to-vector``: every sparse op becomes a call of a kernel made of vector, scf, memref and
arith.

    %y = "sparse.packed_conv"(%x, %offset, ...) : (tensor<1x64x197x16xf32>, ...) -> tensor<1x64x197x16xf32>
    -> %in = bufferization.to_buffer %x;  %out = memref.alloc()
       call @conv_0(%in, %out, %bias, %items, ..., %scratch, %c0, %units) {espalier.units}
       %y = bufferization.to_tensor %out restrict

What code that is, the families of ``families/`` know. Equal layers share a kernel. Public functions gain
one argument, scratch memory (memref<?xi8>): ``espalier.scratch`` on the module says how much a thread needs,
in units of 4 bytes. The last two operands of a kernel call are the range of its units of work:
``sparse-distribute-work`` cuts it up for threads.
``espalier.visits`` on a call counts the runs of each kernel class's loop body (tagged ``espalier.class``),
so that loads can be counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...dialect.ops import LiftOp, PoolOp, UnliftOp
from ...dialect.recurrent import PACKED_LAYERS
from ...dialect.schedules import device_of
from ...ir.mlir import ir
from ...ir.walk import operations
from ...passes import Pass, PassContext
from ..buffers.arguments import public_functions
from .families import family_of
from .families.channelwise import is_by_chunk, producer_by_chunk
from .kernel_calls import KernelCalls, name_of


@dataclass(frozen=True)
class LowerToVectorPass(Pass):
    """
    Replaces every sparse op by a call of a generated kernel.

    Loads are naive: one vector load for every multiply. Needs layouts (sparse-assign-layouts) and packed
    weights.
    """

    name = "sparse-lower-to-vector"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        kernels: dict[Any, str] = {}
        core = device_of(op).costs
        with op.context, ir.Location.unknown(op.context):
            for function in public_functions(op):
                layers = operations(function, *PACKED_LAYERS, PoolOp, LiftOp, UnliftOp)
                calls = KernelCalls(op, function, layers, kernels, core, context)
                for layer in layers:
                    if not is_by_chunk(layer):  # that is lowered with its reader
                        _lower(layer, calls)
                calls.close()


def _lower(layer: Any, calls: KernelCalls) -> None:
    """Replaces ``layer``, and the convolution that writes its input by chunk, if any."""
    producer, family = producer_by_chunk(layer), family_of(layer)
    with _location(layer), ir.InsertionPoint(layer.operation):
        results = family.emit(layer, family.plan(layer, calls.core), calls)
    for old, new in zip(layer.operation.results, results, strict=True):
        old.replace_all_uses_with(new)
    layer.operation.erase()
    if producer is not None:
        producer.operation.erase()


def _location(layer: Any) -> ir.Location:
    """The layer's name as a location: the only thing about a call that bufferization keeps."""
    name = name_of(layer)
    return ir.Location.name(name, layer.operation.location) if name else layer.operation.location
