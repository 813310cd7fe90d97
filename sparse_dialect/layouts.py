"""Where each pixel lies: row-major planes and lane grids.

A lane grid cuts an H x W image into Lh x Lw tiles of ``rows`` x ``columns`` pixels; lane l = i * Lw + j
holds tile (i, j), so one vector (a *line*) holds the same place of all tiles (architecture page, section 4;
dimension-lifted transposition, Henretty et al., CC 2011). A lifted tensor is [N, C, lines, lanes]:

    lifted[n][c][r * columns + q][i * Lw + j] = x[n][c][i * rows + r][j * columns + q]

No halo is stored: each convolution packs the tile that it reads, halo included, into scratch. ``lines`` is
odd, so that planes do not fall on the same cache sets (with an even count and tall tiles a convolution ran
up to 4x slower).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Plain:
    """Row-major H x W planes."""

    height: int
    width: int

    @property
    def plane(self) -> int:
        """Elements from one channel to the next."""
        return self.height * self.width

    def places(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Element offsets inside a plane of pixels (y, x); -1 where they lie outside the image."""
        inside = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
        return np.where(inside, y * self.width + x, -1)


@dataclass(frozen=True)
class LaneGrid:
    """An Lh x Lw grid of lanes over an H x W image."""

    lanes_high: int
    lanes_wide: int
    height: int
    width: int

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
    def lines(self) -> int:
        """Vectors of one channel: rows x columns, made odd."""
        return self.rows * self.columns | 1

    @property
    def plane(self) -> int:
        """Elements from one channel to the next."""
        return self.lines * self.lanes

    @property
    def waste(self) -> float:
        """Lanes x lines that hold no pixel, as a share of all."""
        return 1 - self.height * self.width / (self.rows * self.columns * self.lanes)

    def places(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Element offsets inside a plane of pixels (y, x); -1 where they lie outside the image."""
        inside = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
        i, r = np.divmod(np.clip(y, 0, self.height - 1), self.rows)
        j, q = np.divmod(np.clip(x, 0, self.width - 1), self.columns)
        return np.where(inside, ((r * self.columns + q) * self.lanes) + i * self.lanes_wide + j, -1)

    def pixels(self, row: np.ndarray, column: np.ndarray,
               stride: tuple[int, int] = (1, 1)) -> tuple[np.ndarray, np.ndarray]:
        """Image coordinates (y, x), a last axis of lanes added, of place (row, column) of every tile.

        With a ``stride``, of the pixel that a strided window at that place starts from."""
        lane = np.arange(self.lanes)
        y = (lane // self.lanes_wide) * self.rows * stride[0] + np.asarray(row)[..., None]
        x = (lane % self.lanes_wide) * self.columns * stride[1] + np.asarray(column)[..., None]
        return y, x


Layout = Plain | LaneGrid


def lift(x: np.ndarray, grid: LaneGrid) -> np.ndarray:
    """[..., H, W] -> [..., lines, lanes], zeros where a lane holds no pixel."""
    flat = np.concatenate([x.reshape(*x.shape[:-2], -1), np.zeros((*x.shape[:-2], 1), x.dtype)], axis=-1)
    r, q = np.divmod(np.arange(grid.rows * grid.columns), grid.columns)
    places = Plain(grid.height, grid.width).places(*grid.pixels(r, q))
    lifted = np.zeros((*x.shape[:-2], grid.lines, grid.lanes), x.dtype)
    lifted[..., : len(places), :] = flat[..., places]
    return lifted


def unlift(x: np.ndarray, grid: LaneGrid) -> np.ndarray:
    """[..., lines, lanes] -> [..., H, W]."""
    y, column = np.indices((grid.height, grid.width))
    return x.reshape(*x.shape[:-2], -1)[..., grid.places(y, column)]


def candidate_grids(height: int, width: int, lanes: int) -> list[LaneGrid]:
    """Every grid of ``lanes`` lanes, the least wasteful first, near-square tiles before long ones."""
    grids = [LaneGrid(high, lanes // high, height, width) for high in range(1, lanes + 1)
             if lanes % high == 0]
    return sorted(grids, key=lambda g: (g.rows * g.columns, abs(np.log2(g.rows / g.columns))))
