"""A layer and a schedule of it as numbers that a learned cost model is given.

    conv 64x64x3x3 on 56x56, tile (1, 2, 7), channel_block 32, where the default has (1, 4, 4)
    -> filters 64, channels 64, ..., lines 14, reads 2.6, pad 0, ..., log_lines -0.13, log_estimate 0.04, ...

What stands for the default as well is given as the logarithm of how many times larger it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log, prod
from typing import Any

from ...sparse_dialect.devices.cores import Core
from ...sparse_dialect.dialect.layouts import layout_of
from ...sparse_dialect.dialect.packed import PackedConvOp
from ...sparse_dialect.dialect.recurrent import gates_of, inputs_of
from ...sparse_dialect.dialect.schedules import record_of, schedule_of
from ...sparse_dialect.dialect.schemes import scheme_of
from ...sparse_dialect.geometry.convolution import Convolution
from ...sparse_dialect.geometry.layouts import LaneGrid, Three, three
from ...sparse_dialect.geometry.window import Window
from ...sparse_dialect.ir.values import integers
from ...sparse_dialect.lowering.cpu.plan.conv_plan import is_flat
from ...sparse_dialect.schedule.schedule import Schedule
from ...sparse_dialect.schemes import Dense, Pattern, SharedColumns
from ...sparse_dialect.storage import STORAGES

FAMILIES = ("kernel_classes", "column_groups", "depthwise", "fused_depthwise", "sell", "dense_rows",
            "recurrent")
Features = dict[str, float]


@dataclass(frozen=True)
class Layer:
    """A packed layer as it runs today: its ``shape`` in numbers, its complete ``schedule``, and of a
    convolution its ``plane`` of output lines and its ``window``; ``flat``: no tile is packed."""

    shape: Mapping[str, float]
    schedule: Schedule
    core: Core
    plane: Three = (1, 1, 1)
    window: Window | None = None
    flat: bool = False

    @staticmethod
    def of(op: Any, core: Core) -> Layer:
        """What the packed layer ``op``, on its layouts, is described by."""
        schedule, scheme, record = schedule_of(op), scheme_of(op), record_of(op)
        weight = integers(op.weight_shape)
        shape = {"kept": record.nonzeros / prod(weight), "stored": record.stored / prod(weight),
                 "dense": float(isinstance(scheme, Dense)),
                 "shared": float(isinstance(scheme, SharedColumns)),
                 "entries": float(scheme.entries if isinstance(scheme, Pattern) else prod(weight[2:])),
                 **{name: float(schedule.micro_kernel == name) for name in FAMILIES}}
        if not isinstance(op, PackedConvOp):
            shape |= {"rows": weight[0], "columns": weight[1], "gates": gates_of(op),
                      "inputs": inputs_of(op) or 0}
            return Layer(shape, schedule, core)
        conv, target = Convolution.of(op), layout_of(op.output_layout, op.output)
        source = layout_of(op.input_layout, op.input)
        assert isinstance(target, LaneGrid)
        flat = is_flat(source, target, conv.window)
        shape |= {"filters": conv.filters, "channels": conv.channels, "groups": conv.groups,
                  "places": prod(conv.kernel), "stride": prod(conv.window.strides), "idle": target.waste,
                  "lines_of_image": prod(target.shape), "same_grid": float(source == target),
                  "residual": float(conv.residual), "flat": float(flat)}
        plane = (1, 1, prod(target.shape)) if flat else target.shape
        return Layer(shape, schedule, core, plane, conv.window, flat)

    def features(self, schedule: Schedule) -> Features:
        """``schedule``, as far as it differs from today's, on this layer."""
        now, then = self._figures(self.schedule), self._figures(self.schedule.changed(schedule))
        logs = {f"log_{name}": log(max(then[name], 1e-9) / max(now[name], 1e-9)) for name in now}
        return {**self.shape, **then, **logs, "flipped": float(schedule.storage is not None),
                "prefetch": float(bool(schedule.prefetch)),
                "unfused": float(schedule.by_chunk is False and bool(self.schedule.by_chunk))}

    def _figures(self, schedule: Schedule) -> Features:
        """Sizes that follow from a complete schedule; all of them positive."""
        group = float(schedule.filters_per_group or 1)
        found = {"group": group, "window": float(schedule.window or 1), "chunks": float(schedule.chunks or 1)}
        if self.window is None:
            return found
        tile, channels = three(schedule.tile or ()), self.shape["channels"]
        sub = three(schedule.sub_tile) if schedule.sub_tile else tile
        lines, passes = prod(tile), schedule.passes or 1
        block = float(schedule.channel_block or channels)
        counts = [ceil(size / side) for size, side in zip(self.plane, tile, strict=True)]
        shapes = prod(1 + (size % side > 0) for size, side in zip(self.plane, tile, strict=True))
        read = lines if self.flat else self.window.lines_read(tile)
        sums = prod(sub) * group / passes
        return {**found, "lines": float(lines), "rows_of_tile": float(tile[1]),
                "columns_of_tile": float(tile[2]),
                "sub_lines": float(prod(sub)), "passes": float(passes), "block": block,
                "blocks": channels / block, "tiles": float(prod(counts)), "shapes": float(shapes),
                "reads": read / lines, "in_registers": sums / self.core.registers,
                "block_kib": read * block * 64 / 1024,
                "estimate": self._estimate(schedule, lines, read, prod(counts), channels / block)}

    def _estimate(self, schedule: Schedule, lines: int, read: int, tiles: int, blocks: float) -> float:
        """About the cycles of the whole image, by the core's own figures."""
        core, shape = self.core, self.shape
        dense = schedule.storage in DENSE or (schedule.storage is None and bool(shape["dense"]))
        group, terms = schedule.filters_per_group or 1, shape["places"] if dense else shape["entries"]
        per_filter = shape["channels"] / shape["groups"]
        weights = 1.0 if dense else shape["kept"]
        visits = shape["filters"] * per_filter * shape["places"] * weights / max(terms, 1) / group
        visit = lines * terms * group * core.multiply + min(read, lines * terms) * core.line + core.kernel
        pack = 0.0 if self.flat else read * shape["channels"] * core.pack
        store = lines * shape["filters"] * core.store * (2 * blocks - 1)
        return tiles * (visits * visit + pack + store)


DENSE = {name for name in STORAGES if name.startswith("dense")}
