"""How one plane is padded for a window that stays inside its channel: depthwise convolutions, pools, layout
changes.

The padded plane is the input as seen from the output's lane grid, halo and padding included (see
``conv_plan``). Most of its lines are stored lines of the input, and neighbours come in runs that are
copied; the rest are gathered lane by lane. Where all of it is one run, the kernel reads the input as it
lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...layouts import LaneGrid, Layout
from .conv_plan import Permutation, VirtualPlane, Window, cut, find_shuffles


@dataclass(frozen=True)
class PlanePlan:
    """The tables of one plane.

    ``runs`` i32 [R, 3]: first padded line, first stored line, count. The halo is what is no copy:
    ``shuffles``, for each lane permutation, i32 [n, 2] of the padded line and the stored line whose lanes
    it permutes; and ``halo`` i32 [H], padded lines to gather from the places ``gathers`` i32 [H, lanes]
    (element offsets in the stored plane, -1 for outside). ``tiles``: for each tile shape, i32 [tiles, 2] of
    the first padded line that it reads and the first line that it stores. ``lines`` and ``pitch``: padded
    lines in all, and from one row to the next. ``direct``: read the input in place.
    """

    window: Window
    lines: int
    pitch: int
    direct: bool
    runs: np.ndarray
    shuffles: dict[Permutation, np.ndarray]
    halo: np.ndarray
    gathers: np.ndarray
    tiles: dict[tuple[int, int], np.ndarray]


def plan_plane(source: Layout, target: LaneGrid, window: Window, tile: tuple[int, int]) -> PlanePlan:
    """The plan of a window from ``source`` to ``target``, computed in tiles of about ``tile`` lines."""
    plane = VirtualPlane(source, target, window)
    rows, pitch = plane.want.shape[:2]
    codes = np.full(rows * pitch, -1, np.int64)
    halo = []
    for line in range(rows * pitch):
        row, column = divmod(line, pitch)
        if plane.need[row, column].any():
            codes[line] = plane.code(row, column)
            if codes[line] < 0:
                halo.append(line)
    # Lines that no output needs (-1 in codes, not in halo) may hold anything.
    direct = (isinstance(source, LaneGrid) and not halo and pitch == source.columns
              and len(codes) <= source.lines
              and all(code in (-1, line) for line, code in enumerate(codes)))
    table = plane.gather_table()
    found, permuted = find_shuffles(table, source)
    shuffles = {permutation: np.array([(line, permuted[-1 - codes[line], 1]) for line in halo
                                       if permuted[-1 - codes[line], 0] == number], np.int32)
                for number, permutation in enumerate(found)}
    gathered = [line for line in halo if permuted[-1 - codes[line], 0] < 0]
    gathers = np.array([table[-1 - codes[line]] for line in gathered], np.int32).reshape(-1, target.lanes)
    tiles = {shape: np.array([(r * window.strides[0] * pitch + q * window.strides[1], r * target.columns + q)
                              for r, q in origins], np.int32)
             for shape, origins in cut((target.rows, target.columns), tile).items()}
    return PlanePlan(window, rows * pitch, pitch, direct, _runs(codes), shuffles,
                     np.array(gathered, np.int32), gathers, tiles)


def _runs(codes: np.ndarray) -> np.ndarray:
    """i32 [R, 3] (padded line, stored line, count) of the lines that are copies."""
    lines = np.flatnonzero(codes >= 0)
    if not len(lines):
        return np.zeros((0, 3), np.int32)
    breaks = np.flatnonzero((np.diff(lines) != 1) | (np.diff(codes[lines]) != 1)) + 1
    parts = np.split(lines, breaks)
    return np.array([(part[0], codes[part[0]], len(part)) for part in parts], np.int32)
