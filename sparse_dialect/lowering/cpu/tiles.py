"""Which register tile a convolution gets: a small model of what one tile costs, minimised over tile
shapes."""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import prod

from ...layouts import Three, box
from .conv_kernel import ConvKernel
from .conv_plan import Window, is_flat, plane_shape, side_parts

# Cycles on the reference core (Sapphire Rapids): a multiply, an input line brought from L2, a line packed,
# a line stored or a partial sum kept and read again, and the fixed cost of one stored kernel (loop,
# weights, mispredicted ends of runs).
MULTIPLY, LINE, PACK, STORE, KERNEL = 0.5, 0.6, 4.0, 2.5, 8.0


def choose_tile(kernel: ConvKernel, window: Window, stored_kernels: int, registers: int) -> Three:
    """The tile (depth, rows, columns) of least modelled cost; ``stored_kernels``: kernels that a pass over
    all filters visits."""
    shape = plane_shape(kernel.source, kernel.target, window, kernel.pooled)
    flat = is_flat(kernel.source, kernel.target, window, kernel.pooled)
    weights = min(len(kernel.classes[0].terms), 4) if not kernel.dense else kernel.group
    limit = max(1, (registers - weights - 2) // kernel.group)
    if flat and not kernel.dense:
        # a vector serves few multiplies: keep the block's lines in L1
        limit = max(1, registers // 2 // kernel.group)
    sides = [range(unit, min(size, limit) + 1, unit)
             for size, unit in zip(shape, kernel.pool, strict=True)]
    candidates = [tile for tile in box(*sides) if prod(tile) <= limit]
    return min(candidates or [kernel.pool],
               key=lambda tile: _cost(kernel, window, stored_kernels, shape, tile, not flat))


def _cost(kernel: ConvKernel, window: Window, stored: int, shape: Three, tile: Three,
          packs: bool) -> float:
    """Modelled cycles of the whole volume; many tile shapes cost code."""
    total, shapes = 0.0, 0
    terms = sum(len(c.terms) for c in kernel.classes) / len(kernel.classes)
    sides = [Counter(length for _, length in side_parts(*side)).items()
             for side in zip(shape, tile, kernel.pool, strict=True)]
    for (depth, slabs), (rows, bands), (columns, parts) in product(*sides):
        accumulators, shapes = depth * rows * columns, shapes + 1
        lines = prod(map(len, window.reads((depth, rows, columns))))
        read = min(lines, accumulators * terms)
        visit = accumulators * terms * MULTIPLY + read * LINE + KERNEL
        pack = lines * kernel.channels * PACK if packs else 0.0
        store = accumulators * kernel.filters * STORE * (2 * kernel.blocks - 1)
        total += slabs * bands * parts * (stored * visit + pack + store)
    return total * (1 + 0.03 * shapes)
