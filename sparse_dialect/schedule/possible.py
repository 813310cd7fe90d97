"""Whether a layer can have a schedule that somebody else chose: what the tuner's entries are asked."""

from __future__ import annotations

from math import prod

from ..devices.device import Device
from ..geometry.convolution import Convolution
from ..schemes import Dense, Empty, SharedColumns
from ..storage.fkw import Fkw
from ..storage.sell import GROUPS, windows
from .candidates import TILE_FIELDS
from .families import natural
from .heuristic import Heuristic, Layer
from .schedule import Schedule

OF_CONVOLUTIONS = ("channel_block", "mixed", "filter_order", "grid", "by_chunk", "chunks")
MOST_TOGETHER = 4  # filters that share loads, where nothing else groups them


def why_not(layer: Layer, schedule: Schedule, device: Device) -> str:
    """Why ``layer``, whose weight is not packed yet, cannot run by ``schedule``; empty where it can."""
    late = [name for name in TILE_FIELDS if getattr(schedule, name) is not None]
    if late:
        return f"{', '.join(late)} without lane grids"
    scheme = Heuristic(device).choose(layer, schedule).scheme
    for name, only in natural(layer.convolution, scheme, layer.steps).items():
        found = getattr(schedule, name)
        if found not in (None, only):
            return f"{name} {found} for a layer of scheme {scheme.name}, which needs {only}"
    conv = layer.convolution
    if conv is None:
        return _why_not_matrix(schedule, device)
    if schedule.window is not None:
        return "a window, which only matrices have"
    block, group = schedule.channel_block or conv.channels, schedule.filters_per_group or 1
    if conv.channels % block:
        return f"channel_block {block} of {conv.channels} channels"
    if group > (conv.filters if isinstance(scheme, SharedColumns) else MOST_TOGETHER):
        return f"filters_per_group {group} of {conv.filters} filters"
    if schedule.mixed and (unfit := Fkw(group, block, mixed=True).why_not(scheme, layer.mask.shape)):
        return f"mixed kernels: {unfit}"
    if schedule.filter_order is not None and set(schedule.filter_order) != set(range(conv.filters)):
        return f"a filter_order of other than {conv.filters} filters"
    if schedule.grid is not None and prod(schedule.grid) != device.grid_lanes:
        return f"a grid of {prod(schedule.grid)} lanes, where vectors have {device.grid_lanes}"
    return ""


def _why_not_matrix(schedule: Schedule, device: Device) -> str:
    unfit = [name for name in OF_CONVOLUTIONS if getattr(schedule, name) is not None]
    if unfit:
        return f"{', '.join(unfit)} for a layer that is no convolution"
    if schedule.filters_per_group not in (None, *GROUPS):
        return f"filters_per_group {schedule.filters_per_group}, of {', '.join(map(str, GROUPS))}"
    known = windows(device.lanes, device.costs)
    if schedule.window not in (None, *known):
        return f"window {schedule.window}, of {', '.join(map(str, known))}"
    return ""


def other_storage(layer: Layer, device: Device) -> str | None:
    """What makes ``layer`` run sparse where the heuristic lets it run dense, or the other way round; None
    where there is only one way."""
    if isinstance(layer.scheme, Dense | Empty) or _is_cut(layer.convolution):
        return None
    chosen = Heuristic(device).choose(layer, Schedule()).scheme
    other = layer.scheme if isinstance(chosen, Dense) else Dense()
    return natural(layer.convolution, other, layer.steps)["storage"]


def _is_cut(conv: Convolution | None) -> bool:
    """Whether ``conv`` has groups: depthwise ones always run dense, others always as they are."""
    return conv is not None and conv.kind != "plain"
