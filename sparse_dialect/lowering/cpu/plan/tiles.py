"""The register tiles that a convolution may get, and a small model of what each costs."""

from __future__ import annotations

from functools import cache
from itertools import product
from math import prod
from statistics import fmean

from ....devices.cores import Core
from ....geometry.layouts import Three, box
from ....geometry.window import Window
from ..kernels.column_groups import ColumnsKernel
from ..kernels.kernel_classes import LANE_WEIGHTS, UNDER_WAY, ConvKernel
from ..kernels.tile import TileKernel
from .conv_plan import is_flat, lengths, plane_shape, side_parts

LINES_IN_FLIGHT, LINES_KEPT = 3, 7  # registers for input lines beside accumulators and weights

# Where filters share columns: visits of a group, in the fixed cost of a stored kernel; cycles that a cache
# line of weights takes when it is streamed once more, for the next tile; and cycles until the first packed
# line of a slice comes, from pages of its own.
VISIT, STREAM, SLICE = 5.0, 2.0, 20.0
PACKED_NEAR_BYTES = 48 << 10  # a block's packed region that stays in L1
BLOCK_BYTES, SUM_BYTES = 512 << 10, 1 << 20  # a block's packed region, and partial sums, that stay in L2


def tile_candidates(kernel: ConvKernel, window: Window, core: Core) -> list[Three]:
    """The tiles (depth, rows, columns) whose accumulators leave registers for weights and input lines."""
    shape = plane_shape(kernel.source, kernel.target, window, kernel.pooled)
    limit = _most_accumulators(kernel, core, _is_flat(kernel, window))
    sides = [range(unit, min(size, limit) + 1, unit)
             for size, unit in zip(shape, kernel.pool, strict=True)]
    return [tile for tile in box(*sides) if prod(tile) <= limit] or [kernel.pool]


