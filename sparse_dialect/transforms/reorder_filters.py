"""``sparse-reorder-filters``: filter kernel reorder (FKR; PatDNN, ASPLOS 2020).

    "sparse.conv"(...) {kernel = "sparse"}  ->  {filter_order = array<i32: 0, 3, 1, 4, 2, 5>}

Filters of equal length become neighbours, and among them those that share most kernels. Only the storage
order changes: ``sparse-compress-weights`` writes it to the ``reorder`` array, and results go to their own
channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..attributes import scheme_of
from ..constants import weight_of
from ..dialect import ConvOp
from ..mlir import ir
from ..passes import Pass, PassContext, operations, option
from ..schemes import Connectivity, Pattern, filter_order


@dataclass(frozen=True)
class ReorderFiltersPass(Pass):
    """
    Orders the filters of every sparse.conv that runs sparse: by length, inside a length by similarity.

    Length is a filter's number of kept kernels; similar filters have most kernels of one pattern at one
    channel.
    """

    name = "sparse-reorder-filters"

    by_similarity: bool = option(True,
                                 "inside a length, put filters that share most kernels next to each other")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            for layer in operations(op, ConvOp):
                scheme = scheme_of(layer)
                if isinstance(scheme, Pattern | Connectivity) and ir.IntegerAttr(layer.groups).value == 1:
                    ids = scheme.assign(weight_of(layer, layer.weight))
                    order = filter_order(ids, self.by_similarity)
                    layer.operation.attributes["filter_order"] = ir.DenseI32ArrayAttr.get(
                        [int(f) for f in order])
                    context.statistics["filters moved"] += int((order != np.arange(len(order))).sum())
