"""How tensors lie in a GPU's buffers: rows of pixel vectors between zeros, matrices, and plain elements.

    place of (plane, z, y, x), in elements =
        (((plane * (depth + 2 deep) + z + deep) * (height + 2 margin) + y + margin) * pitch + left) * 4 + x

A plane is one channel of one example. A row is ``pitch`` vectors of 4 pixels; the first ``left`` of them are
zeros, and the right margin of the row before it. Behind the last plane lie rows that a tile may read beyond
the image. So every tap of every kernel is a load at a constant offset, without a test at borders. Memory is
reused, so whoever writes a tensor writes its margins too (``kernels/tiles.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

LANES = 4
SPARE_ROWS = 16  # more than a tile and its kernel reach beyond the last plane
MATRIX_ALIGNMENT = 128  # elements: rows of a matrix begin where a descriptor may begin (256 bytes of halves)


@dataclass(frozen=True)
class Rows:
    """``planes`` images of ``depth`` slices of ``height`` x ``width`` pixels, with ``margin`` zeros on every
    side of a slice and ``deep`` slices of zeros before and behind."""

    planes: int
    depth: int
    height: int
    width: int
    margin: int
    deep: int = 0

    @property
    def image(self) -> tuple[int, int, int]:
        """Slices, rows and pixels of a plane, without zeros."""
        return self.depth, self.height, self.width

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
    def slice(self) -> int:
        """Vectors from one slice to the next."""
        return (self.height + 2 * self.margin) * self.pitch

    @property
    def plane(self) -> int:
        """Vectors from one plane to the next."""
        return (self.depth + 2 * self.deep) * self.slice

    @property
    def origin(self) -> int:
        """The vector of the first plane's pixel (0, 0, 0)."""
        return self.deep * self.slice + self.margin * self.pitch + self.left

    @property
    def vectors(self) -> int:
        """Vectors of the whole buffer."""
        return self.planes * self.plane + (SPARE_ROWS + self.margin) * self.pitch


@dataclass(frozen=True)
class Matrix:
    """``rows`` of ``columns`` elements; each row begins at a multiple of MATRIX_ALIGNMENT."""

    rows: int
    columns: int

    @property
    def pitch(self) -> int:
        """Elements from one row to the next."""
        return -(-self.columns // MATRIX_ALIGNMENT) * MATRIX_ALIGNMENT

    @property
    def vectors(self) -> int:
        """Vectors of the whole buffer."""
        return self.rows * self.pitch // LANES


@dataclass(frozen=True)
class Plain:
    """``count`` elements one behind the other, as PyTorch has them: ``f32``, ``i32``, or ``i1`` (an i32 that
    is 0 or 1), whatever the precision."""

    count: int
    element: str = "f32"

    @property
    def vectors(self) -> int:
        """Vectors of the whole buffer."""
        return -(-self.count // LANES)


Layout = Rows | Matrix | Plain


@dataclass(frozen=True)
class Tensor:
    """A tensor of ``shape`` (images: N, C and up to three sizes; matrices: two or three), as it lies; plain
    ones from element ``first`` of their buffer on, a multiple of LANES."""

    layout: Layout
    shape: tuple[int, ...]
    first: int = 0

    @property
    def kind(self) -> str:
        """What its elements are where they are computed: f32, index or i1."""
        element = self.layout.element if isinstance(self.layout, Plain) else "f32"
        return {"f32": "f32", "i32": "index", "i1": "i1"}[element]

    def stored(self, half: bool) -> str:
        """What an element of its buffer is."""
        if isinstance(self.layout, Plain):
            return "f32" if self.layout.element == "f32" else "i32"
        return "f16" if half else "f32"

    def bytes(self, half: bool) -> int:
        """Of its buffer."""
        return self.layout.vectors * LANES * (2 if self.stored(half) == "f16" else 4)


def same_order(own: Tensor, wanted: Tensor) -> bool:
    """Whether a buffer of one tensor is one of the other too."""
    a, b = own.layout, wanted.layout
    if isinstance(a, Rows) and isinstance(b, Rows):
        return (a.planes, a.image) == (b.planes, b.image) and (a.margin, a.deep) == (b.margin, b.deep)
    return a == b
