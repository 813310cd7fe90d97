"""``sparse-schedule-gpu-layers``: dense or sparse kernels for each layer, and why.

    "sparse.conv"(...) {scheme = #sparse.unstructured, ...}
    -> {scheme = #sparse.dense,
        record = #sparse.record<{reason = "dense: the sparse kernel is estimated at 131.2% of ...", ...}>}

The work of a convolution is its multiply-adds and what they load; of a matrix, the bytes that stream by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ...dialect.ops import ConvOp
from ...dialect.recurrent import WEIGHTED
from ...dialect.schedules import record_of, set_record
from ...dialect.schemes import scheme_attribute, scheme_of
from ...ir.constants import weight_of
from ...ir.mlir import ir
from ...ir.values import shape_of
from ...ir.walk import operations
from ...passes import Pass, PassContext, option
from ...schemes import Dense, Scheme, SharedColumns
from ...schemes.kernels import SingleWeights
from .assignment import three
from .layout import LANES, Rows
from .profiles import Profile, profile_named
from .stored_kernels import Geometry, stored_kernels
from .tiling import choose_tile, layer_cost

WORTH = 0.95  # of the dense kernel's work, from which on nothing is gained
INDEX_BYTES = 4
SINGLE_WEIGHTS = 0.25  # of a convolution's: each loads its own pixels, so more cannot pay


@dataclass(frozen=True)
class ScheduleGpuLayersPass(Pass):
    """
    Chooses dense or sparse kernels for every convolution, linear and recurrent layer, and records the reason.

    A layer for which dense is chosen gets the scheme #sparse.dense: never slower than dense by our estimate,
    whatever its zeros.
    """

    name = "sparse-schedule-gpu-layers"

    kernel: Literal["auto", "dense", "sparse"] = option(
        "auto", "force dense or sparse kernels, or let the estimate choose"
    )
    profile: Literal["generic", "adreno", "adreno6", "mali"] = option(
        "generic", "the GPU whose registers decide how much a thread computes"
    )

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            for layer in operations(op, *WEIGHTED):
                scheme, record = scheme_of(layer), record_of(layer)
                dense, reason = self._choose(layer, scheme)
                why = f" ({record.reason})" if record.reason and isinstance(scheme, Dense) else ""
                set_record(layer, replace(record, reason=reason + why, detected=scheme.name))
                if dense:
                    layer.operation.attributes["scheme"] = scheme_attribute(Dense())
                context.statistics["dense layers" if dense else "sparse layers"] += 1

    def _choose(self, layer: Any, scheme: Scheme) -> tuple[bool, str]:
        """Whether the layer runs dense, and why."""
        if isinstance(scheme, Dense):
            return True, "dense: no scheme fits its zeros"
        if self.kernel != "auto":
            return self.kernel == "dense", f"{self.kernel}: forced"
        weight = weight_of(layer, layer.weight)
        kept = scheme.multiply_adds(weight) / weight.size
        most = SINGLE_WEIGHTS if isinstance(scheme, SingleWeights) and isinstance(layer, ConvOp) else WORTH
        if kept >= most:
            return True, f"dense: {kept:.1%} of the multiply-adds are left, which pays below {most:.1%}"
        share = (
            _convolution(layer, scheme, weight, profile_named(self.profile))
            if isinstance(layer, ConvOp)
            else _matrix(scheme, weight)
        )
        text = f"the sparse kernel is estimated at {share:.1%} of the dense one's work"
        dense = share >= WORTH
        return dense, f"{'dense' if dense else 'sparse'}: {text}"


def _convolution(layer: Any, scheme: Scheme, weight: np.ndarray, profile: Profile) -> float:
    """The sparse kernel's work as a share of the dense one's."""
    source, target = _rows(layer.input), _rows(layer.output)
    groups = ir.IntegerAttr(layer.groups).value
    where = Geometry(groups, three(layer.dilations, 1), three(layer.padding_low, 0), source.plane,
                     source.slice, source.pitch)
    stride, batch = three(layer.strides, 1), shape_of(layer.output)[0]

    def work(own: Scheme, values: np.ndarray, sums: int) -> float:
        stored = stored_kernels(own, values, where, profile.dense_filters)
        return layer_cost(stored, choose_tile(stored, target, batch, stride, sums), stride)

    # all channels of a dense layer cost alike
    dense = weight.shape[1] * work(Dense(), weight[:, :1], profile.dense)
    return work(scheme, weight, profile.accumulators) / dense


def _rows(value: ir.Value) -> Rows:
    """An image without margins, which change no work."""
    batch, channels, *image = shape_of(value)
    depth, height, width = [1, 1, *image][-3:]
    return Rows(batch * channels, depth, height, width, 0)


def _matrix(scheme: Scheme, weight: np.ndarray) -> float:
    """The bytes that the sparse kernel reads as a share of the dense one's."""
    together = LANES if isinstance(scheme, SharedColumns) else 1
    stored = scheme.multiply_adds(weight)
    return stored * (4 + INDEX_BYTES / together) / weight.nbytes
