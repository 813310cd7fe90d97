"""What a kernel family is: a micro-kernel, the layers that it takes, and what may be chosen for them.

    stores -> the layer's micro_kernel and storage                           sparse-schedule-layers
    covers -> candidates, judged by cost -> the layer's schedule             sparse-schedule-tiles
    plan (numpy) -> emit: code of the kernel, and its call                   sparse-lower-to-vector
    space: what a tuner may search                                           espalier tune
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from ....devices.cores import Core
from ....geometry.convolution import Convolution
from ....schedule.candidates import Space
from ....schedule.schedule import Schedule
from ....schemes import Scheme
from ..kernel_calls import KernelCalls, Value


class KernelFamily(ABC):
    """One micro-kernel of CPUs. It has no state: layers, schedules and plans are arguments."""

    name: ClassVar[str]  # the schedule's ``micro_kernel``

    @abstractmethod
    def covers(self, layer: Any) -> str:
        """Why this family does not take ``layer``, a packed op, pool or change of layout; empty where it
        does."""

    def stores(self, convolution: Convolution | None, scheme: Scheme, steps: bool) -> str | None:
        """The storage that weights of ``scheme`` have where this family is the one made for them, None where
        it is not. ``convolution``: None for a matrix; ``steps``: of a recurrent layer."""
        return None

    def candidates(self, layer: Any, schedule: Schedule, core: Core) -> list[Schedule]:
        """Complete schedules that obey ``schedule``, what is decided for ``layer`` so far: at least one.
        Raises ``PassError`` where ``schedule`` asks for what cannot be."""
        return [schedule]

    def cost(self, layer: Any, schedule: Schedule, core: Core) -> Callable[[Schedule], float]:
        """Predicted seconds of ``layer`` on ``core`` by each of the candidates for ``schedule``; to compare
        them, no more."""
        return lambda candidate: 0.0

    def space(self, layer: Any, schedule: Schedule, core: Core) -> Space | None:
        """What may be searched around ``schedule``, the layer's complete one: whatever the lowering compiles,
        more than the ``candidates``. None where there is nothing to choose."""
        return None

    @abstractmethod
    def plan(self, layer: Any, core: Core) -> Any:
        """What code and tables are made of, by the layer's complete schedule; numpy and values only."""

    @abstractmethod
    def emit(self, layer: Any, plan: Any, calls: KernelCalls) -> list[Value]:
        """Writes kernels, their calls and what they need at the insertion point; the results' values."""
