"""Changes of layout, from row-major pixels to lane grids and back: there is nothing to choose."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ....devices.cores import Core
from ....dialect.ops import LiftOp, UnliftOp
from ....geometry.layouts import LaneGrid, Plain
from ....geometry.window import ONES, Window
from ....ir.constants import constant
from ....ir.values import shape_of
from ..kernel_calls import KernelCalls, Value, image_of, lanes_of
from ..kernels.channelwise import ChannelwiseKernel
from ..kernels.layouts import emit_lift, emit_unlift, flatten, transposes
from .channelwise import Planes
from .family import KernelFamily

LIFT_TILE = (1, 2, 4)  # output lines that are computed together


class Lift(KernelFamily):
    """Lifting is a 1x1 max pool from row-major planes, where vectors of pixels are not transposed."""

    name = "lift"

    def covers(self, layer: Any) -> str:
        return "" if isinstance(layer, LiftOp) else "no lift"

    def plan(self, layer: LiftOp, core: Core) -> Planes | LaneGrid:
        target, (_, channels, *image) = lanes_of(layer.layout, layer), shape_of(layer.input)
        if transposes(target):
            return target
        return Planes.of(ChannelwiseKernel("max", Plain.of(image), target, channels), Window(ONES), LIFT_TILE)

    def emit(self, layer: LiftOp, plan: Planes | LaneGrid, calls: KernelCalls) -> list[Value]:
        if isinstance(plan, Planes):
            return plan.emit(layer, calls, [], [])
        batch, channels, *image = shape_of(layer.input)
        output = calls.allocate(layer.output)
        calls.call("lift", plan, [image_of(layer.input, Plain.of(image)), output], batch * channels, layer,
                   partial(emit_lift, grid=plan, channels=channels))
        return [calls.tensor(output, layer.output.type)]


class Unlift(KernelFamily):
    """Pixels by a table of places, where vectors of pixels are not transposed."""

    name = "unlift"

    def covers(self, layer: Any) -> str:
        return "" if isinstance(layer, UnliftOp) else "no unlift"

    def plan(self, layer: UnliftOp, core: Core) -> LaneGrid:
        return lanes_of(layer.layout, layer)

    def emit(self, layer: UnliftOp, plan: LaneGrid, calls: KernelCalls) -> list[Value]:
        batch, channels = shape_of(layer.output)[:2]
        output, tables = calls.allocate(layer.output), []
        if not transposes(plan):
            places = plan.places(*np.indices(plan.image)).reshape(-1).astype(np.int32)
            tables = [constant(places, "places")]
        calls.call("unlift", plan, [layer.input, flatten(output), *tables], batch * channels, layer,
                   partial(emit_unlift, grid=plan, channels=channels))
        return [calls.tensor(output, layer.output.type)]
