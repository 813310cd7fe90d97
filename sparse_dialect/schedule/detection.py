"""Which scheme a mask follows; of those that fit, the one that the cost model runs fastest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import EspalierError
from ..schemes import SCHEMES, Dense, Scheme, SharedColumns
from ..schemes.shared_columns import matrix_of, stored_weights
from .cost_model import convolution_ms, linear_ms


class Detection(NamedTuple):
    """A layer's scheme, and why the structured schemes listed before it were passed over (empty for the
    first)."""

    scheme: Scheme
    reason: str


def explain_scheme(weight: np.ndarray, order: Sequence[str] = ()) -> Detection:
    """The scheme that fits ``weight`` and runs fastest, of those in ``order`` (default: all, structured
    first).

    Dense only where nothing else fits, whatever ``order`` says; of equals the first. Raises
    ``EspalierError`` for an unknown name or a weight below rank 2.
    """
    if weight.ndim < 2:
        raise EspalierError(f"a weight needs 2 dimensions [filters, channels] or more, found {weight.ndim}")
    unknown = [name for name in order if name not in SCHEMES]
    if unknown:
        raise EspalierError(f"unknown scheme '{unknown[0]}': expected one of {', '.join(SCHEMES)}")
    known = order or sorted(SCHEMES, key=lambda name: SCHEMES[name].last_resort)
    names = [name for name in dict.fromkeys(known) if name != Dense.name]
    found = {name: SCHEMES[name].detect(weight) for name in names}
    times = {name: predicted_ms(scheme, weight) for name, scheme in found.items() if scheme is not None}
    chosen = min(times, key=lambda name: times[name]) if times else None
    passed = names[: names.index(chosen)] if chosen else names
    reasons = [f"{name} fits, but is slower" if name in times else
               f"not {name}: {SCHEMES[name].why_not(weight)}" for name in passed]
    scheme = found[chosen] if chosen else None
    return Detection(scheme or Dense(), "; ".join(reasons))


def detect_scheme(weight: np.ndarray, order: Sequence[str] = ()) -> Scheme:
    """The scheme that ``explain_scheme`` chooses."""
    return explain_scheme(weight, order).scheme


def predicted_ms(scheme: Scheme, weight: np.ndarray) -> float:
    """Predicted time of ``weight`` in ``scheme``, a convolution's for one output place."""
    if weight.ndim == 2:
        return linear_ms(scheme, scheme.multiply_adds(weight))
    if not isinstance(scheme, SharedColumns):
        return convolution_ms(scheme, scheme.multiply_adds(weight))
    groups = scheme.filter_groups(weight)  # fewer filters may share columns than the scheme allows
    return convolution_ms(scheme.in_groups_of(groups.shape[1]), stored_weights(matrix_of(weight), groups))
