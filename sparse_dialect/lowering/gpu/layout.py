"""How tensors lie in a GPU's buffers: rows of pixel vectors between zeros.

    place of (plane, y, x), in elements = ((plane * (height + 2 margin) + y + margin) * pitch + left) * 4 + x

A plane is one channel of one example. A row is ``pitch`` vectors of 4 pixels; the first ``left`` of them are
zeros, and the right margin of the row before it. Behind the last plane lie rows that a tile may read beyond
the image. So every tap of every kernel is a load at a constant offset, without a test at borders. Buffers
start as zeros and kernels write pixels of the image alone.
"""

from __future__ import annotations

from dataclasses import dataclass

LANES = 4
SPARE_ROWS = 16  # more than a tile and its kernel reach beyond the last plane


@dataclass(frozen=True)
class Rows:
    """``planes`` images of ``height`` x ``width`` pixels with ``margin`` zeros on every side."""

    planes: int
    height: int
    width: int
    margin: int

    @property
    def left(self) -> int:
        """Vectors of zeros before each row."""
        return -(-max(self.margin, 1) // LANES)

    @property
    def across(self) -> int:
        """Vectors of a row's pixels; the last may be part full."""
        return -(-self.width // LANES)

    @property
    def pitch(self) -> int:
        """Vectors from one row to the next."""
        return self.left + self.across

    @property
    def plane(self) -> int:
        """Vectors from one plane to the next."""
        return (self.height + 2 * self.margin) * self.pitch

    @property
    def origin(self) -> int:
        """The vector of the first plane's pixel (0, 0)."""
        return self.margin * self.pitch + self.left

    @property
    def vectors(self) -> int:
        """Vectors of the whole buffer."""
        return self.planes * self.plane + (SPARE_ROWS + self.margin) * self.pitch


@dataclass(frozen=True)
class Flat:
    """``count`` elements one behind the other: inputs and outputs of the model, rows of linear layers."""

    count: int

    @property
    def vectors(self) -> int:
        """Vectors of the whole buffer."""
        return -(-self.count // LANES)


Layout = Rows | Flat
