"""How many output pixels of how many filters a thread computes: registers decide, and waste at edges.

    56 x 56, a filter a group   -> 4 rows x 2 vectors        14 x 14 -> 7 rows x 1 vector
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .emitter import THREADS
from .kernels.convolution import Tile, reads_of
from .kernels.pools import Three
from .layout import LANES, SPARE_ROWS, Rows
from .stored_kernels import Stored

ELEMENT_COST = 12.0  # of a loaded element, in multiply-adds: measured on software devices
LOAD_COST = 4.0  # of a load instruction: its address
FEWEST_THREADS = 512  # below this a device's cores idle
WIDEST = 4  # vectors across
SUBGROUP = 8  # threads that run in step, at least
MIXED = 1.3  # what it costs where groups of filters begin in the middle of them: measured on lavapipe


def choose_tile(stored: Stored, target: Rows, batch: int, stride: Three, accumulators: int) -> Tile:
    """The tile of least work, what lies beyond the image's edge included."""
    return _best(stored, target, batch, stride, accumulators, False)[0]


def choose_pooled(stored: Stored, target: Rows, batch: int, stride: Three, accumulators: int) -> Tile | None:
    """The tile of least work for a layer with a maximum of 2 x 2 pixels behind it; None where a kernel of its
    own for that costs less than what such tiles waste. ``target``: what the layer computes."""
    _, apart = _best(stored, target, batch, stride, accumulators, False)
    tile, together = _best(stored, target, batch, stride, accumulators, True)
    stored_and_loaded = 2 * ELEMENT_COST * stored.groups.size
    return tile if together <= apart + stored_and_loaded else None


def _best(stored: Stored, target: Rows, batch: int, stride: Three, accumulators: int, even: bool
          ) -> tuple[Tile, float]:
    """A tile and its work for an output pixel; ``even``: of an even number of rows and vectors."""
    filters = stored.groups.shape[1]

    def cost(tile: Tile) -> tuple[float, int]:
        down, across = -(-target.height // tile.rows), -(-target.across // tile.vectors)
        waste = down * tile.rows * across * tile.vectors / (target.height * target.across)
        tiles = target.depth * down * across
        idle = max(1.0, FEWEST_THREADS / (tiles * len(stored.groups) * batch))
        straddled = tiles % SUBGROUP and SUBGROUP % tiles
        mixed = MIXED if tiles <= THREADS // 2 and straddled else 1.0
        return waste * layer_cost(stored, tile, stride) * idle * mixed, -tile.vectors

    tiles = [tile for tile in _candidates(filters, stride, accumulators)
             if not even or (tile.rows % 2 == 0 and tile.vectors % 2 == 0)]
    if not tiles:
        return Tile(1, 1), float("inf")
    best = min(tiles, key=cost)
    return best, cost(best)[0]


def _candidates(filters: int, stride: Three, accumulators: int) -> Iterator[Tile]:
    most = max(1, accumulators // LANES // filters)
    for vectors in range(1, min(most, WIDEST) + 1):
        for rows in range(1, min(most // vectors, 1 + (SPARE_ROWS - 2) // stride[1]) + 1):
            yield Tile(rows, vectors)


def class_counts(stored: Stored) -> np.ndarray:
    """How many kernels of each class all groups of filters have."""
    starts = stored.rows[:, stored.groups.shape[1] :]
    counts: np.ndarray = np.diff(starts, axis=1).sum(axis=0)
    return counts


def layer_cost(stored: Stored, tile: Tile, stride: Three) -> float:
    """A convolution's work for an output pixel, in multiply-adds: those of all kernels, and their loads."""
    area = tile.rows * tile.vectors * LANES
    total = 0.0
    for count, taps in zip(class_counts(stored), stored.classes, strict=True):
        elements, loads = reads_of(taps, tile, stride)
        total += int(count) * (len(taps) + (ELEMENT_COST * elements + LOAD_COST * loads) / area)
    return total
