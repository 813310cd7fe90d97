"""Which register tile a convolution gets: a small model of what one tile costs, minimised over tile
shapes."""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import prod

from ...cores import Core
from ...layouts import Three, box
from .conv_kernel import LANE_WEIGHTS, ConvKernel
from .conv_plan import Window, is_flat, plane_shape, side_parts

LINES_IN_FLIGHT, LINES_KEPT = 3, 7  # registers for input lines beside accumulators and weights


def choose_tile(kernel: ConvKernel, window: Window, stored_kernels: int, core: Core) -> Three:
    """The tile (depth, rows, columns) of least modelled cost; ``stored_kernels``: kernels that a pass over
    all filters visits."""
    shape = plane_shape(kernel.source, kernel.target, window, kernel.pooled)
    flat = is_flat(kernel.source, kernel.target, window, kernel.pooled)
    limit = _most_accumulators(kernel, core, flat)
    sides = [range(unit, min(size, limit) + 1, unit)
             for size, unit in zip(shape, kernel.pool, strict=True)]
    candidates = [tile for tile in box(*sides) if prod(tile) <= limit]
    return min(candidates or [kernel.pool],
               key=lambda tile: _cost(kernel, window, stored_kernels, shape, tile, not flat, core))


def _most_accumulators(kernel: ConvKernel, core: Core, flat: bool) -> int:
    """Accumulators of one filter that leave registers for weights and for two input lines."""
    if core.lane_weights:
        terms = max(len(kind.terms) for kind in kernel.classes)
        weights, lines = -(-terms // kernel.target.lanes), LINES_IN_FLIGHT
        if weights > LANE_WEIGHTS:  # one tap after the other, for which lines stay
            weights, lines = 1, LINES_KEPT
        return max(1, (core.registers - weights - lines) // kernel.group)
    if flat and not kernel.dense:  # a vector serves few multiplies: keep the block's lines in L1
        return max(1, core.registers // 2 // kernel.group)
    weights = min(len(kernel.classes[0].terms), 4) if not kernel.dense else kernel.group
    return max(1, (core.registers - weights - 2) // kernel.group)


def _cost(kernel: ConvKernel, window: Window, stored: int, shape: Three, tile: Three, packs: bool,
          core: Core) -> float:
    """Modelled cycles of the whole volume; many tile shapes cost code."""
    total, shapes = 0.0, 0
    terms = sum(len(c.terms) for c in kernel.classes) / len(kernel.classes)
    sides = [Counter(length for _, length in side_parts(*side)).items()
             for side in zip(shape, tile, kernel.pool, strict=True)]
    for (depth, slabs), (rows, bands), (columns, parts) in product(*sides):
        accumulators, shapes = depth * rows * columns, shapes + 1
        lines = prod(map(len, window.reads((depth, rows, columns))))
        read = min(lines, accumulators * terms)
        visit = accumulators * terms * core.multiply + read * core.line + core.kernel
        pack = lines * kernel.channels * core.pack if packs else 0.0
        store = accumulators * kernel.filters * core.store * (2 * kernel.blocks - 1)
        total += slabs * bands * parts * (stored * visit + pack + store)
    return total * (1 + 0.03 * shapes)
