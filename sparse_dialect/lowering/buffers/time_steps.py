"""The loop over the time steps of a recurrent layer.

    step(first, initial)
    scf.for %s = %c1 to %steps step %c1 { step(%time, row of the output one step before) }

The loop stays in the entry function, around the kernel calls, so that ``sparse-distribute-work`` can share
out each call and put a barrier between the steps.
"""

from __future__ import annotations

from collections.abc import Callable

from ...ir.mlir import ir
from ..cpu.emit.builder import Value, arith, memref, scf


def for_each_step(output: Value, direction: str, initial: Value,
                  step: Callable[[Value, Value], None]) -> None:
    """Calls ``step(time, previous)``, which emits a step, where ``output`` [T, N, H] holds every step's
    state. T is at least 1."""
    one = _index(1)
    steps = memref.DimOp(output, _index(0)).result
    last = arith.SubIOp(steps, one).result
    forward = direction == "forward"
    step(_index(0) if forward else last, initial)
    loop = scf.ForOp(one, steps, one)
    with ir.InsertionPoint(loop.body):
        number = loop.induction_variable
        time = number if forward else arith.SubIOp(last, number).result
        before = (arith.SubIOp if forward else arith.AddIOp)(time, one).result
        step(time, row_of(output, before))
        scf.YieldOp([])


def row_of(buffer: Value, time: Value) -> Value:
    """The [N, W] of one step of ``buffer`` [T, N, W]."""
    _, batch, width = ir.MemRefType(buffer.type).shape
    dynamic = ir.ShapedType.get_dynamic_size()
    layout = ir.StridedLayoutAttr.get(dynamic, [width, 1])
    type_ = ir.MemRefType.get([batch, width], ir.MemRefType(buffer.type).element_type, layout)
    return memref.SubViewOp(type_, buffer, [time], [], [], [dynamic, 0, 0], [1, batch, width],
                            [1, 1, 1]).result


def _index(value: int) -> Value:
    return arith.ConstantOp(ir.IndexType.get(), value).result
