"""Filter kernel reorder (FKR): which filters lie next to each other in storage (PatDNN, ASPLOS 2020)."""

from __future__ import annotations

import numpy as np


def filter_order(ids: np.ndarray, by_similarity: bool = True) -> np.ndarray:
    """The filters in storage order, i32 [F]; ``ids`` [F, C] holds each kernel's pattern, negative where it is
    cut.

    Filters of equal length (number of kept kernels) form a group, shortest first. Inside a group the next
    filter is the one that shares most kernels (same pattern at the same channel) with the last: neighbours
    then load the same inputs. Ties keep the original order, so the result is reproducible.
    """
    kept = ids >= 0
    lengths = np.count_nonzero(kept, axis=1)
    groups = (np.flatnonzero(lengths == length) for length in np.unique(lengths))
    ordered = [similarity_chain(group, ids[group]) if by_similarity else group for group in groups]
    return np.concatenate(ordered).astype(np.int32) if ordered else np.empty(0, np.int32)


def similarity_chain(group: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """``group`` [n] as a greedy nearest-neighbour chain that starts with its first member.

    ``ids`` [n, C]: what each member keeps, negative where nothing; near are those with most equal entries.
    """
    if len(group) < 3:
        return group
    shared = np.zeros((len(group), len(group)), np.float32)
    for pattern in np.unique(ids[ids >= 0]):  # by matrix products: a loop over pairs takes seconds
        here = (ids == pattern).astype(np.float32)
        shared += here @ here.T
    chain = np.zeros(len(group), np.intp)
    shared[:, 0] = -1
    for position in range(1, len(group)):
        chain[position] = int(shared[chain[position - 1]].argmax())
        shared[:, chain[position]] = -1
    return group[chain]
