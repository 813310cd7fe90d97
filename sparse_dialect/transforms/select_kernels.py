"""``sparse-select-kernels``: dense or sparse code for each layer, and why.

    "sparse.conv"(...) {scheme = #sparse.pattern<...>}
    -> {kernel = "sparse", reason = "12.3 % of the multiply-adds, pays below 75.0 %", filters_per_group = 1,
        channel_block = 32}

A layer that gains nothing runs dense, whatever its zeros: never slower than dense, and the report says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np

from ..devices.cores import REFERENCE, Core, core_named
from ..dialect.ops import ConvOp
from ..dialect.recurrent import WEIGHTED
from ..dialect.schemes import scheme_attribute, scheme_of
from ..geometry.convolution import Convolution
from ..ir.constants import weight_of
from ..ir.mlir import ir
from ..ir.values import i64
from ..ir.walk import operations
from ..passes import Pass, PassContext, option
from ..schedule.cost_model import (
    channel_block,
    convolution_ms,
    filters_per_group,
    linear_ms,
    shared_channel_block,
    shorter_block,
)
from ..schemes import Dense, Scheme, SharedColumns, Unstructured
from ..storage.column_groups import ungrouped


@dataclass(frozen=True)
class SelectKernelsPass(Pass):
    """
    Chooses dense or sparse code for every convolution, linear and recurrent layer by the cost model,
    and records the reason.

    A layer for which dense is chosen gets the scheme #sparse.dense. Also sets what the kernels are
    specialised by: filters_per_group (filters that share loaded inputs) and channel_block (channels that
    stay in cache together).
    """

    name = "sparse-select-kernels"

    kernel: Literal["auto", "dense", "sparse"] = option(
        "auto", "force dense or sparse code, or let the cost model choose")

    core: str = option(REFERENCE, "the core that channel blocks are chosen for")
    longest_sum: int = option(
        0, "products that a convolution adds up before its sums start anew, in the next channel block (0: "
           "any number); f16 sums lose digits as they grow")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            for layer in operations(op, *WEIGHTED):
                self._select(layer, context)

    def _select(self, layer: Any, context: PassContext) -> None:
        core = core_named(self.core)
        weight, scheme = weight_of(layer, layer.weight), scheme_of(layer)
        chosen: Scheme
        if isinstance(layer, ConvOp) and Convolution.of(layer).kind == "depthwise":
            chosen, reason = Dense(), "dense: depthwise, a filter has one kernel"  # nothing to skip but taps
        else:
            chosen, reason = self._choose(scheme, weight, not isinstance(layer, ConvOp))
        attributes = layer.operation.attributes
        known = ir.StringAttr(attributes["reason"]).value if "reason" in attributes else ""
        irregular = isinstance(chosen, Unstructured) and isinstance(layer, ConvOp)  # matrices have no kernels
        unfit = isinstance(chosen, Dense) and not weight.all()  # of a full weight there is nothing to explain
        shown = f"{reason} ({known})" if known and (irregular or unfit) else reason
        attributes["reason"] = ir.StringAttr.get(shown)
        attributes["detected"] = ir.StringAttr.get(scheme.name)
        attributes["kernel"] = ir.StringAttr.get("dense" if isinstance(chosen, Dense) else "sparse")
        attributes["scheme"] = scheme_attribute(chosen)
        context.statistics["dense layers" if isinstance(chosen, Dense) else "sparse layers"] += 1
        if isinstance(layer, ConvOp):
            group, block = _group_and_block(layer, chosen, weight, core)
            if self.longest_sum and not isinstance(chosen, SharedColumns):  # whose blocks are short anyway
                kept = prod(weight.shape[2:]) * chosen.multiply_adds(weight) / weight.size
                block = shorter_block(block, kept, self.longest_sum)
            attributes["filters_per_group"] = i64(group)
            attributes["channel_block"] = i64(block)

    def _choose(self, scheme: Scheme, weight: np.ndarray, linear: bool) -> tuple[Scheme, str]:
        """The scheme to run with, and the reason in one clause."""
        if isinstance(scheme, Dense):
            return scheme, "dense: no weight is zero" if weight.all() else "dense: nothing to gain"
        predict = linear_ms if linear else convolution_ms
        stored = scheme.multiply_adds(weight)
        share, limit = stored / weight.size, predict(Dense(), weight.size) / predict(scheme, weight.size)
        facts = f"{share:.1%} of the multiply-adds, pays below {limit:.1%}"
        if self.kernel == "dense" or (self.kernel == "auto" and share >= limit):
            return Dense(), f"dense: {'asked for' if self.kernel == 'dense' else facts}"
        return scheme, f"sparse: {'asked for' if self.kernel == 'sparse' else facts}"


def _group_and_block(conv: ConvOp, scheme: Scheme, weight: np.ndarray, core: Core) -> tuple[int, int]:
    """Filters that share loaded inputs, and channels that stay in cache together."""
    shape = Convolution.of(conv)
    if isinstance(scheme, SharedColumns):
        whole = ungrouped(weight, shape.groups)
        size = scheme.filter_groups(whole).shape[1]
        kept = scheme.multiply_adds(weight) / whole[0].size / len(weight)
        return size, shared_channel_block(whole.shape[1], prod(weight.shape[2:]), kept,
                                          scheme.channels_together)
    if shape.kind != "plain":
        return 1, shape.channels
    return (filters_per_group(scheme, shape.filters, prod(shape.kernel)),
            channel_block(scheme, shape.channels, shape.kernel, prod(shape.target), core))
