"""``sparse-fuse-depthwise``: a convolution and the depthwise one behind it run a chunk of channels at a time.

    %e = "sparse.packed_conv"(%x, ...)
    %d = "sparse.packed_conv"(%e, ...) {groups = 96, ...}
    ->
    %e = "sparse.packed_conv"(%x, ...) {schedule = #sparse.schedule<{by_chunk = true, chunks = 6, ...}>}
    %d = "sparse.packed_conv"(%e, ...) {schedule = #sparse.schedule<{micro_kernel = "fused_depthwise", ...}>}

The tensor between the two (an inverted residual block's expansion, MobileNet-V2) is often a network's
largest. With ``by_chunk`` on the first, ``sparse-lower-to-vector`` makes one kernel of both that keeps one
chunk of that tensor in scratch, where the depthwise convolution finds it in cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..dialect.layouts import layout_of
from ..dialect.packed import PackedConvOp
from ..dialect.schedules import record_of, schedule_of, set_record, set_schedule
from ..dialect.schemes import scheme_of
from ..geometry.convolution import Convolution
from ..geometry.window import ONES
from ..ir.mlir import ir
from ..ir.values import strings
from ..ir.walk import operations
from ..passes import Pass, PassContext, option
from ..schemes import Dense


@dataclass(frozen=True)
class FuseDepthwisePass(Pass):
    """
    Marks convolutions whose only reader is a depthwise convolution, where the tensor between them is large.

    The first's schedule says how many `chunks` its filters are computed in, each followed by the second's
    planes; its record says what it is `fused_into`: the second, whose measured time is that of both.

    A schedule with `by_chunk` decides itself, where it can be.

    Left alone: grouped first convolutions, residuals, fused pools, channels in several blocks, and groups
    that repeat a filter.
    """

    name = "sparse-fuse-depthwise"

    large: int = option(3 << 19, "bytes from which on the tensor between the two is split")
    chunk: int = option(600_000, "bytes of it that should stay in cache")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            for conv in operations(op, PackedConvOp):
                reader, schedule = _only_reader(conv), schedule_of(conv)
                if schedule.by_chunk is False:
                    continue  # a schedule that says so is obeyed
                if reader is not None and _runs_by_channel(reader) and _can_split(conv):
                    self._mark(conv, reader, context)
                elif schedule.by_chunk:  # it was found for a network where that could be
                    set_schedule(conv, replace(schedule, by_chunk=False, chunks=None))

    def _mark(self, conv: PackedConvOp, reader: PackedConvOp, context: PassContext) -> None:
        filters = Convolution.of(conv).filters
        element = ir.RankedTensorType(conv.output.type).element_type
        size = filters * layout_of(conv.output_layout, conv.output).plane * element.width // 8
        schedule = schedule_of(conv)
        if size < self.large and not schedule.by_chunk:
            return
        groups = filters // (schedule.filters_per_group or 1)
        chunks = next(n for n in range(1, groups + 1)
                      if n == groups or (groups % n == 0 and size <= n * self.chunk))
        set_schedule(conv, replace(schedule.filled(chunks=chunks), by_chunk=True))
        set_schedule(reader, replace(schedule_of(reader), micro_kernel="fused_depthwise"))
        set_record(conv, replace(record_of(conv), fused_into=record_of(reader).layer))
        context.statistics["fused pairs"] += 1


def _only_reader(conv: PackedConvOp) -> PackedConvOp | None:
    uses = list(conv.output.uses)
    reader = uses[0].owner if len(uses) == 1 else None
    return reader if isinstance(reader, PackedConvOp) and reader.input == conv.output else None


def _runs_by_channel(conv: PackedConvOp) -> bool:
    """Depthwise, dense, and nothing added to its result."""
    known = Convolution.of(conv)
    return known.kind == "depthwise" and not known.residual and isinstance(scheme_of(conv), Dense)


def _can_split(conv: PackedConvOp) -> bool:
    """Whether each filter is finished in one go, so that filters can be computed in any parts."""
    schedule, known = schedule_of(conv), Convolution.of(conv)
    block = schedule.channel_block or known.channels
    whole = known.filters % (schedule.filters_per_group or 1) == 0
    alone = not known.residual and known.pool == ONES
    names = strings(conv.storage_names)  # filters in an order of their own must come once each
    once = "reorder" not in names or _length(conv.storage[names.index("reorder")]) == known.filters
    return alone and known.kind == "plain" and block == known.channels and whole and once


def _length(value: ir.Value) -> int:
    return int(ir.RankedTensorType(value.type).shape[0])
