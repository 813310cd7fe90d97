"""The geometry of one convolution on lane grids: register tiles, what each packs and stores. Numpy only.

A *tile* is Tr x Tc output lines held in accumulators. Its *region* is the input lines that the tile's taps
touch. Line (vr, vq) of the region of the tile at (r0, q0) holds, in lane (i, j), the input pixel

    y = i * rows * stride + r0 * stride + vr - padding        (x likewise)

Mostly that is one stored line of the input (a copy); at tile borders, and where input and output grids
differ, its lanes come from several lines, or are zero (a gather, by a table of element offsets; -1 reads
zero).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from ...layouts import LaneGrid, Layout

ITEM_FIELDS = ("image", "source_line", "border", "output_line")
MOST_SHUFFLES = 16  # a lane permutation is code; what needs more of them gathers

Permutation = tuple[int, ...]  # for each lane, the lane of the stored line that it takes, -1 for outside


@dataclass(frozen=True)
class Window:
    """A 2-D window: kernel size, strides, low padding, dilations."""

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilations: tuple[int, int] = (1, 1)

    @property
    def taps(self) -> list[tuple[int, int]]:
        """Offsets (rows, columns) of every kernel place, row-major."""
        return [(y * self.dilations[0], x * self.dilations[1]) for y in range(self.kernel[0])
                for x in range(self.kernel[1])]


@dataclass
class ConvPlan:
    """What ``conv_kernel`` emits for the tiles of one shape, and the tables that it reads.

    ``region``: (row, column) of each region line, relative to the tile; ``source_offsets``: the same lines
    as offsets from the first, for tiles whose region is a plain rectangle of stored lines; ``items``: i32
    [count, ITEM_FIELDS]; ``borders``: i32 [border tiles, region lines], a stored line, or -1 - g for row g
    of ``gathers`` i32 [rows, lanes].
    A gather row whose lanes all lie in one stored line is a shuffle: ``permuted`` i32 [rows, 2], see
    ``find_shuffles``.
    """

    window: Window
    tile: tuple[int, int]
    region: list[tuple[int, int]]
    source_offsets: list[int]
    direct: bool
    items: np.ndarray
    borders: np.ndarray
    gathers: np.ndarray
    shuffles: list[Permutation]
    permuted: np.ndarray
    line_of: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def code(self) -> tuple[object, ...]:
        """What of the plan is code rather than table: kernels of equal code may be shared."""
        return (self.window, self.tile, self.direct, self.interior_tiles, self.border_tiles,
                tuple(self.shuffles))

    @property
    def interior_tiles(self) -> bool:
        """Whether any tile is packed by plain copies alone."""
        return bool((self.items[:, 2] < 0).any())

    @property
    def border_tiles(self) -> bool:
        return bool((self.items[:, 2] >= 0).any())


def plan_conv(source: Layout, target: LaneGrid, window: Window, tile: tuple[int, int],
              origins: list[tuple[int, int]], batch: int, pooled: LaneGrid | None = None) -> ConvPlan:
    """The plan of a convolution's tiles of one shape, at ``origins`` (row, column).

    ``pooled``: the grid that is stored when a 2x2 max pool is fused (tiles and origins must then be even).
    """
    flat = is_flat(source, target, window)
    columns = plane_shape(source, target, window)[1]
    region = _region(window, tile)
    lines = None if flat else VirtualPlane(source, target, window)
    pitch = columns if flat else (source.columns if isinstance(source, LaneGrid) else 0)
    offsets = [row * pitch + column for row, column in region]
    items, borders = [], []
    for image in range(batch):
        for r, q in origins:
            codes = lines.codes(r, q, region) if lines else [q + column for _, column in region]
            plain = codes[0] >= 0 and all(code == codes[0] + offset
                                          for code, offset in zip(codes, offsets, strict=True))
            if not plain:
                borders.append(codes)
            stored = (r // 2) * pooled.columns + q // 2 if pooled else r * columns + q
            items.append((image, codes[0] if plain else 0, -1 if plain else len(borders) - 1, stored))
    gathers = lines.gather_table() if lines else np.zeros((0, target.lanes), np.int32)
    shuffles, permuted = find_shuffles(gathers, source)
    return ConvPlan(window, tile, region, offsets, flat, np.array(items, np.int32),
                    np.array(borders, np.int32).reshape(-1, len(region)), gathers, shuffles, permuted,
                    {place: line for line, place in enumerate(region)})


def tables(plan: ConvPlan) -> list[np.ndarray]:
    """items, borders, gathers and permuted, as the kernel takes them; empty ones get a row nothing reads."""
    lanes = plan.gathers.shape[1]
    return [plan.items, plan.borders if len(plan.borders) else np.zeros((1, len(plan.region)), np.int32),
            plan.gathers if len(plan.gathers) else np.zeros((1, lanes), np.int32),
            plan.permuted if len(plan.permuted) else np.full((1, 2), -1, np.int32)]


def is_flat(source: Layout, target: LaneGrid, window: Window) -> bool:
    """A 1x1 window on one grid reads what it writes: rows and columns are one run of lines, nothing is
    packed."""
    return (source == target and window.kernel == (1, 1) and window.strides == (1, 1)
            and window.padding == (0, 0))


def plane_shape(source: Layout, target: LaneGrid, window: Window) -> tuple[int, int]:
    """Rows and columns of lines that tiles cut up."""
    if is_flat(source, target, window):
        return 1, target.rows * target.columns
    return target.rows, target.columns


def cut(shape: tuple[int, int], tile: tuple[int, int],
        even: bool = False) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Cuts ``shape`` into tiles of about ``tile``: origins by tile shape. A side is cut into parts that
    differ by at most one line (two when ``even``), so nothing is computed twice and code stays small: at
    most four shapes."""
    tiles: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for row, height in _parts(shape[0], tile[0], 2 if even else 1):
        for column, width in _parts(shape[1], tile[1], 2 if even else 1):
            tiles.setdefault((height, width), []).append((row, column))
    return tiles


