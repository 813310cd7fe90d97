"""A backend as a value: the stages that a model goes through, and what its code is at the end.

    Stage("sparse", (inline, ..., sparse-schedule-tiles), hook=Records.read_layers), Stage("vector", ...), ...

All stages together are a named pipeline of espalier-opt (``named.py``), with the options that the user chose;
the machine rides on the module. Between stages hooks read off the IR what the report shows; they change
nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ..sparse_dialect.devices.device import Device
from ..sparse_dialect.ir.mlir import ir
from ..sparse_dialect.passes import Pass
from .options import check_fields
from .parser import parse_items
from .pipeline import Item, PassItem
from .records import Records
from .target import VULKAN, Target

Hook = Callable[[Records, ir.Operation], None]


@dataclass(frozen=True)
class CompileOptions:
    """``sparse=False`` runs every layer dense, ``"always"`` none that has a scheme, whether that pays or not
    (for tests); ``eliminate_redundant_loads=False`` keeps a load for every multiply; ``check=False`` hands
    code out that was not compared with PyTorch's recorded output; with ``kernels`` only the first so many
    layers run by micro-kernels, the others by the reference.
    ``database``: the tuner's file, None for the user's where there is one, empty for none; it is for layers
    that run as they pay, ``sparse=True``."""

    sparse: bool | Literal["always"] = True
    eliminate_redundant_loads: bool = True
    check: bool = True
    kernels: int | None = None
    database: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Stage:
    """Passes with a name, which ``--dump-stages`` and ``--emit`` use; ``hook`` reads what they leave."""

    name: str
    items: tuple[Item, ...]
    hook: Hook | None = None

    @staticmethod
    def of(name: str, elements: Sequence[str], *options: Pass, hook: Hook | None = None) -> Stage:
        """The stage of pipeline elements, in which each pass of ``options`` replaces its namesake."""
        given = {value.name: PassItem(value) for value in options}
        items = parse_items(",".join(elements))
        missing = given.keys() - {item.name for item in items}
        if missing:
            raise ValueError(f"stage {name} has no {', '.join(sorted(missing))}")
        return Stage(name, tuple(given.get(item.name, item) for item in items), hook)


@dataclass(frozen=True)
class Made:
    """A model's code and weights (u8), what both must be of, and what the code needs, ``entry.SIZES``."""

    code: bytes
    weights: np.ndarray
    fingerprint: str
    sizes: dict[str, int]


class Backend(ABC):
    """One kind of machine."""

    name: ClassVar[str]
    pipeline: ClassVar[str]  # the named pipeline that the stages are, where no option is set
    free_steps: ClassVar[bool] = False  # whether the number of time steps may be decided by a run

    def database(self, options: CompileOptions) -> str:
        """The tuner's file that the stages take schedules from; empty for none."""
        return ""

    def device(self, target: Target) -> Device | None:
        """The machine as passes see it; it rides on the module."""
        return None

    @abstractmethod
    def stages(self, target: Target, options: CompileOptions) -> tuple[Stage, ...]:
        """What ``root`` goes through; raises ``EspalierError`` for options that the backend has not."""

    @abstractmethod
    def make(self, root: ir.Operation, target: Target) -> Made:
        """The code that the last stage left."""


def backend_for(target: Target) -> Backend:
    """The backend that makes code for ``target``."""
    if target.triple == VULKAN:
        from .vulkan import VulkanBackend

        return VulkanBackend()
    from .cpu import CpuBackend

    return CpuBackend()
