"""``sparse-reorder-filters``: filter kernel reorder (FKR; PatDNN, ASPLOS 2020), matrix reorder (GRIM).

    "sparse.conv"(...) {kernel = "sparse"}  ->  {filter_order = array<i32: 0, 3, 1, 4, 2, 5>}

Filters of equal length become neighbours, and among them those that share most kernels. Only the storage
order changes: ``sparse-compress-weights`` writes it to the ``reorder`` array, and results go to their own
channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..dialect.ops import ConvOp
from ..dialect.schemes import scheme_of
from ..geometry.convolution import Convolution
from ..ir.constants import weight_of
from ..ir.mlir import ir
from ..ir.values import i64
from ..ir.walk import operations
from ..passes import Pass, PassContext, option
from ..schemes import Connectivity, Pattern, Scheme, SharedColumns, filter_order
from ..storage.column_groups import ungrouped


@dataclass(frozen=True)
class ReorderFiltersPass(Pass):
    """
    Orders the filters of every sparse.conv that runs sparse: by length, inside a length by similarity.

    Length is a filter's number of kept kernels; similar filters have most kernels of one pattern at one
    channel. Where filters share columns (bcr, kgs) they are grouped by the set of columns that
    they keep; a group with too few repeats its last filter.
    """

    name = "sparse-reorder-filters"

    by_similarity: bool = option(True,
                                 "inside a length, put filters that share most kernels next to each other")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            for layer in operations(op, ConvOp):
                order = self._order(scheme_of(layer), layer)
                if order is not None:
                    layer.operation.attributes["filter_order"] = ir.DenseI32ArrayAttr.get(
                        [int(f) for f in order])
                    context.statistics["filters moved"] += int((order != np.arange(len(order))).sum())

    def _order(self, scheme: Scheme, layer: ConvOp) -> np.ndarray | None:
        """The filters of ``layer`` as to be stored, or None to leave them."""
        conv = Convolution.of(layer)
        if isinstance(scheme, SharedColumns):
            found = scheme.filter_groups(ungrouped(weight_of(layer, layer.weight), conv.groups))
            layer.operation.attributes["filters_per_group"] = i64(found.shape[1])
            return found.ravel()
        if isinstance(scheme, Pattern | Connectivity) and conv.kind == "plain":
            return filter_order(scheme.assign(weight_of(layer, layer.weight)), self.by_similarity)
        return None
