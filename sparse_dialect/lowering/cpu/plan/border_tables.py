"""What the lines of a region at the border of a tile are made of: runs of copies, and shuffles of one line's
lanes. Numpy only.

``codes`` say of each line which stored line it copies, or -1 - g where row g of a gather table says where
each of its lanes lies (see ``conv_plan``).
"""

from __future__ import annotations

import numpy as np

from ....geometry.layouts import LaneGrid, Layout

MOST_RUNS = 4  # the length of a run of copied lines is code
MOST_SHUFFLES = 16  # a lane permutation is code; what needs more of them gathers

Permutation = tuple[int, ...]  # for each lane, the lane of the stored line that it takes, -1 for outside


def run_lengths(codes: np.ndarray, columns: int) -> np.ndarray:
    """
    Of ``codes`` [tiles, lines], a row of the region being ``columns`` lines: at the first line of each run of
    neighbours in a row that are neighbours in the input too, their number; 0 elsewhere.

    Each length is code: where there would be too many, every line is a run.
    """
    inside = np.pad(codes, ((0, 0), (0, 1)), constant_values=-1) >= 0
    follows = np.zeros(inside.shape, bool)
    follows[:, 1:-1] = (codes[:, 1:] == codes[:, :-1] + 1) & (codes[:, :-1] >= 0)
    follows[:, ::columns] = False
    ends = np.where(follows, codes.shape[1], np.arange(inside.shape[1]))
    nearest = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]  # where the run at or after a line ends
    lengths = nearest[:, 1:] - np.arange(codes.shape[1])
    lengths = np.where(inside[:, :-1] & ~follows[:, :-1], lengths, 0)
    return lengths if np.unique(lengths).size <= MOST_RUNS + 1 else inside[:, :-1].astype(lengths.dtype)


def find_shuffles(gathers: np.ndarray, source: Layout) -> tuple[list[Permutation], np.ndarray]:
    """Which rows of a gather table [rows, lanes] take all their lanes from one stored line.

    Gives the lane permutations, and i32 [rows, 2]: the permutation's number (-1: gather) and the stored
    line. Rows gather where there would be too many permutations, each being code.
    """
    permuted = np.full((len(gathers), 2), -1, np.int32)
    if not isinstance(source, LaneGrid) or source.lanes != gathers.shape[1]:
        return [], permuted
    inside = gathers >= 0
    stored, lane = np.divmod(gathers, source.lanes)
    line = np.where(inside, stored, -1).max(axis=1, initial=0)
    single = (~inside | (stored == line[:, None])).all(axis=1)
    found, number = np.unique(np.where(inside, lane, -1)[single], axis=0, return_inverse=True)
    if len(found) > MOST_SHUFFLES:
        return [], permuted
    permuted[single] = np.stack([number.ravel(), line[single]], axis=1)
    return [tuple(row) for row in found.tolist()], permuted
