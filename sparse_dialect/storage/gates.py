"""The order in which recurrent layers store the rows of their gates.

A step computes ``lanes`` hidden units at a time and needs all their gates at once, so the rows of a group
of units lie together, gate by gate: PyTorch's [r; z; n] of H rows each becomes, for 16 lanes,
r[0:16], z[0:16], n[0:16], r[16:32], ...
"""

from __future__ import annotations

import numpy as np


def unit_groups(hidden: int, lanes: int) -> int:
    """Groups of ``lanes`` hidden units; the last one may be filled up."""
    return -(-hidden // lanes)


def interleave_gates(rows: np.ndarray, gates: int, lanes: int) -> np.ndarray:
    """``rows`` [gates * H, ...] as [groups * gates * lanes, ...], zeros where a group is filled up."""
    hidden, groups = len(rows) // gates, unit_groups(len(rows) // gates, lanes)
    padded = np.zeros((gates, groups * lanes, *rows.shape[1:]), rows.dtype)
    padded[:, :hidden] = rows.reshape(gates, hidden, *rows.shape[1:])
    grouped = padded.reshape(gates, groups, lanes, *rows.shape[1:]).swapaxes(0, 1)
    return np.ascontiguousarray(grouped).reshape(-1, *rows.shape[1:])


def separate_gates(rows: np.ndarray, gates: int, lanes: int, count: int) -> np.ndarray:
    """The inverse of ``interleave_gates``: the ``count`` = gates * H rows in PyTorch's order."""
    hidden = count // gates
    grouped = rows.reshape(unit_groups(hidden, lanes), gates, lanes, *rows.shape[1:]).swapaxes(0, 1)
    padded = grouped.reshape(gates, -1, *rows.shape[1:])
    return np.ascontiguousarray(padded[:, :hidden]).reshape(count, *rows.shape[1:])
