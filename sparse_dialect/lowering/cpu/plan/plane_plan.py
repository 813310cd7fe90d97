"""How one channel is padded for a window that stays inside it: depthwise convolutions, pools, layout
changes.

The padded channel is the input as seen from the output's lane grid, halo and padding included (see
``conv_plan``). Most of its lines are stored lines of the input, and neighbours come in runs that are
copied; the rest are gathered lane by lane. Where all of it is one run, the kernel reads the input as it
lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....geometry.layouts import LaneGrid, Layout, Three
from ....geometry.window import Window
from .border_tables import Permutation, find_shuffles
from .conv_plan import PaddedInput, cut, padded_input


@dataclass(frozen=True)
class PlanePlan:
    """The tables of one channel.

    ``runs`` i32 [R, 3]: first padded line, first stored line, count. The halo is what is no copy:
    ``shuffles``, for each lane permutation, i32 [n, 2] of the padded line and the stored line whose lanes
    it permutes; and ``halo`` i32 [H], padded lines to gather from the places ``gathers`` i32 [H, lanes]
    (element offsets in the stored channel, -1 for outside). ``tiles``: for each tile shape, i32 [tiles, 2]
    of the first padded line that it reads and the first line that it stores. ``lines``, ``slice`` and
    ``pitch``: padded lines in all, from one slice to the next, from one row to the next. ``direct``: read
    the input in place.
    """

    window: Window
    lines: int
    slice: int
    pitch: int
    direct: bool
    runs: np.ndarray
    shuffles: dict[Permutation, np.ndarray]
    halo: np.ndarray
    gathers: np.ndarray
    tiles: dict[Three, np.ndarray]

    @property
    def scratch_lines(self) -> int:
        """Vectors of scratch that the padded plane needs."""
        return 0 if self.direct else self.lines


def plan_plane(source: Layout, target: LaneGrid, window: Window, tile: Three) -> PlanePlan:
    """The plan of a window from ``source`` to ``target``, computed in tiles of about ``tile`` lines."""
    padded = padded_input(source, target, window)
    depth, rows, pitch = padded.codes.shape
    direct = _lies_ready(padded, source)
    slice_ = source.slice_lines if direct and isinstance(source, LaneGrid) else rows * pitch
    codes, read = padded.codes.ravel(), padded.read.ravel()
    halo = np.flatnonzero(codes < 0)
    rows_of_halo = -1 - codes[halo]
    found, permuted = find_shuffles(padded.gathers, source)
    number, stored = permuted[rows_of_halo].T
    shuffles = {permutation: np.stack([halo, stored], axis=1)[number == at].astype(np.int32)
                for at, permutation in enumerate(found)}
    gathered = number < 0
    tiles = {shape: np.array([(_padded_line(origin, window, slice_, pitch), target.line(*origin))
                              for origin in origins], np.int32)
             for shape, origins in cut(target.shape, tile).items()}
    return PlanePlan(window, depth * rows * pitch, slice_, pitch, direct,
                     _runs(np.where(read, codes, -1)), shuffles, halo[gathered].astype(np.int32),
                     padded.gathers[rows_of_halo[gathered]], tiles)


def _lies_ready(padded: PaddedInput, source: Layout) -> bool:
    """Whether the padded channel is the stored one, but for lines that no output needs (which may hold
    anything)."""
    depth, rows, pitch = padded.codes.shape
    if not isinstance(source, LaneGrid) or pitch != source.columns:
        return False
    own = source.line(*np.indices(padded.codes.shape))
    ends = (depth - 1) * source.slice_lines + rows * pitch
    return ends <= source.lines and bool(((padded.codes == own) | ~padded.read).all())


def _padded_line(origin: Three, window: Window, slice_: int, pitch: int) -> int:
    """The first padded line that the tile at ``origin`` reads."""
    depth, row, column = (at * stride for at, stride in zip(origin, window.strides, strict=True))
    return depth * slice_ + row * pitch + column


def _runs(codes: np.ndarray) -> np.ndarray:
    """i32 [R, 3] (padded line, stored line, count) of the lines that are copies."""
    lines = np.flatnonzero(codes >= 0)
    if not len(lines):
        return np.zeros((0, 3), np.int32)
    breaks = np.flatnonzero((np.diff(lines) != 1) | (np.diff(codes[lines]) != 1)) + 1
    parts = np.split(lines, breaks)
    return np.array([(part[0], codes[part[0]], len(part)) for part in parts], np.int32)
