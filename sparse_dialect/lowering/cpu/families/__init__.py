"""The kernel families of CPUs. A new one is a file here, and a line of ``schedule.families.FAMILIES``.

``family_of`` is how passes ask: by the schedule's ``micro_kernel``, or by the op where nothing is to choose.
"""

from __future__ import annotations

from typing import Any

from ....devices.cores import Core
from ....dialect.ops import LiftOp, UnliftOp
from ....dialect.schedules import schedule_of
from ....errors import op_error
from ....schedule.candidates import Space
from ....schedule.families import family_named
from .family import KernelFamily
from .layouts import Lift, Unlift

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
    family = family_named(name)
    why = family.covers(layer)
    if why:
        raise op_error(layer, f"a layer that the micro-kernel {name} takes", why,
                       "correct or leave out micro_kernel")
    return family


def space_of(layer: Any, core: Core) -> Space | None:
    """The schedules that a tuner may search for ``layer``, whose own is complete; None where there is nothing
    to choose."""
    return family_of(layer).space(layer, schedule_of(layer), core)
