"""``sparse-set-target``: says on the module which machine it is compiled for.

    module {...}
    -> module attributes {sparse.target = #sparse.target<{core = "cortex-a76", lanes = 4 : i64}>} {...}
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from ..devices.cores import REFERENCE
from ..devices.device import Device
from ..dialect.schedules import set_device
from ..errors import EspalierError
from ..ir.mlir import ir
from ..passes import Pass, PassContext, option


@dataclass(frozen=True)
class SetTargetPass(Pass):
    """
    Writes the module attribute sparse.target, which every later pass reads; a module without it is for the
    reference core with 16 lanes.
    """

    name = "sparse-set-target"

    core: str = option(REFERENCE, "the kind of core whose costs and instructions shape the code")
    lanes: int = option(16, "f32 vector lanes (16: AVX-512, 8: AVX2, 4: NEON)")
    precision: Literal["fp32", "fp16"] = option("fp32", "what weights and tensors on lane grids are kept in")
    arithmetic: Literal["fp32", "fp16"] = option("fp32", "what convolutions and pools compute in")
    registers: int = option(0, "vector registers that code may use; 0: all of the core's")

    @staticmethod
    def of(device: Device) -> SetTargetPass:
        """The pass that writes ``device``."""
        return SetTargetPass(**asdict(device))

    def __post_init__(self) -> None:
        complaint = self._device.complaint()
        if complaint is not None:
            raise EspalierError(complaint)

    @property
    def _device(self) -> Device:
        return Device(self.core, self.lanes, self.precision, self.arithmetic, self.registers)

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            set_device(op, self._device)