def most_lines(kernel: ConvKernel, core: Core) -> int:
    """Output lines of a tile beyond which accumulators do not fit in registers."""
    return max(1, (core.registers - 2) // kernel.group)


def _is_flat(kernel: TileKernel, window: Window) -> bool:
    return is_flat(kernel.source, kernel.target, window, kernel.pooled)


def _most_accumulators(kernel: ConvKernel, core: Core, flat: bool) -> int:
    """Accumulators of one filter that leave registers for weights and for two input lines."""
    if core.lane_weights:
        terms = max((len(kind.terms) for kind in kernel.classes), default=0)
        weights, lines = -(-terms // kernel.target.lanes), LINES_IN_FLIGHT
        if weights > LANE_WEIGHTS:  # one tap after the other, for which lines stay
            weights, lines = 1, LINES_KEPT
        return max(1, (core.registers - weights - lines) // kernel.group)
    if kernel.mixed or (flat and not kernel.dense):  # a vector serves few multiplies: keep its block in L1
        return max(1, core.registers // 2 // kernel.group)
    terms = max((len(kind.terms) for kind in kernel.classes[:1]), default=0)
    weights = kernel.group if kernel.dense else min(terms, 4)
    return max(1, (core.registers - weights - 2) // kernel.group)


def tile_cost(kernel: ConvKernel, window: Window, stored: int, tile: Three, core: Core) -> float:
    """Modelled cycles of the whole volume, a pass over all filters visiting ``stored`` kernels; many tile
    shapes cost code."""
    total, shapes = 0.0, 0
    shape = plane_shape(kernel.source, kernel.target, window, kernel.pooled)
    packs = kernel.reads and not _is_flat(kernel, window)
    terms = sum(len(c.terms) for c in kernel.classes) / max(len(kernel.classes), 1)
    sides = [lengths(*side) for side in zip(shape, tile, kernel.pool, strict=True)]
    for (depth, slabs), (rows, bands), (columns, parts) in product(*sides):
        accumulators, shapes = depth * rows * columns, shapes + 1
        lines = window.lines_read((depth, rows, columns))
        visit = _visit(kernel, lines, accumulators * terms, core)
        pack = lines * kernel.channels * core.pack if packs else 0.0
        store = accumulators * kernel.filters * core.store * (2 * kernel.blocks - 1)
        total += slabs * bands * parts * (stored * visit + pack + store)
    return total * (1 + 0.03 * shapes)


def _visit(kernel: ConvKernel, lines: int, multiplies: float, core: Core) -> float:
    """Modelled cycles of one stored kernel: so many ``multiplies`` of a region of so many ``lines``."""
    if not kernel.mixed:
        return multiplies * core.multiply + min(lines, multiplies) * core.line + core.kernel
    near = lines * kernel.channel_block * 4 * kernel.target.lanes <= PACKED_NEAR_BYTES
    return multiplies * (core.multiply if near else 2 * core.line) + core.kernel / 4


def columns_candidates(kernel: ColumnsKernel, window: Window, core: Core,
                       tile: Three | None = None) -> list[tuple[Three, int, Three]]:
    """Every (sub-tile, passes, tile) that fits in registers and cache; ``tile`` where it is settled."""
    shape = plane_shape(kernel.source, kernel.target, window, kernel.pooled)
    tiles = [tile] if tile else _tiles(kernel, window, shape, _is_flat(kernel, window))
    parts = [(part, passes) for passes in range(1, kernel.size + 1) if kernel.size % passes == 0
             for part in _sub_tiles(kernel, shape, passes, core)]
    fewest = min(passes for _, passes in parts)  # with more passes a loaded line serves fewer filters
    return [(part, passes, whole) for part, passes in parts if passes <= 2 * fewest for whole in tiles]


def most_sub_lines(kernel: ColumnsKernel, passes: int, core: Core) -> int:
    """Output lines of a sub-tile beyond which sums do not fit in registers."""
    filters = kernel.size // passes
    weights = -(-filters // kernel.target.lanes) if core.lane_weights else 2
    return max(1, (core.registers - core.spare - weights) // (filters + 1))


def _sub_tiles(kernel: ColumnsKernel, shape: Three, passes: int, core: Core) -> list[Three]:
    """Output lines whose sums fit in registers, with a line of input each and the weights at work. Not those
    that lie inside another: the smaller ones that a tile is cut into are near-equal anyway."""
    filters, limit = kernel.size // passes, most_sub_lines(kernel, passes, core)
    sides = [range(unit, min(size, limit * unit) + 1, unit)
             for size, unit in zip(shape, kernel.pool, strict=True)]
    fitting = [part for part in box(*sides) if prod(part) <= limit]
    largest = [part for part in fitting if not any(
        other != part and all(a <= b for a, b in zip(part, other, strict=True)) for other in fitting)]
    return largest or ([kernel.pool] if filters == 1 else [])


def _tiles(kernel: ColumnsKernel, window: Window, shape: Three, flat: bool) -> list[Three]:
    """Tiles of near-equal parts whose block of channels stays in cache, or the smallest."""
    sides = [sorted({-(-size // unit // parts) * unit for parts in range(1, size // unit + 1)})
             for size, unit in zip(shape, kernel.pool, strict=True)]
    candidates = box(*sides)

    def fits(tile: Three) -> bool:
        lines = prod(tile) if flat else window.lines_read(tile)
        sums = kernel.sums * prod(tile) if kernel.blocks > 1 else 0
        line = 4 * kernel.target.lanes
        return lines * kernel.channel_block * line <= BLOCK_BYTES and sums * line <= SUM_BYTES

    return [tile for tile in candidates if fits(tile)] or [min(candidates, key=prod)]


def _packed(window: Window, tile: Three, core: Core) -> float:
    """Modelled cycles that packing one channel of a tile's region takes."""
    return window.lines_read(tile) * core.pack + len(window.reads(tile)[0]) * SLICE


@cache
def _share_inside(window: Window, source_depth: int, depth: int, parts: tuple[int, int],
                  unit: int) -> dict[tuple[int, int], float]:
    """The share of a kernel's slices that sub-tiles multiply: the mean of all of one depth, in tiles of one
    depth. ``parts``: about how deep they are, tiles and sub-tiles."""
    tile, part = parts
    shares: dict[tuple[int, int], list[float]] = {}
    for first, slab in side_parts(depth, tile, unit):
        for origin, count in side_parts(slab, part, unit):
            slices = window.slices_inside(source_depth, first + origin, count)
            shares.setdefault((slab, count), []).append(len(slices) / window.kernel[0])
    return {key: fmean(each) for key, each in shares.items()}


def columns_cost(kernel: ColumnsKernel, window: Window, units: int, choice: tuple[Three, int, Three],
                 core: Core) -> float:
    """Modelled cycles of the whole volume with a ``choice`` of ``columns_candidates``, where all groups store
    so many ``units``."""
    part, passes, tile = choice
    shape = plane_shape(kernel.source, kernel.target, window, kernel.pooled)
    flat = _is_flat(kernel, window)
    filters, columns = kernel.size // passes, units * kernel.unit
    weight_loads = filters / min(filters, kernel.target.lanes) if core.lane_weights else filters
    total, shapes = 0.0, 0
    inside = _share_inside(window, kernel.source.depth, shape[0], (tile[0], part[0]), kernel.pool[0])
    sides = [lengths(*side) for side in zip(shape, tile, kernel.pool, strict=True)]
    for (depth, slabs), (rows, bands), (width, parts) in product(*sides):
        visit, shapes = 0.0, shapes + 1
        inner = [lengths(*side) for side in zip((depth, rows, width), part, kernel.pool, strict=True)]
        for (a, many_a), (b, many_b), (c, many_c) in product(*inner):
            lines = a * b * c
            multiplies = max(filters * lines, UNDER_WAY) * core.multiply
            column = passes * max(multiplies, (weight_loads + lines) * core.line)
            store = kernel.filters * lines * core.store * (2 * kernel.blocks - 1)
            visits = kernel.groups * kernel.blocks * passes * VISIT * core.kernel
            visit += many_a * many_b * many_c * (columns * column * inside[depth, a] + store + visits)
        weights = columns * kernel.size * 4 / 64
        pack = 0.0 if flat else kernel.channels * _packed(window, (depth, rows, width), core)
        total += slabs * bands * parts * (visit + pack + weights * STREAM)
    return total * (1 + 0.03 * shapes)
