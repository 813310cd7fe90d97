"""``sparse-detect-schemes``: looks at the zeros of every layer and attaches the scheme that they follow.

    "sparse.conv"(%x, %w) {scheme = #sparse.undetected, ...}
    -> "sparse.conv"(%x, %w) {scheme = #sparse.pattern<[3, 3], [[0, 1, 3, 4], ...]>, reason = "", ...}

The mask is reproduced exactly, whatever it is: what fits no structured scheme becomes unstructured or
dense, and ``reason`` says why.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..devices.device import Device
from ..dialect.network import network_device
from ..dialect.recurrent import WEIGHTED, inputs_of
from ..dialect.schedules import record_of, set_record
from ..dialect.schemes import UndetectedAttr, scheme_attribute
from ..errors import op_error
from ..ir.constants import weight_of
from ..ir.mlir import ir
from ..ir.walk import operations
from ..passes import Pass, PassContext
from ..schedule.detection import Detection, explain_scheme

THREADS = min(4, os.cpu_count() or 1)  # numpy lets go of the interpreter's lock; each takes memory


@dataclass(frozen=True)
class DetectSchemesPass(Pass):
    """
    Replaces #sparse.undetected on every layer by the scheme that the weight's zeros follow.

    Of all schemes that fit it takes the one that runs fastest by the cost model, dense where none fits.
    `reason` records why those tried before the chosen one (the most structured first) were passed over. A
    layer that already carries a scheme is left alone. NaN and infinite weights are errors.
    """

    name = "sparse-detect-schemes"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            device = network_device(op)
            layers = [layer for layer in operations(op, *WEIGHTED)
                      if isinstance(layer.scheme, UndetectedAttr)]
            with ThreadPoolExecutor(THREADS) as pool:
                found = list(pool.map(lambda layer: _detected(layer, device), layers))
            for layer, (scheme, reason) in zip(layers, found, strict=True):
                layer.operation.attributes["scheme"] = scheme_attribute(scheme)
                set_record(layer, replace(record_of(layer), reason=reason))
                context.statistics[f"{scheme.name} layers"] += 1


def _detected(layer: Any, device: Device) -> Detection:
    weight = weight_of(layer, layer.weight)
    if not np.isfinite([weight.min(initial=0), weight.max(initial=0)]).all():
        found = "NaN" if np.isnan(weight).any() else "infinity"
        raise op_error(layer, "finite weights", found, "repair the weights before compiling")
    return explain_scheme(weight, (), device, None if weight.ndim > 2 else inputs_of(layer))
