"""Which register tile a convolution gets: a small model of what one tile costs, minimised over tile
shapes."""

from __future__ import annotations

from .conv_kernel import ConvKernel
from .conv_plan import Window, cut, is_flat, plane_shape

# Cycles on the reference core (Sapphire Rapids): a multiply, an input line brought from L2, a line packed,
# a line stored or a partial sum kept and read again, and the fixed cost of one stored kernel (loop,
# weights, mispredicted ends of runs).
MULTIPLY, LINE, PACK, STORE, KERNEL = 0.5, 0.6, 4.0, 2.5, 8.0


def choose_tile(kernel: ConvKernel, window: Window, stored_kernels: int, registers: int) -> tuple[int, int]:
    """The tile (rows, columns) of least modelled cost; ``stored_kernels``: kernels that a pass over all
    filters visits."""
    shape = plane_shape(kernel.source, kernel.target, window)
    even = kernel.pooled is not None
    weights = min(len(kernel.classes[0].terms), 4) if not kernel.dense else kernel.group
    limit = max(1, (registers - weights - 2) // kernel.group)
    if is_flat(kernel.source, kernel.target, window) and not kernel.dense:
        # a vector serves few multiplies: keep the block's lines in L1
        limit = max(1, registers // 2 // kernel.group)
    candidates = [(rows, columns) for rows in range(1, min(shape[0], limit) + 1) for columns in
                  range(1, min(shape[1], limit) + 1) if rows * columns <= limit]
    if even:
        candidates = [(r, c) for r, c in candidates if r % 2 == 0 and c % 2 == 0] or [(2, 2)]
    return min(candidates, key=lambda tile: _cost(kernel, window, stored_kernels, shape, tile))


def _cost(kernel: ConvKernel, window: Window, stored: int, shape: tuple[int, int],
          tile: tuple[int, int]) -> float:
    """Modelled cycles of the whole plane; many tile shapes cost code."""
    total = 0.0
    shapes = cut(shape, tile, kernel.pooled is not None)
    packs = not is_flat(kernel.source, kernel.target, window)
    terms = sum(len(c.terms) for c in kernel.classes) / len(kernel.classes)
    for (rows, columns), origins in shapes.items():
        height = (rows - 1) * window.strides[0] + (window.kernel[0] - 1) * window.dilations[0] + 1
        width = (columns - 1) * window.strides[1] + (window.kernel[1] - 1) * window.dilations[1] + 1
        lines = rows * columns if window.kernel == (1, 1) else height * width
        read = min(lines, rows * columns * terms)
        visit = rows * columns * terms * MULTIPLY + read * LINE + KERNEL
        pack = lines * kernel.channels * PACK if packs else 0.0
        store = rows * columns * kernel.filters * STORE * (2 * kernel.blocks - 1)
        total += len(origins) * (stored * visit + pack + store)
    return total * (1 + 0.03 * len(shapes))
