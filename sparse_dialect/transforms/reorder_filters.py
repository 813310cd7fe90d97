"""``sparse-reorder-filters``: filter kernel reorder (FKR; PatDNN, ASPLOS 2020), matrix reorder (GRIM).

    "sparse.conv"(...) {schedule = #sparse.schedule<{...}>}
    -> {schedule = #sparse.schedule<{filter_order = [0, 3, 1, 4, 2, 5], ...}>}

Filters of equal length become neighbours, and among them those that share most kernels. Only the storage
order changes: ``sparse-compress-weights`` writes it to the ``reorder`` array, and results go to their own
channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..dialect.ops import ConvOp
from ..dialect.schedules import schedule_of, set_schedule
from ..dialect.schemes import scheme_of
from ..geometry.convolution import Convolution
from ..ir.constants import weight_of
from ..ir.mlir import ir
from ..ir.walk import operations
from ..passes import Pass, PassContext, option
from ..schemes import Connectivity, Pattern, Scheme, SharedColumns, filter_order
from ..schemes.shared_columns import group_rows, matrix_of
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
                given = schedule_of(layer)
                found = None if given.filter_order else self._groups(scheme_of(layer), layer)
                if found is not None:
                    order = found.ravel()
                    given = given.filled(filters_per_group=found.shape[1])
                    set_schedule(layer, replace(given, filter_order=tuple(order.tolist())))
                    context.statistics["filters moved"] += int((order != np.arange(len(order))).sum())

    def _groups(self, scheme: Scheme, layer: ConvOp) -> np.ndarray | None:
        """The filters of ``layer`` as to be stored, [groups, filters that share columns], or None to leave
        them."""
        conv = Convolution.of(layer)
        if isinstance(scheme, SharedColumns):
            whole = ungrouped(weight_of(layer, layer.weight), conv.groups)
            found, wanted = scheme.filter_groups(whole), schedule_of(layer).filters_per_group
            return found if wanted in (None, found.shape[1]) else group_rows(matrix_of(whole), wanted)
        if isinstance(scheme, Pattern | Connectivity) and conv.kind == "plain":
            assigned = scheme.assign(weight_of(layer, layer.weight))
            return filter_order(assigned, self.by_similarity).reshape(-1, 1)
        return None
