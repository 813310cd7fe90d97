"""``sparse-schedule-layers``: dense or sparse code for each layer and why, and how it runs.

    "sparse.conv"(...) {scheme = #sparse.pattern<...>, schedule = #sparse.schedule<{}>, ...}
    -> {schedule = #sparse.schedule<{micro_kernel = "kernel_classes", storage = "fkw", filters_per_group = 1,
                                     channel_block = 32}>,
        record = #sparse.record<{reason = "sparse: 12.3% of the multiply-adds, pays below 75.0%", ...}>}

A layer that gains nothing runs dense, whatever its zeros: never slower than dense, and the report says so.
What needs layouts (tiles, chunks) is added by ``sparse-schedule-tiles``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from ..dialect.network import network_device
from ..dialect.ops import ConvOp
from ..dialect.recurrent import WEIGHTED, gates_of, inputs_of
from ..dialect.schedules import record_of, schedule_of, set_record, set_schedule
from ..dialect.schemes import scheme_attribute, scheme_of
from ..errors import op_error
from ..geometry.convolution import Convolution
from ..ir.constants import weight_of
from ..ir.mlir import ir
from ..ir.walk import operations
from ..passes import Pass, PassContext, option
from ..schedule.families import natural
from ..schedule.heuristic import Choice, Heuristic, Layer, Scheduler
from ..schemes import Dense, Unstructured
from ..schemes.scheme import is_nonzero


@dataclass(frozen=True)
class ScheduleLayersPass(Pass):
    """
    Chooses dense or sparse code for every convolution, linear and recurrent layer by the cost model,
    and records the reason.

    A layer for which dense is chosen gets the scheme #sparse.dense. Also fills its schedule: micro_kernel,
    storage, filters_per_group (filters that share loaded inputs) and channel_block (channels that stay in
    cache together). What the schedule says already is obeyed.
    """

    name = "sparse-schedule-layers"

    kernel: Literal["auto", "dense", "sparse"] = option(
        "auto", "force dense or sparse code, or let the cost model choose")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            scheduler = Heuristic(network_device(op), self.kernel)
            for layer in operations(op, *WEIGHTED):
                _schedule(layer, scheduler, context)


def layer_of(op: Any) -> Layer:
    """What a scheduler is told of the layer ``op``, whose weight is not packed yet."""
    mask, scheme = is_nonzero(weight_of(op, op.weight)), scheme_of(op)
    if isinstance(op, ConvOp):
        return Layer(mask, scheme, Convolution.of(op), inputs=None)
    return Layer(mask, scheme, None, gates_of(op), inputs_of(op))


def _schedule(layer: Any, scheduler: Scheduler, context: PassContext) -> None:
    known = layer_of(layer)
    choice = scheduler.choose(known, schedule_of(layer))
    _check_given(layer, known, choice)
    record = record_of(layer)
    is_conv = known.convolution is not None
    irregular = isinstance(choice.scheme, Unstructured) and is_conv  # matrices have no kernels
    # Of a full weight nothing is to explain.
    unfit = isinstance(choice.scheme, Dense) and not known.mask.all()
    why = f" ({record.reason})" if record.reason and (irregular or unfit) else ""
    set_record(layer, replace(record, reason=choice.reason + why, detected=known.scheme.name))
    set_schedule(layer, choice.schedule)
    layer.operation.attributes["scheme"] = scheme_attribute(choice.scheme)
    context.statistics["dense layers" if isinstance(choice.scheme, Dense) else "sparse layers"] += 1


def _check_given(layer: Any, known: Layer, choice: Choice) -> None:
    """Raises ``PassError`` where a hand-written schedule is none for this layer."""
    for name in ("filters", "threads"):
        if getattr(choice.schedule, name) is not None:
            raise op_error(layer, "a schedule for a CPU", f"{name}, which a GPU's has", f"leave out {name}")
    for name, only in natural(known.convolution, choice.scheme, known.steps).items():
        found = getattr(choice.schedule, name)
        if found != only:
            raise op_error(layer, f"a schedule with {name} = \"{only}\" for a layer of scheme "
                           f"{choice.scheme.name}", f"\"{found}\"", f"correct or leave out {name}")
