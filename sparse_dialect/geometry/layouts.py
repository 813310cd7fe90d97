"""Where each pixel lies: row-major volumes and lane grids.

A lane grid cuts an H x W image into Lh x Lw tiles of ``rows`` x ``columns`` pixels; lane l = i * Lw + j
holds tile (i, j), so one vector (a *line*) holds the same place of all tiles (docs/architecture.md, 2;
dimension-lifted transposition, Henretty et al., CC 2011). A volume is D such images, its *slices*. A lifted
tensor is [N, C, D * slice_lines, lanes]:

    lifted[n][c][d * slice_lines + r * columns + q][i * Lw + j] = x[n][c][d][i * rows + r][j * columns + q]

No halo is stored: each convolution packs the tile that it reads, halo included, into scratch.
``slice_lines`` is odd, so that slices and channels do not fall on the same cache sets (with an even count
and tall tiles a convolution ran up to 4x slower).

An image has depth 1, and a signal (1-D) height 1 as well: everything below a layer's attributes counts
three dimensions, see ``three``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

Three = tuple[int, int, int]


def three(values: Sequence[int], fill: int = 1) -> Three:
    """(depth, height, width) of one to three numbers, the last ones given; the others are ``fill``."""
    depth, height, width = (*(fill,) * (3 - len(values)), *values)
    return depth, height, width


def box(depths: Iterable[int], rows: Iterable[int], columns: Iterable[int]) -> list[Three]:
    """Every (depth, row, column), row-major."""
    return list(product(depths, rows, columns))


@dataclass(frozen=True)
class Plain:
    """Row-major D x H x W volumes."""

    height: int
    width: int
    depth: int = 1

    @staticmethod
    def of(sizes: Sequence[int]) -> Plain:
        """The layout of [N, C, *sizes]."""
        depth, height, width = three(sizes)
        return Plain(height, width, depth)

    @property
    def plane(self) -> int:
        """Elements from one channel to the next."""
        return self.depth * self.height * self.width

    def places(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Element offsets inside a channel of pixels (z, y, x); -1 where they lie outside the volume."""
        place = (z * self.height + y) * self.width + x
        return np.where(_inside(self, z, y, x), place, -1)


@dataclass(frozen=True)
class LaneGrid:
    """An Lh x Lw grid of lanes over each of D images H x W."""

    lanes_high: int
    lanes_wide: int
    height: int
    width: int
    depth: int = 1

    @staticmethod
    def of(lanes_high: int, lanes_wide: int, sizes: Sequence[int]) -> LaneGrid:
        """A grid over a volume of one to three ``sizes``."""
        depth, height, width = three(sizes)
        return LaneGrid(lanes_high, lanes_wide, height, width, depth)

    def over(self, sizes: Sequence[int]) -> LaneGrid:
        """The same lanes over another volume of one to three ``sizes``."""
        return LaneGrid.of(self.lanes_high, self.lanes_wide, sizes)

    @property
    def image(self) -> Three:
        """(depth, height, width)."""
        return self.depth, self.height, self.width

    @property
    def lanes(self) -> int:
        return self.lanes_high * self.lanes_wide

    @property
    def rows(self) -> int:
        return -(-self.height // self.lanes_high)

    @property
    def columns(self) -> int:
        return -(-self.width // self.lanes_wide)

    @property
    def shape(self) -> Three:
        """Lines as they are indexed: (depth, rows, columns)."""
        return self.depth, self.rows, self.columns

    @property
    def slice_lines(self) -> int:
        """Vectors of one slice: rows x columns, made odd."""
        return self.rows * self.columns | 1

    @property
    def lines(self) -> int:
        """Vectors of one channel."""
        return self.depth * self.slice_lines

    @property
    def used_lines(self) -> int:
        """Vectors of one channel up to the last that holds a pixel."""
        return self.lines - self.slice_lines + self.rows * self.columns

    @property
    def plane(self) -> int:
        """Elements from one channel to the next."""
        return self.lines * self.lanes

    @property
    def waste(self) -> float:
        """Lanes x lines that hold no pixel, as a share of all."""
        return 1 - self.height * self.width / (self.rows * self.columns * self.lanes)

    def line(self, depth: int, row: int, column: int) -> int:
        """The number of a line inside its channel."""
        return depth * self.slice_lines + row * self.columns + column

    def places(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Element offsets inside a channel of pixels (z, y, x); -1 where they lie outside the volume."""
        i, r = np.divmod(np.clip(y, 0, self.height - 1), self.rows)
        j, q = np.divmod(np.clip(x, 0, self.width - 1), self.columns)
        line = z * self.slice_lines + r * self.columns + q
        return np.where(_inside(self, z, y, x), line * self.lanes + i * self.lanes_wide + j, -1)

    def pixels(self, row: np.ndarray, column: np.ndarray,
               stride: tuple[int, int] = (1, 1)) -> tuple[np.ndarray, np.ndarray]:
        """Image coordinates (y, x), a last axis of lanes added, of place (row, column) of every tile.

        With a ``stride``, of the pixel that a strided window at that place starts from."""
        lane = np.arange(self.lanes)
        y = (lane // self.lanes_wide) * self.rows * stride[0] + np.asarray(row)[..., None]
        x = (lane % self.lanes_wide) * self.columns * stride[1] + np.asarray(column)[..., None]
        return y, x


Layout = Plain | LaneGrid


def _inside(layout: Layout, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return ((z >= 0) & (z < layout.depth) & (y >= 0) & (y < layout.height) & (x >= 0) & (x < layout.width))


def lift(x: np.ndarray, grid: LaneGrid) -> np.ndarray:
    """[N, C, *image] to [N, C, lines, lanes]; zeros where a lane holds no pixel."""
    batch, channels = x.shape[:2]
    lifted = np.zeros((batch, channels, grid.plane), x.dtype)
    lifted[..., grid.places(*np.indices(grid.image)).ravel()] = x.reshape(batch, channels, -1)
    return lifted.reshape(batch, channels, grid.lines, grid.lanes)


def unlift(x: np.ndarray, grid: LaneGrid) -> np.ndarray:
    """[N, C, lines, lanes] to [N, C, H, W], or [N, C, D, H, W] where the depth is more than 1."""
    places = grid.places(*np.indices(grid.image))
    return x.reshape(*x.shape[:2], -1)[..., places[0] if grid.depth == 1 else places]


def candidate_grids(sizes: Sequence[int], lanes: int) -> list[LaneGrid]:
    """Every grid of ``lanes`` lanes over a volume of one to three ``sizes``, the least wasteful first,
    near-square tiles before long ones."""
    grids = [LaneGrid.of(high, lanes // high, sizes) for high in range(1, lanes + 1)
             if lanes % high == 0]
    return sorted(grids, key=lambda g: (g.rows * g.columns, abs(np.log2(g.rows / g.columns))))
