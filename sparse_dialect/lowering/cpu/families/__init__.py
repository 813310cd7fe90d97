"""The kernel families of CPUs. A new one is a file here, a line below, and its name in
``schedule.MICRO_KERNELS``.

``family_of`` is how passes ask: by the schedule's ``micro_kernel``, or by the op where nothing is to choose.
"""

from __future__ import annotations

from typing import Any

from ....dialect.ops import LiftOp, UnliftOp
from ....dialect.schedules import schedule_of
from ....errors import op_error
from .channelwise import Depthwise, FusedDepthwise, Pools
from .convolutions import KernelClasses, SharedColumnGroups
from .family import KernelFamily
from .layouts import Lift, Unlift
from .matrices import DenseRowsFamily, Recurrent, SellFamily

FAMILIES: dict[str, KernelFamily] = {family.name: family for family in (
    KernelClasses(), SharedColumnGroups(), Depthwise(), FusedDepthwise(), DenseRowsFamily(), SellFamily(),
    Recurrent(), Pools())}
LAYOUTS: dict[type, KernelFamily] = {LiftOp: Lift(), UnliftOp: Unlift()}


def family_of(layer: Any) -> KernelFamily:
    """The family that makes code of ``layer``, a packed op, pool or change of layout; raises ``PassError``
    where its schedule names none, or one that does not take it."""
    if type(layer) in LAYOUTS:
        return LAYOUTS[type(layer)]
    name = schedule_of(layer).micro_kernel
    if name is None:
        raise op_error(layer, "a complete schedule", "none for micro_kernel",
                       "run sparse-schedule-tiles first")
    why = FAMILIES[name].covers(layer)
    if why:
        raise op_error(layer, f"a layer that the micro-kernel {name} takes", why,
                       "correct or leave out micro_kernel")
    return FAMILIES[name]
