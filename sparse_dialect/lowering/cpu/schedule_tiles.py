"""``sparse-schedule-tiles``: what of a layer's schedule needs its layouts.

    {schedule = #sparse.schedule<{micro_kernel = "kernel_classes", grid = [4, 4], ...}>}
    -> {schedule = #sparse.schedule<{micro_kernel = "kernel_classes", grid = [4, 4], tile = [1, 7, 2],
                                     chunks = 32, prefetch = false, ...}>}

Behind this pass every packed op has a complete schedule: ``sparse-lower-to-vector`` chooses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...devices.cores import Core
from ...devices.device import Device
from ...dialect.ops import PoolOp
from ...dialect.packed import Packed, PackedConvOp, stored_fields
from ...dialect.recurrent import PackedGruOp, PackedLstmOp
from ...dialect.schedules import device_of, schedule_of, set_schedule
from ...dialect.schemes import scheme_of
from ...dialect.storages import storage_of
from ...geometry.convolution import Convolution
from ...ir.mlir import ir
from ...ir.walk import operations
from ...passes import Pass, PassContext
from ...schedule.families import natural
from ...schedule.heuristic import Heuristic, Scheduler
from ...schedule.schedule import Schedule
from .families import family_of, space_of
from .families.convolutions import with_threes


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
                set_schedule(layer, completed(layer, schedule_of(layer), device.costs, scheduler))
                context.statistics["schedules completed"] += 1


def completed(layer: Packed | PoolOp, schedule: Schedule, core: Core, scheduler: Scheduler) -> Schedule:
    """The complete schedule of ``layer`` that obeys ``schedule``: the scheduler's choice among what the
    layer's family offers. Raises ``PassError`` where it offers nothing."""
    schedule = _begun(layer, schedule)
    set_schedule(layer, schedule)
    family = family_of(layer)
    candidates = family.candidates(layer, schedule, core)
    if len(candidates) == 1:
        return candidates[0]
    return scheduler.among(candidates, family.cost(layer, schedule, core))


def why_not_tile(conv: PackedConvOp, found: Schedule, device: Device) -> str:
    """Why ``conv``, on its lane grids, cannot run by ``found``, which somebody else chose; empty where it
    can."""
    own = schedule_of(conv)
    try:
        settled = completed(conv, own, device.costs, Heuristic(device))
        set_schedule(conv, settled)
        space = space_of(conv, device.costs)
    finally:
        set_schedule(conv, own)
    wanted = with_threes(settled.changed(found))
    genome = None if space is None else space.genome(wanted)
    if space is None or genome is None or with_threes(settled).changed(space.schedule(genome)) != wanted:
        return f"{found.text} lies outside of what this compiler offers"
    return space.why_not(space.schedule(genome))


def _begun(layer: Packed | PoolOp, schedule: Schedule) -> Schedule:
    """The schedule with what the weights, as they are packed, decide."""
    if isinstance(layer, PoolOp):
        return schedule.filled(micro_kernel="pools")
    conv = Convolution.of(layer) if isinstance(layer, PackedConvOp) else None
    storage = storage_of(layer)
    schedule = schedule.filled(storage=storage.name, **stored_fields(storage))
    return schedule.filled(**natural(conv, scheme_of(layer), isinstance(layer, PackedGruOp | PackedLstmOp)))
