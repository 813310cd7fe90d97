"""The space of schedules that a tuner may search for each layer on a CPU.

    sparse.packed_conv, fkw, 256 channels on a plane of 7x4 lines
    -> filters_per_group 1, channel_block 16 .. 256, tile.1 1 .. 7, tile.2 1 .. 4, prefetch

A space holds more than the heuristic looks at (``plan/tiles.py``): whatever the lowering compiles.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from ...devices.cores import Core
from ...devices.device import Device
from ...dialect.packed import Packed, PackedConvOp
from ...dialect.recurrent import inputs_of
from ...dialect.schedules import schedule_of, set_schedule
from ...dialect.schemes import scheme_of
from ...dialect.storages import storage_of
from ...geometry.convolution import Convolution
from ...geometry.layouts import LaneGrid, three
from ...geometry.window import Window
from ...schedule.candidates import Space
from ...schedule.heuristic import Heuristic
from ...schedule.schedule import Schedule
from ...schemes import Connectivity, SharedColumns
from ...storage.sell import Sell, windows
from .kernels.column_groups import ColumnsKernel
from .kernels.kernel_classes import ConvKernel
from .plan.conv_plan import plane_shape
from .plan.packed_conv import kernel_of
from .plan.tiles import most_sub_lines
from .schedule_tiles import completed

SMALLEST_BLOCK = 8  # channels; fewer cost more visits than cache saves
SPARE_REGISTERS = 2  # beside accumulators: a weight and a line
DEPTHWISE_SIDE = 8  # output lines
DEPTHWISE_LINES = 24
Values = dict[str, list[Any]]


def space_of(layer: Packed, core: Core) -> Space | None:
    """The schedules of ``layer``, whose own is complete; None where there is nothing to choose."""
    schedule = schedule_of(layer)
    if not isinstance(layer, PackedConvOp):
        return _matrix(layer, schedule, core)
    if schedule.micro_kernel in ("depthwise", "fused_depthwise"):
        return _depthwise(layer, schedule)
    kernel = kernel_of(layer, core)
    if isinstance(kernel, ColumnsKernel):
        return _columns(layer, kernel, schedule, core)
    return _classes(layer, kernel, schedule, core)


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
    wanted = _threes(settled.changed(found))
    genome = None if space is None else space.genome(wanted)
    if space is None or genome is None or _threes(settled).changed(space.schedule(genome)) != wanted:
        return f"{found.text} lies outside of what this compiler offers"
    return space.why_not(space.schedule(genome))


def _matrix(layer: Packed, schedule: Schedule, core: Core) -> Space:
    """Slices of rows that share what is picked from a window of inputs, where no vector runs along these."""
    storage, inputs = storage_of(layer), inputs_of(layer)
    values: Values = {}
    if isinstance(storage, Sell) and (storage.gates > 1 or inputs == 1):
        values = {"filters_per_group": [1, 2, 4], "window": list(windows(storage.lanes, core))}
    return Space.around(schedule, values)


def _depthwise(conv: PackedConvOp, schedule: Schedule) -> Space:
    sides = [range(1, min(DEPTHWISE_SIDE, size) + 1) for size in Convolution.of(conv).target[1:]]
    values: Values = {"tile.0": [1], "tile.1": list(sides[0]), "tile.2": list(sides[1])}

    def why_not(found: Schedule) -> str:
        lines = prod(found.tile or ())
        return f"{lines} lines do not fit in registers" if lines > DEPTHWISE_LINES else ""

    return Space.around(_threes(schedule), values, why_not)


def _classes(conv: PackedConvOp, kernel: ConvKernel, schedule: Schedule, core: Core) -> Space:
    known = Convolution.of(conv)
    values: Values = {"filters_per_group": [kernel.group]}
    if known.kind == "plain":
        shares = kernel.dense or isinstance(scheme_of(conv), Connectivity)
        values["filters_per_group"] = [n for n in (1, 2, 4) if shares and known.filters % n == 0]
        if not kernel.dense:
            values["channel_block"] = _blocks(known.channels)
    values |= _fused(schedule, kernel)
    values |= _sides("tile", kernel, known.window)
    if isinstance(kernel.source, LaneGrid):  # rows of an image are read as they come
        values["prefetch"] = [False, True]

    def why_not(found: Schedule) -> str:
        group = found.filters_per_group or kernel.group
        lines, limit = prod(found.tile or ()), max(1, (core.registers - SPARE_REGISTERS) // group)
        return f"{lines} lines for {group} filters do not fit in registers" if lines > limit else ""

    return Space.around(_threes(schedule), values, why_not)


def _fused(schedule: Schedule, kernel: ConvKernel | ColumnsKernel) -> Values:
    """Of a convolution whose reader is depthwise: whether both run a chunk at a time, and how many chunks."""
    if not schedule.by_chunk:
        return {}
    several = [n for n in range(1, kernel.groups + 1) if kernel.groups % n == 0]
    own = several.index(schedule.chunks or 1) if schedule.chunks in several else 0
    return {"by_chunk": [False, True], "chunks": several[max(own - 2, 0):own + 3]}


def _columns(conv: PackedConvOp, kernel: ColumnsKernel, schedule: Schedule, core: Core) -> Space:
    known, scheme = Convolution.of(conv), scheme_of(conv)
    together = scheme.channels_together if isinstance(scheme, SharedColumns) else 1
    values: Values = {"passes": [n for n in range(1, kernel.size + 1) if kernel.size % n == 0]}
    if known.kind == "plain":
        values["channel_block"] = [block for block in _blocks(known.channels) if block % together == 0]
    values |= _fused(schedule, kernel)
    values |= _sides("sub_tile", kernel, known.window) | _sides("tile", kernel, known.window, whole=True)

    def why_not(found: Schedule) -> str:
        limit = most_sub_lines(kernel, found.passes or 1, core)
        part, tile = found.sub_tile or (), found.tile or ()
        if prod(part) > limit:
            return f"{prod(part)} lines do not fit in registers"
        inside = all(a <= b for a, b in zip(part, tile, strict=True))
        return "" if inside else "the sub_tile is larger than the tile"

    return Space.around(_threes(schedule), values, why_not)


def _sides(field: str, kernel: ConvKernel | ColumnsKernel, window: Window, whole: bool = False) -> Values:
    """The lengths of a tile's sides; ``whole``: those that cut the plane into near-equal parts."""
    shape = plane_shape(kernel.source, kernel.target, window, kernel.pooled)
    found: Values = {}
    for at, (size, unit) in enumerate(zip(shape, kernel.pool, strict=True)):
        several = list(range(unit, size + 1, unit))
        if whole:
            several = sorted({-(-size // unit // parts) * unit for parts in range(1, size // unit + 1)})
        found[f"{field}.{at}"] = several or [unit]
    return found


def _blocks(channels: int) -> list[int]:
    """Channels a block: divisors, thinned to steps of about 1.4."""
    found = [channels]
    for size in range(channels - 1, SMALLEST_BLOCK - 1, -1):
        if channels % size == 0 and size * 1.3 < found[-1]:
            found.append(size)
    return found


def _threes(schedule: Schedule) -> Schedule:
    """``schedule`` with three sizes for every tile."""
    return replace(schedule, tile=three(schedule.tile or ()),
                   sub_tile=schedule.sub_tile and three(schedule.sub_tile))
