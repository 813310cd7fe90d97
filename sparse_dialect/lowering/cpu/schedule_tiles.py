"""``sparse-schedule-tiles``: what of a layer's schedule needs its layouts.

    {schedule = #sparse.schedule<{micro_kernel = "kernel_classes", grid = [4, 4], ...}>}
    -> {schedule = #sparse.schedule<{micro_kernel = "kernel_classes", grid = [4, 4], tile = [1, 7, 2],
                                     chunks = 32, prefetch = false, ...}>}

Behind this pass every packed op has a complete schedule: ``sparse-lower-to-vector`` chooses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from ...devices.cores import Core
from ...dialect.ops import PoolOp
from ...dialect.packed import Packed, PackedConvOp, stored_fields
from ...dialect.recurrent import PackedGruOp, PackedLstmOp
from ...dialect.schedules import device_of, schedule_of, set_schedule
from ...dialect.schemes import scheme_of
from ...dialect.storages import storage_of
from ...errors import op_error
from ...geometry.convolution import Convolution
from ...geometry.layouts import three
from ...ir.mlir import ir
from ...ir.values import shape_of
from ...ir.walk import operations
from ...passes import Pass, PassContext
from ...schedule.heuristic import Heuristic, Scheduler, natural
from ...schedule.schedule import Schedule
from ...storage.chunks import thread_chunks
from .kernels.column_groups import ColumnsKernel
from .kernels.kernel_classes import ConvKernel
from .plan.packed_conv import fetches, kernel_of
from .plan.tiles import (
    columns_candidates,
    columns_cost,
    most_lines,
    most_sub_lines,
    tile_candidates,
    tile_cost,
)

DEPTHWISE_TILE, POOL_TILE = (1, 4, 4), (1, 2, 4)  # output lines that are computed together


@dataclass(frozen=True)
class ScheduleTilesPass(Pass):
    """
    Completes the schedule of every packed layer and pool: tile, sub_tile, passes, chunks and prefetch.

    Needs layouts (sparse-assign-layouts). What the schedule says already is obeyed, where registers hold it.
    """

    name = "sparse-schedule-tiles"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            device = device_of(op)
            scheduler = Heuristic(device)
            for layer in operations(op, Packed, PoolOp):
                set_schedule(layer, _completed(layer, schedule_of(layer), device.costs, scheduler))
                context.statistics["schedules completed"] += 1


def _completed(layer: Packed | PoolOp, schedule: Schedule, core: Core, scheduler: Scheduler) -> Schedule:
    if isinstance(layer, PoolOp):
        return schedule.filled(micro_kernel="pools", tile=POOL_TILE)
    conv = Convolution.of(layer) if isinstance(layer, PackedConvOp) else None
    steps = isinstance(layer, PackedGruOp | PackedLstmOp)
    storage = storage_of(layer)
    schedule = schedule.filled(storage=storage.name, **stored_fields(storage))
    schedule = schedule.filled(**natural(conv, scheme_of(layer), steps))
    if not isinstance(layer, PackedConvOp) or conv is None:
        return schedule
    if schedule.micro_kernel in ("depthwise", "fused_depthwise"):
        return schedule.filled(tile=DEPTHWISE_TILE)
    schedule = schedule.filled(filters_per_group=1, channel_block=conv.channels, by_chunk=False)
    set_schedule(layer, schedule)
    kernel = kernel_of(layer, core)
    asks = isinstance(kernel, ConvKernel) and fetches(layer, kernel, core)
    schedule = schedule.filled(chunks=thread_chunks(kernel.groups), prefetch=asks)
    if isinstance(kernel, ColumnsKernel):
        return _columns_schedule(layer, kernel, schedule, core, scheduler)
    return _classes_schedule(layer, kernel, schedule, core, scheduler)


def _classes_schedule(conv: PackedConvOp, kernel: ConvKernel, schedule: Schedule, core: Core,
                      scheduler: Scheduler) -> Schedule:
    """A tile for kernels of classes."""
    if schedule.tile is not None:
        limit = most_lines(kernel, core)
        if prod(schedule.tile) > limit:
            raise op_error(conv, f"a schedule with a tile of at most {limit} lines, what registers hold",
                           f"{list(schedule.tile)}", "correct or leave out tile")
        return schedule
    window = Convolution.of(conv).window
    stored = kernel.channels * kernel.groups if kernel.dense else shape_of(list(conv.storage)[3])[0]
    return scheduler.among(
        [replace(schedule, tile=tile) for tile in tile_candidates(kernel, window, core)],
        lambda choice: core.seconds(tile_cost(kernel, window, stored, three(choice.tile or ()), core)))


def _columns_schedule(conv: PackedConvOp, kernel: ColumnsKernel, schedule: Schedule, core: Core,
                      scheduler: Scheduler) -> Schedule:
    """Tile, sub-tile and passes where filters share columns."""
    passes = schedule.passes or 1
    if kernel.size % passes:
        raise op_error(conv, f"a schedule with passes that divide {kernel.size} filters a group", str(passes),
                       "correct or leave out passes")
    limit = most_sub_lines(kernel, passes, core)
    if schedule.sub_tile is not None and prod(schedule.sub_tile) > limit:
        raise op_error(conv, f"a schedule with a sub_tile of at most {limit} lines, what registers hold",
                       f"{list(schedule.sub_tile)}", "correct or leave out sub_tile")
    window, units = Convolution.of(conv).window, shape_of(list(conv.storage)[3])[0]
    tile = None if schedule.tile is None else three(schedule.tile)
    candidates = [schedule.filled(sub_tile=part, passes=passes, tile=whole)
                  for part, passes, whole in columns_candidates(kernel, window, core, tile)]

    def cost(choice: Schedule) -> float:
        sizes = three(choice.sub_tile or ()), choice.passes or 1, three(choice.tile or ())
        return core.seconds(columns_cost(kernel, window, units, sizes, core))

    return scheduler.among(candidates, cost)
