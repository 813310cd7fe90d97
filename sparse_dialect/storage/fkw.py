"""FKW (filter, kernel, weight) storage of PatDNN, shared by every scheme whose kernels follow a pattern
library.

    offset  [F + 1]        i32   start of each stored filter, in kernels
    reorder [F]            i32   original filter of each stored filter
    index   [K]            i16   input channel of each kept kernel (uint16 bits, so up to 65535 channels)
    stride  [F, P + 1]     i16   kernels before each pattern inside the filter (uint16 bits), from 0
    weight  [K, entries]   f32   values at the pattern's places, row-major

Inside a filter, kernels are sorted by pattern, then channel (Niu et al., ASPLOS 2020, figure on FKW;
papers.md 1.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import EspalierError
from ..schemes.scheme import Cost, is_nonzero, largest

Library = tuple[tuple[int, ...], ...]
MAX_CHANNELS = 65535


def kernels_of(weight: np.ndarray) -> np.ndarray:
    """A convolution weight [F, C, *kernel] as [F, C, places], without a copy."""
    return weight.reshape(*weight.shape[:2], -1)


def pack_fkw(weight: np.ndarray, ids: np.ndarray, library: Library,
             order: np.ndarray | None) -> dict[str, np.ndarray]:
    """The five arrays of ``weight`` [F, C, *kernel]; ``ids`` [F, C]: each kernel's pattern, -1 where cut."""
    filters, channels = ids.shape
    if channels > MAX_CHANNELS:
        raise EspalierError(f"FKW indexes at most {MAX_CHANNELS} input channels, found {channels}")
    order = checked_order(order, filters)
    rows, columns = np.nonzero(ids[order] >= 0)
    pattern = ids[order[rows], columns]
    by_pattern = np.lexsort((columns, pattern, rows))
    rows, columns, pattern = rows[by_pattern], columns[by_pattern], pattern[by_pattern]

    counts = np.bincount(rows * len(library) + pattern, minlength=filters * len(library)).reshape(filters, -1)
    stride = np.zeros((filters, len(library) + 1), np.int64)
    np.cumsum(counts, axis=1, out=stride[:, 1:])
    offset = np.zeros(filters + 1, np.int32)
    np.cumsum(stride[:, -1], out=offset[1:])

    places = np.array(library, np.intp)
    values = kernels_of(weight)[order[rows][:, None], columns[:, None], places[pattern]]
    return {"offset": offset, "reorder": order.astype(np.int32), "index": _as_i16(columns),
            "stride": _as_i16(stride), "weight": np.ascontiguousarray(values, np.float32)}


def unpack_fkw(arrays: Mapping[str, np.ndarray], shape: Sequence[int], library: Library) -> np.ndarray:
    """The dense float32 weight of ``shape`` [F, C, *kernel] behind the five arrays."""
    dense = np.zeros(tuple(shape), np.float32)
    kernels = kernels_of(dense)
    rows = np.repeat(arrays["reorder"], np.diff(arrays["offset"]))
    runs = np.diff(_from_i16(arrays["stride"]), axis=1)
    pattern = np.repeat(np.tile(np.arange(len(library)), len(runs)), runs.ravel())
    places = np.array(library, np.intp)
    kernels[rows[:, None], _from_i16(arrays["index"])[:, None], places[pattern]] = arrays["weight"]
    return dense


def fkw_cost(weight: np.ndarray, library: Library) -> Cost:
    """The cost of ``weight`` in FKW with ``library``; every kept kernel stores all entries of its pattern."""
    mask = is_nonzero(kernels_of(weight))
    filters, kept = len(mask), int(np.count_nonzero(mask.any(axis=2)))
    stored = kept * len(library[0])
    index_bytes = 4 * (filters + 1) + 4 * filters + 2 * kept + 2 * filters * (len(library) + 1)
    return Cost(stored, int(np.count_nonzero(mask)), 4 * stored, index_bytes, 4 * weight.size)


def common_count(kept: np.ndarray) -> int:
    """The most frequent positive count in ``kept`` (of equals the larger): what a kernel keeps by design."""
    histogram = np.bincount(kept.ravel())
    histogram[0] = 0
    return int(len(histogram) - 1 - np.argmax(histogram[::-1]))


def checked_order(order: np.ndarray | None, filters: int) -> np.ndarray:
    """``order`` as an index array, or the identity; raises ``EspalierError`` unless it is a permutation."""
    if order is None:
        return np.arange(filters)
    order = np.asarray(order, np.intp)
    if order.shape != (filters,) or not np.array_equal(np.sort(order), np.arange(filters)):
        raise EspalierError(f"expected a permutation of {filters} filters, found {order.size} entries")
    return order


def keep_kernels(norms: np.ndarray, rate: float, balance: str) -> np.ndarray:
    """Mask of the kernels that stay: one in ``rate`` of ``norms`` [F, C], the largest ones, at least one.

    ``balance``: ``layer`` ranks all kernels together (PatDNN), ``filter`` keeps equally many in each filter
    (PCONV).
    """
    if rate < 1:
        raise EspalierError(f"connectivity keeps one kernel in `rate`: expected at least 1, found {rate:g}")
    if balance == "layer":
        return largest(norms, max(1, round(norms.size / rate)))
    if balance == "filter":
        keep = max(1, round(norms.shape[1] / rate))
        return np.stack([largest(row, keep) for row in norms])
    raise EspalierError(f"unknown balance '{balance}': expected layer or filter")


def _as_i16(values: np.ndarray) -> np.ndarray:
    return values.astype(np.uint16).view(np.int16)


def _from_i16(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.uint16).astype(np.intp)
