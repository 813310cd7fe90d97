"""How many output pixels of how many filters a thread computes: registers decide, and waste at edges.

    56 x 56, a filter a group   -> 4 rows x 2 vectors        14 x 14 -> 7 rows x 1 vector
"""

from __future__ import annotations

from collections.abc import Iterator

from .kernels.convolution import Tile
from .layout import LANES, SPARE_ROWS, Rows

ACCUMULATORS = 32  # of a thread: what fits in the registers of all GPUs that we know
LOAD_COST = 12.0  # of an element, in multiply-adds: measured on software devices
SHARED_BY = (4, 2, 1)  # filters of a dense layer that one thread computes
FEWEST_THREADS = 512  # below this a device's cores idle
DENSE_FILTERS = 4


def choose_tile(target: Rows, filters: int, groups: int, stride: tuple[int, int, int],
                accumulators: int = ACCUMULATORS) -> Tile:
    """The tile of least cost: multiply-adds with those beyond the image's edge, and the elements that a 3x3
    kernel's row of taps reads."""
    return min(_candidates(filters, stride, accumulators),
               key=lambda tile: (_cost(tile, target, filters, groups, stride), -tile.rows))


def _candidates(filters: int, stride: tuple[int, int, int], accumulators: int) -> Iterator[Tile]:
    most = max(1, accumulators // LANES // filters)
    for vectors in (1, 2):
        for rows in range(1, min(most // vectors, 1 + (SPARE_ROWS - 2) // stride[1]) + 1):
            yield Tile(rows, vectors)
    yield Tile(1, 1)


def _cost(tile: Tile, target: Rows, filters: int, groups: int, stride: tuple[int, int, int]) -> float:
    down, across = -(-target.height // tile.rows), -(-target.across // tile.vectors)
    waste = down * tile.rows * across * tile.vectors / (target.height * target.across)
    area = tile.rows * tile.vectors * LANES
    read = (stride[1] * tile.rows + 1) * (stride[2] * LANES * tile.vectors + 1)
    loads = read / (4 * area * filters)  # a kernel of four weights, of each filter
    threads = target.depth * down * across * groups
    return waste * (1 + LOAD_COST * loads) * max(1.0, FEWEST_THREADS / threads)
