"""How far predicted times are from measured ones."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

FEWEST = 3  # layers, below which an order says nothing


def quality(pairs: Iterable[tuple[float | None, float | None]]) -> tuple[float, float] | None:
    """Spearman's rank correlation of (predicted, measured) times, and the median error as a share of what was
    measured; None for fewer than FEWEST layers that have both."""
    known = np.array([(a, b) for a, b in pairs if a is not None and b], float)
    if len(known) < FEWEST:
        return None
    predicted, measured = known.T
    orders = [ranks(values) for values in (predicted, measured)]
    if min(np.ptp(each) for each in orders) == 0:  # all alike: there is no order
        return None
    error = float(np.median(np.abs(predicted - measured) / measured))
    return float(np.corrcoef(orders[0], orders[1])[0, 1]), error


def prediction_line(pairs: Iterable[tuple[float | None, float | None]]) -> str:
    """One line on predictions for this machine; empty where there is nothing to compare."""
    from ..pipelines.records import calibrated
    from ..pipelines.target import Target

    return quality_line(pairs, calibrated(Target.host()))


def quality_line(pairs: Iterable[tuple[float | None, float | None]], calibrated: bool) -> str:
    """One line for the report; empty where there is nothing to compare."""
    found = quality(pairs)
    if found is None:
        return ""
    figures = "this machine's calibration" if calibrated else "documented figures (see espalier calibrate)"
    return (f"predicted against measured, by {figures}: rank correlation {found[0]:.2f}, median error "
            f"{found[1]:.0%}")


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value, the mean of its ranks where several are equal."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]
