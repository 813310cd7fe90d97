"""``sparse-look-up-schedules``: the schedules that a tuner found, for the layers that its database knows.

    "sparse.conv"(...) {schedule = #sparse.schedule<{}>, ...}
    -> "sparse.conv"(...) {schedule = #sparse.schedule<{channel_block = 64 : i64}>, ...}

It runs twice: before ``sparse-schedule-layers`` for what decides how a weight is packed and laid out, before
``sparse-schedule-tiles`` for tiles, which depend on the lane grids around a layer. What a schedule says
already is obeyed; what the database does not know is left to the heuristic, and so is, with a warning, what
it knows but this compiler cannot do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..dialect.layer_keys import layer_key, tile_key
from ..dialect.network import network_device
from ..dialect.packed import PackedConvOp
from ..dialect.recurrent import WEIGHTED
from ..dialect.schedules import schedule_of, set_schedule
from ..ir.mlir import ir
from ..ir.walk import operations
from ..lowering.cpu.schedule_tiles import why_not_tile
from ..passes import Pass, PassContext, option
from ..schedule.database import Place, confirmed, pass_over
from ..schedule.possible import why_not
from .schedule_layers import layer_of


@dataclass(frozen=True)
class LookUpSchedulesPass(Pass):
    """
    Fills the schedules of layers that the tuner's database knows, as confirmed faster on this device.

    Without a database nothing changes. A damaged one, or of another version, is passed over with a warning,
    and so is an entry that is impossible.
    """

    name = "sparse-look-up-schedules"

    database: str = option("", "the tuner's SQLite file; empty: none")
    device: str = option("", "the machine that entries must have been measured on")
    threads: int = option(1, "the threads that they must have been measured on")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        known = confirmed(Path(self.database), Place(self.device, self.threads)) if self.database else {}
        if not known:
            return
        with op.context:
            device = network_device(op)
            for layer in operations(op, PackedConvOp, *WEIGHTED):
                packed = isinstance(layer, PackedConvOp)
                key = tile_key(layer) if packed else layer_key(layer)
                if key not in known:
                    continue
                schedule = known[key]
                reason = (why_not_tile(layer, schedule, device) if packed
                          else why_not(layer_of(layer), schedule, device))
                if reason:
                    pass_over(key, reason)
                    continue
                set_schedule(layer, schedule.changed(schedule_of(layer)))
                context.statistics["layers with a tuned schedule"] += 1
