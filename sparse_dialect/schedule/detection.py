"""Which scheme a mask follows; of those that fit, the one that the cost model runs fastest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from ..devices.device import Device
from ..errors import EspalierError
from ..schemes import SCHEMES, Dense, Empty, Scheme, SharedColumns
from ..schemes.nearest import nearest
from ..schemes.scheme import is_nonzero
from ..schemes.shared_columns import matrix_of, stored_weights
from ..storage.choice import matrix_storage
from .cost_model import convolution_ms, filters_per_group, matrix_ms, matrix_size

REFERENCE = Device()


class Detection(NamedTuple):
    """A layer's scheme, and why the structured schemes listed before it were passed over (empty for the
    first)."""

    scheme: Scheme
    reason: str


def explain_scheme(weight: np.ndarray, order: Sequence[str] = (), device: Device = REFERENCE,
                   inputs: int | None = 1) -> Detection:
    """The scheme that fits ``weight`` and runs fastest on ``device``, of those in ``order`` (default: all,
    structured first). ``inputs``: how many share a matrix, None where only the run knows.

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
    mask = is_nonzero(weight)
    found = {name: SCHEMES[name].find(mask) for name in names}
    fitting = {name: scheme for name, scheme in found.items() if not isinstance(scheme, str)}
    times = predicted_ms(fitting, mask, device, inputs)
    chosen = min(times, key=lambda name: times[name]) if times else None
    passed = names[: names.index(chosen)] if chosen else names
    reasons = [f"{name} fits, but is slower" if name in times else
               f"not {name}: {found[name]}" for name in passed if name != Empty.name]
    scheme = fitting[chosen] if chosen else None
    near = nearest(mask) if scheme is None or scheme.last_resort else ""
    return Detection(scheme or Dense(), "; ".join([near, *reasons] if near else reasons))


def detect_scheme(weight: np.ndarray, order: Sequence[str] = ()) -> Scheme:
    """The scheme that ``explain_scheme`` chooses."""
    return explain_scheme(weight, order).scheme


def predicted_ms(schemes: Mapping[str, Scheme], mask: np.ndarray, device: Device,
                 inputs: int | None) -> dict[str, float]:
    """Predicted time of a weight of ``mask`` in each of ``schemes``, a convolution's for one output place."""
    if mask.ndim > 2:
        filters, places = len(mask), prod(mask.shape[2:])
        return {name: convolution_ms(*_as_run(scheme, mask), device,
                                     filters_per_group(scheme, filters, places))
                for name, scheme in schemes.items()}
    storages = {name: matrix_storage(scheme, mask, device.lanes, device.costs, 1, inputs)
                for name, scheme in schemes.items()}
    known = {storage: matrix_ms(storage, mask.shape, matrix_size(storage, mask), inputs, device)
             for storage in set(storages.values())}  # most schemes share one
    return {name: known[storage] for name, storage in storages.items()}


def _as_run(scheme: Scheme, mask: np.ndarray) -> tuple[Scheme, int]:
    """A convolution's scheme as its filters are grouped, fewer than it allows maybe, and what is stored."""
    if not isinstance(scheme, SharedColumns):
        return scheme, scheme.multiply_adds(mask)
    groups = scheme.filter_groups(mask)
    return scheme.in_groups_of(groups.shape[1]), stored_weights(matrix_of(mask), groups)
