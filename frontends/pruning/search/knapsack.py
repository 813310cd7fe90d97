"""A choice for each layer that costs least within a budget: the multiple-choice knapsack, solved exactly.

    minimise sum e[l, c] x[l, c]   with  sum_c x[l, c] = 1,  sum t[l, c] x[l, c] <= budget,  x in {0, 1}
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from ....sparse_dialect.errors import EspalierError

Rows = Sequence[Sequence[float]]  # a row a layer, a value a choice
TIE = 1e-4  # of choices that cost the same, those that prune less, as far as the budget goes


def choose(costs: Rows, times: Rows, budget: float) -> list[int]:
    """The number of each layer's choice; raises ``EspalierError`` where even the fastest take too long."""
    least = sum(min(row) for row in times)
    if least > budget:
        raise EspalierError(f"the fastest choices take {least:.4g} ms, above {budget:.4g} ms")
    sizes = [len(row) for row in costs]
    cost = np.concatenate([np.asarray(row, float) for row in costs])
    time = np.concatenate([np.asarray(row, float) for row in times])
    scale = max(float(np.abs(cost).max()), 1e-30)
    layer = np.repeat(np.arange(len(sizes)), sizes)
    one_each = csr_array((np.ones(len(cost)), (layer, np.arange(len(cost)))))
    solved = milp(cost / scale - TIE * time / max(float(time.max()), 1e-30),
                  constraints=[LinearConstraint(one_each, 1, 1),
                               LinearConstraint(time[None], -np.inf, budget)],
                  integrality=np.ones(len(cost)), bounds=Bounds(0, 1), options={"mip_rel_gap": 0.0})
    if solved.x is None:
        raise EspalierError(f"the knapsack has no solution: {solved.message}")
    parts = np.split(solved.x, np.cumsum(sizes)[:-1])
    return [int(part.argmax()) for part in parts]


def total(rows: Rows, picks: Sequence[int]) -> float:
    """The sum of the chosen values."""
    return float(sum(row[pick] for row, pick in zip(rows, picks, strict=True)))
