"""The geometry of one convolution on lane grids: register tiles, what each packs and stores. Numpy only.

A *tile* is Td x Tr x Tc output lines held in accumulators. Its *region* is the input lines that the tile's
taps touch. Line (vd, vr, vq) of the region of the tile at (d0, r0, q0) holds, in lane (i, j), the input pixel

    y = i * rows * stride + r0 * stride + vr - padding        (x likewise)
    z = d0 * stride + vd - padding                            (lanes do not cut the depth)

Mostly that is one stored line of the input (a copy); at tile borders, and where input and output grids
differ, its lanes come from several lines, or are zero (a gather, by a table of element offsets; -1 reads
zero).

Images and signals are volumes of depth 1 (and height 1): windows and tiles always count three dimensions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import pairwise, product

import numpy as np

from ....geometry.layouts import LaneGrid, Layout, Three, box
from ....geometry.window import ONES, Window
from .border_tables import Permutation, find_shuffles, run_lengths

ITEM_FIELDS = ("image", "source_line", "border", "output_line", "output_slice")


@dataclass
class ConvPlan:
    """What ``conv_kernel`` emits for the tiles of one shape, and the tables that it reads.

    ``region``: (depth, row, column) of each region line, relative to the tile; ``source_offsets``: the same
    lines as offsets from the first, for tiles whose region is a plain box of stored lines; ``items``: i32
    [count, ITEM_FIELDS], where ``source_line`` is the box's first line, at a border that of the box around
    what is copied; ``borders``: i32 [border tiles, region lines, 2], a stored line, or -1 - g for row g of
    ``gathers`` i32 [rows, lanes]; and how many lines, this one the first, are copied at once (0: this one is
    none, or copied with one before it).
    A gather row whose lanes all lie in one stored line is a shuffle: ``permuted`` i32 [rows, 2], see
    ``find_shuffles``.
    """

    window: Window
    tile: Three
    region: list[Three]
    source_offsets: list[int]
    direct: bool
    items: np.ndarray
    borders: np.ndarray
    gathers: np.ndarray
    shuffles: list[Permutation]
    permuted: np.ndarray
    line_of: dict[Three, int] = field(default_factory=dict)

    @property
    def code(self) -> tuple[object, ...]:
        """What of the plan is code rather than table: kernels of equal code may be shared."""
        return (self.window, self.tile, self.direct, self.interior_tiles, self.border_tiles,
                tuple(self.run_lengths), tuple(self.shuffles))

    @property
    def run_lengths(self) -> list[int]:
        """How many lines border tiles copy at once."""
        return [int(length) for length in np.unique(self.borders[:, :, 1]) if length]

    @property
    def items_per_image(self) -> int:
        """Work items of one image: images come one after the other."""
        return len(self.items) // (int(self.items[-1, 0]) + 1)

    @property
    def interior_tiles(self) -> bool:
        """Whether any tile is packed by plain copies alone."""
        return bool((self.items[:, 2] < 0).any())

    @property
    def border_tiles(self) -> bool:
        return bool((self.items[:, 2] >= 0).any())

    @property
    def accumulators(self) -> list[Three]:
        """The output lines of a tile, relative to it."""
        return box(*map(range, self.tile))

    def line_read(self, accumulator: Three, tap: Three) -> int:
        """The region line that an output line multiplies at a tap."""
        depth, row, column = (a * s + t for a, s, t in
                              zip(accumulator, self.window.strides, tap, strict=True))
        return self.line_of[depth, row, column]


def plan_conv(source: Layout, target: LaneGrid, window: Window, tile: Three, origins: list[Three],
              batch: int, pooled: LaneGrid | None = None) -> ConvPlan:
    """The plan of a convolution's tiles of one shape, at ``origins`` (depth, row, column).

    ``pooled``: the grid that is stored when a max pool is fused (tiles and origins must then be multiples of
    its window).
    """
    region = box(*window.reads(tile))
    at, lines = np.array(origins).reshape(-1, 3), np.array(region)
    flat = is_flat(source, target, window, pooled)
    if flat:
        codes, offsets = at[:, 2:] + lines[:, 2], lines[:, 2]
        gathers = np.zeros((0, target.lanes), np.int32)
        stored = at[:, 2]
    else:
        padded = padded_input(source, target, window)
        first = at * np.array(window.strides)
        codes = padded.codes[tuple((first[:, None] + lines).T)].T
        gathers = padded.gathers
        offsets = np.array([source.line(*line) if isinstance(source, LaneGrid) else 0 for line in region])
        kept = pooled or target
        stored = np.array([kept.line(*spot) for spot in (at // pool_window(target, pooled)).tolist()])
    plain = (codes[:, 0] >= 0) & (codes == codes[:, :1] + offsets).all(axis=1)
    first_line = np.where(codes >= 0, codes - offsets, 0).max(axis=1)
    borders = codes[~plain]
    used, rows = np.unique(-1 - borders[borders < 0], return_inverse=True)
    borders[borders < 0] = -1 - rows
    borders = np.stack([borders, run_lengths(borders, np.unique(lines[:, 2]).size)], axis=2)
    items = np.stack([np.zeros_like(stored), first_line,
                      np.where(plain, -1, np.cumsum(~plain) - 1), stored, at[:, 0]], axis=1)
    images = np.repeat(np.arange(batch), len(items))
    items = np.tile(items, (batch, 1))
    items[:, 0] = images
    gathers = gathers[used]
    shuffles, permuted = find_shuffles(gathers, source)
    return ConvPlan(window, tile, region, offsets.tolist(), flat, items.astype(np.int32),
                    borders.astype(np.int32), gathers, shuffles, permuted,
                    {place: line for line, place in enumerate(region)})


def tables(plan: ConvPlan) -> list[np.ndarray]:
    """items, borders (their last row: ``source_offsets``), gathers and permuted, as the kernel takes them;
    empty ones get a row nothing reads."""
    lanes = plan.gathers.shape[1]
    offsets = np.stack([plan.source_offsets, np.zeros_like(plan.source_offsets)], axis=1)
    return [plan.items, np.concatenate([plan.borders, offsets[None]], dtype=np.int32),
            plan.gathers if len(plan.gathers) else np.zeros((1, lanes), np.int32),
            plan.permuted if len(plan.permuted) else np.full((1, 2), -1, np.int32)]


def is_flat(source: Layout, target: LaneGrid, window: Window, pooled: LaneGrid | None = None) -> bool:
    """A 1x1 window on one grid reads what it writes: the lines of a channel are one run, nothing is packed.
    (What is pooled behind it needs rows and columns.)"""
    return source == target and window == Window(ONES) and pooled is None


def plane_shape(source: Layout, target: LaneGrid, window: Window, pooled: LaneGrid | None = None) -> Three:
    """Depth, rows and columns of lines that tiles cut up."""
    if is_flat(source, target, window, pooled):
        return 1, 1, target.used_lines
    return target.shape


def pool_window(target: LaneGrid, pooled: LaneGrid | None) -> Three:
    """The window, and stride, of the max pool that makes ``pooled`` of ``target``; ones where there is
    none."""
    if pooled is None:
        return ONES
    depth, height, width = (a // b for a, b in zip(target.image, pooled.image, strict=True))
    return depth, height, width


def cut(shape: Three, tile: Three, unit: Three = ONES) -> dict[Three, list[Three]]:
    """Cuts ``shape`` into tiles of about ``tile``: origins by tile shape. A side is cut into parts that
    differ by at most one ``unit``, so nothing is computed twice and code stays small: at most two lengths a
    side."""
    tiles: dict[Three, list[Three]] = {}
    sides = [side_parts(size, part, step) for size, part, step in zip(shape, tile, unit, strict=True)]
    for (d, depth), (r, rows), (q, columns) in product(*sides):
        tiles.setdefault((depth, rows, columns), []).append((d, r, q))
    return tiles


@cache
def lengths(size: int, part: int, unit: int) -> tuple[tuple[int, int], ...]:
    """The lengths of ``side_parts``, each with how often it occurs."""
    return tuple(Counter(length for _, length in side_parts(size, part, unit)).items())


def side_parts(size: int, part: int, unit: int) -> list[tuple[int, int]]:
    """(start, length) of ceil(size / part) near-equal parts, in multiples of ``unit``."""
    count = -(-size // max(part, unit))
    edges = [size // unit * i // count * unit for i in range(count + 1)]
    return [(a, b - a) for a, b in pairwise(edges) if b > a]


@dataclass(frozen=True)
class PaddedInput:
    """The padded input as seen from the output's grid.

    ``codes`` int64 [depth, rows, columns]: for each line, the stored line that it copies, or -1 - row of
    ``gathers`` i32 [rows, lanes] (element offsets inside a channel of the source, -1 for zero); any stored
    line where no valid output pixel reads. ``read``: which lines are read, of the same shape.
    """

    codes: np.ndarray
    gathers: np.ndarray
    read: np.ndarray


@lru_cache(maxsize=4)
def padded_input(source: Layout, target: LaneGrid, window: Window) -> PaddedInput:
    """How ``window`` on ``target`` sees ``source``."""
    shape = window.reaches(target.shape)
    z, row, column = np.indices(shape)
    y, x = target.pixels(row, column, window.strides[1:])
    want = source.places(z[..., None] - window.padding[0], y - window.padding[1], x - window.padding[2])
    need = _needed(target, window, shape)
    stored, lane = np.divmod(want, target.lanes)  # where lanes keep their places, the line they all lie in
    keeps = np.where(need, (lane == np.arange(target.lanes)) & (want >= 0), True).all(axis=-1)
    high = np.where(need, stored, -1).max(axis=-1)
    low = np.where(need, stored, high[..., None]).min(axis=-1)
    read = np.logical_or.reduce(need, axis=-1)
    copies = keeps & (low == high) & isinstance(source, LaneGrid)
    gathered = read & ~copies if isinstance(source, LaneGrid) else np.ones(shape, bool)
    codes = np.where(read, high, 0)
    codes[gathered] = -1 - np.arange(np.count_nonzero(gathered))
    gathers = np.where(need, want, -1)[gathered].astype(np.int32)
    return PaddedInput(codes, gathers, read)


def _needed(target: LaneGrid, window: Window, shape: Three) -> np.ndarray:
    """Whether a valid output pixel reads (line, lane): lanes beyond the image may hold anything."""
    _, rows, columns = target.shape
    y, x = target.pixels(*np.indices((rows, columns)))
    valid = (y < target.height) & (x < target.width)
    need = np.zeros((*shape, target.lanes), bool)
    for tap in window.taps:
        lines = [slice(first, first + (n - 1) * stride + 1, stride)
                 for first, n, stride in zip(tap, target.shape, window.strides, strict=True)]
        need[tuple(lines)] |= valid
    return need