def _parts(size: int, part: int, unit: int) -> list[tuple[int, int]]:
    """(start, length) of ceil(size / part) near-equal parts, in multiples of ``unit``."""
    count = -(-size // max(part, unit))
    edges = [size // unit * i // count * unit for i in range(count + 1)]
    return [(a, b - a) for a, b in pairwise(edges) if b > a]


def _region(window: Window, tile: tuple[int, int]) -> list[tuple[int, int]]:
    """The input lines that a tile reads: a rectangle, or only the strided places of a 1x1 window."""
    if window.kernel == (1, 1):
        return [(a * window.strides[0], b * window.strides[1]) for a in range(tile[0])
                for b in range(tile[1])]
    height, width = ((t - 1) * s + (k - 1) * d + 1 for t, s, k, d in
                     zip(tile, window.strides, window.kernel, window.dilations, strict=True))
    return [(a, b) for a in range(height) for b in range(width)]


def find_shuffles(gathers: np.ndarray, source: Layout) -> tuple[list[Permutation], np.ndarray]:
    """Which rows of a gather table [rows, lanes] take all their lanes from one stored line.

    Gives the lane permutations, and i32 [rows, 2]: the permutation's number (-1: gather) and the stored
    line. Rows gather where there would be too many permutations, each being code.
    """
    found: dict[Permutation, int] = {}
    permuted = np.full((len(gathers), 2), -1, np.int32)
    if not isinstance(source, LaneGrid) or source.lanes != gathers.shape[1]:
        return [], permuted
    for row, places in enumerate(gathers):
        stored, lane = np.divmod(places, source.lanes)
        lines = np.unique(stored[places >= 0])
        if len(lines) <= 1:
            permutation = tuple(int(n) for n in np.where(places >= 0, lane, -1))
            permuted[row] = found.setdefault(permutation, len(found)), lines[0] if len(lines) else 0
    if len(found) > MOST_SHUFFLES:
        return [], np.full_like(permuted, -1)
    return list(found), permuted


class VirtualPlane:
    """The padded input as seen from the output's grid: for each line, the stored line or the gather that
    gives it."""

    def __init__(self, source: Layout, target: LaneGrid, window: Window) -> None:
        self.source, self.window, self.lanes = source, window, target.lanes
        rows, columns = ((n - 1) * s + (k - 1) * d + 1 for n, s, k, d in
                         zip((target.rows, target.columns), window.strides, window.kernel, window.dilations,
                             strict=True))
        r, q = np.indices((rows, columns))
        y, x = target.pixels(r, q, window.strides)
        y, x = y - window.padding[0], x - window.padding[1]
        self.want = source.places(y, x)
        self.need = self._needed(target, rows, columns)
        self.rows: list[np.ndarray] = []
        self.known: dict[tuple[int, int], int] = {}

    def _needed(self, target: LaneGrid, rows: int, columns: int) -> np.ndarray:
        """Whether a valid output pixel reads (line, lane): lanes beyond the image may hold anything."""
        y, x = target.pixels(*np.indices((target.rows, target.columns)))
        valid = (y < target.height) & (x < target.width)
        need = np.zeros((rows, columns, self.lanes), bool)
        (sr, sc), window = self.window.strides, self.window
        for dy, dx in window.taps:
            need[dy : dy + (target.rows - 1) * sr + 1 : sr,
                 dx : dx + (target.columns - 1) * sc + 1 : sc] |= valid
        return need

    def codes(self, r: int, q: int, region: list[tuple[int, int]]) -> list[int]:
        """For each region line of the tile at (r, q): a stored line, or -1 - row of the gather table."""
        base = (r * self.window.strides[0], q * self.window.strides[1])
        return [self.code(base[0] + row, base[1] + column) for row, column in region]

    def code(self, row: int, column: int) -> int:
        """The stored line that padded line (row, column) copies, or -1 - row of the gather table."""
        key = (row, column)
        if key not in self.known:
            want, need = self.want[key], self.need[key]
            lifted = isinstance(self.source, LaneGrid)
            line = (want - np.arange(self.lanes))[need] if lifted else np.array([-1])
            if not len(line):
                self.known[key] = 0
            elif line[0] >= 0 and (line == line[0]).all() and line[0] % self.lanes == 0:
                self.known[key] = int(line[0]) // self.lanes
            else:
                self.rows.append(np.where(need, want, -1).astype(np.int32))
                self.known[key] = -len(self.rows)
        return self.known[key]

    def gather_table(self) -> np.ndarray:
        """i32 [rows, lanes]: element offsets inside a source plane, -1 for zero."""
        return np.array(self.rows, np.int32).reshape(-1, self.lanes)
