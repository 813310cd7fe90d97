"""What is tuned, and who works on it: as the command line says it, before anything is compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..compiled import Source

if TYPE_CHECKING:
    from ...pipelines.target import Target
    from ...sparse_dialect.schedule.database import Place

# By kind of device what it can measure, the first by itself. All but the host need a --target.
DEVICES = {"host": ("time",), "qemu": ("instructions", "static-cycles"), "adb": ("time",), "ssh": ("time",),
           "local": ("time",)}


@dataclass(frozen=True)
class Job:
    """What is tuned: ``source`` for the machine ``target`` and ``cpu`` (empty: the one that works on it), by
    ``objective`` on so many ``threads``."""

    source: Source
    target: str
    cpu: str
    objective: str
    threads: int

    @property
    def made_for(self) -> Target:
        """The machine; ``EspalierError`` where there is none of that name."""
        from ...pipelines.target import Target

        return Target.cross(self.target, self.cpu) if self.target else Target.host()

    @property
    def place(self) -> Place:
        """What measurements are kept under."""
        from ...sparse_dialect.schedule.database import Place

        return Place(self.made_for.machine, self.threads)


@dataclass(frozen=True)
class Crew:
    """Who works: ``devices``, or ``count`` workers on the only one of them (0: as many as there are
    machines); on the cluster ``ray`` (an address), or from this process (empty)."""

    devices: tuple[str, ...]
    count: int = 0
    ray: str = ""
