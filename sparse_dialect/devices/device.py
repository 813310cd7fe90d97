"""The machine that code is made for, as passes see it: the value behind ``#sparse.target<{...}>``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .cores import CORES, REFERENCE, Core, core_named

PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class Device:
    """
    A CPU: its ``core``, a key of ``CORES``, and ``lanes``, f32 elements of a vector.

    ``precision``: what weights, and tensors on lane grids, are kept in; ``arithmetic``: what convolutions and
    pools compute in. ``registers``: vector registers that code may use, 0 for all of the core's.

    It rides on the module, ``sparse.target = #sparse.target<{lanes = 4 : i64, core = "cortex-a76"}>``;
    a module without it is for the reference core.
    """

    core: str = REFERENCE
    lanes: int = 16
    precision: str = "fp32"
    arithmetic: str = "fp32"
    registers: int = 0

    @property
    def weights(self) -> int:
        """Bytes of the weights of the network that runs (``NetworkDevice``); 0: only a layer is known."""
        return 0

    @property
    def costs(self) -> Core:
        """What shapes the code, and whether f16 is widened as it is loaded."""
        core = core_named(self.core)
        return replace(core, widens=self.precision == "fp16" and self.arithmetic == "fp32",
                       registers=self.registers or core.registers)

    @property
    def grid_lanes(self) -> int:
        """Elements of a lane grid's vectors in registers."""
        return self.lanes * (2 if self.arithmetic == "fp16" else 1)

    def complaint(self) -> str | None:
        """What no machine can be."""
        if self.core not in CORES:
            return f"expected core to be one of {', '.join(CORES)}, found '{self.core}'"
        if self.lanes < 1 or self.lanes & (self.lanes - 1):
            return f"expected lanes to be a power of two, found {self.lanes}"
        if self.registers < 0:
            return f"expected registers of 0 or more, found {self.registers}"
        for name in ("precision", "arithmetic"):
            if getattr(self, name) not in PRECISIONS:
                return f"expected {name} to be one of {', '.join(PRECISIONS)}, found '{getattr(self, name)}'"
        if (self.precision, self.arithmetic) == ("fp32", "fp16"):
            return "expected precision fp16 where arithmetic is fp16, found fp32"
        return None


@dataclass(frozen=True)
class NetworkDevice(Device):
    """A device and the ``weights`` of all layers of the network that it runs, in bytes, dense, in fp32: they
    tell what stays in cache from one run to the next."""

    weights: int = 0
