"""Products of matrices that are both computed: one is packed into panels, and tiles of the result stay in
registers.

    C[m, n] += A[m, k] * B[k, n]
    -> P[p, k, j] = B[k, 32 p + j]                         a copy: the lines of a panel follow each other
       for panels, for blocks of rows: 14 x 2 vectors of C; for k: 2 vectors of P, 14 numbers of A

As many panels as stay near (``NEAR``) meet a block of rows before the next block comes. A small B whose lines
are near each other already is read where it lies. Where there are many products, each of matrices of its own,
a thread packs a B into its scratch just before it multiplies (``apart``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from ...ir.mlir import bindings, ir
from .nest import Access, Nest

memref: Any = bindings("dialects.memref")

NEAR = 1 << 20  # bytes of panels that stay in L2
NEAR_AS_IT_IS = 96 << 10  # bytes from the first to the last number of a B that needs no packing
NEAR_APART = 32 << 10  # the same, where one is packed in cache
FEWEST_MATRICES = 16  # of their own, for threads to share
MOST_ROWS = 14  # of a tile
LONG = 16  # vectors of a line
FEWEST_ROWS = 8  # with fewer, packing costs more than it gives
FEWEST_TERMS = 8


@dataclass(frozen=True)
class Tiles:
    """The tiles that so many ``registers`` of ``lanes`` hold."""

    registers: int
    lanes: int

    def rows(self, vectors: int) -> int:
        """Rows of the largest tile of so many vectors a row, beside the vectors of a panel's line and one
        number of the other matrix."""
        return min((self.registers - 1 - vectors) // vectors, MOST_ROWS)

    def widths(self, columns: int) -> list[tuple[int, int]]:
        """How many panels of how many columns each: wide ones, which load less for each product, where there
        are many columns, and narrower ones for those that are left."""
        usual = 4 * self.lanes if self.lanes <= 4 else 2 * self.lanes
        whole = columns // self.lanes
        if whole >= LONG and self.registers >= 32 and self.lanes > 4:
            narrow = -whole % 3
            found = [((whole - 2 * narrow) // 3, 3 * self.lanes), (narrow, usual), (1, columns % self.lanes)]
        else:
            found = [(columns // usual, usual), (1, columns % usual)]
        return [(count, width) for count, width in found if count and width]


@dataclass(frozen=True)
class Product:
    """A nest that multiplies matrices: which of its loops and inputs are which; ``others`` are the loops over
    several matrices. ``apart``: only one B is packed at a time."""

    nest: Nest
    m: int
    n: int
    k: int
    a: int
    b: int
    others: tuple[int, ...]
    apart: bool = False

    @staticmethod
    def of(nest: Nest) -> Product | None:
        """None where ``nest``, merged, is something else, or too small to be packed."""
        if not _multiplies(nest) or nest.reduces.count(True) != 1:
            return None
        out = nest.outputs[0]
        k = nest.reduces.index(True)
        free = [at for at in range(len(nest.sizes)) if at != k]
        n = next((at for at in free if out.strides[at] == 1), None)
        if n is None or any(out.strides[at] == 0 for at in free):
            return None
        sides = [number for number, access in enumerate(nest.inputs) if access.strides[n]]
        if len(sides) != 1:
            return None
        b, a = sides[0], 1 - sides[0]
        rows = [at for at in free if at != n and nest.accesses[b].strides[at] == 0]
        if not rows or nest.accesses[b].strides[k] == 0 or nest.accesses[a].strides[k] == 0:
            return None
        m = max(rows, key=lambda at: nest.sizes[at])
        if nest.sizes[m] < FEWEST_ROWS or nest.sizes[k] < FEWEST_TERMS:
            return None
        return Product(nest, m, n, k, a, b, tuple(at for at in free if at not in (m, n)))

    @property
    def moved(self) -> tuple[int, ...]:
        """The loops over matrices of B."""
        return tuple(at for at in self.others if self.nest.accesses[self.b].strides[at])

    @property
    def rows(self) -> int:
        """Rows of all matrices of the result."""
        return prod(self.nest.sizes[at] for at in (*self.others, self.m))

    @property
    def has_rows_first(self) -> bool:
        """Whether the outermost loops are those over matrices, then rows."""
        return (*self.others, self.m) == tuple(range(len(self.others) + 1))

    @property
    def is_packed(self) -> bool:
        """Whether B is packed: it is large, or its lines do not lie along vectors."""
        b = self.nest.accesses[self.b]
        lines = self.nest.sizes[self.k] * b.strides[self.k]
        near = NEAR_APART if self.apart else NEAR_AS_IT_IS
        return b.strides[self.n] != 1 or 4 * max(lines, self.nest.sizes[self.n]) > near

    @property
    def matrices(self) -> int:
        """How many products there are."""
        return prod(self.nest.sizes[at] for at in self.others)

    @property
    def packed(self) -> tuple[int, ...]:
        """The loops over matrices of B that are packed side by side."""
        return () if self.apart else self.moved

    @property
    def packed_size(self) -> int:
        """Elements of B as it is packed."""
        sizes = self.nest.sizes
        return prod(sizes[at] for at in self.packed) * sizes[self.k] * sizes[self.n]

    def one_by_one(self) -> Product | None:
        """The same with one B packed at a time, where there are enough for threads to share, and it is small
        and packed at all."""
        made = replace(self, apart=True)
        first = self.others == self.moved == tuple(range(len(self.others)))
        enough = first and self.matrices >= FEWEST_MATRICES and 4 * made.packed_size <= NEAR
        return made if enough and made.is_packed else None

    def parts(self, tiles: Tiles) -> list[Panels]:
        """All columns in panels, those of one width together."""
        columns, found, done = self.nest.sizes[self.n], [], 0
        for count, width in tiles.widths(columns):
            found.append(Panels(self, tiles, count, width, done, self.packed_size // columns * done))
            done += count * width
        return found


@dataclass(frozen=True)
class Panels:
    """``count`` panels of ``width`` columns each, from column ``first``; packed, they begin at ``offset``."""

    product: Product
    shapes: Tiles
    count: int
    width: int
    first: int
    offset: int

    def packing(self, buffer: Any) -> Nest:
        """The copy of these columns to ``buffer``: loops over matrices, panels, lines and columns."""
        nest, product = self.product.nest, self.product
        source = nest.accesses[product.b]
        step, moved = source.strides[product.n], product.moved
        own = (self.count, nest.sizes[product.k], self.width)
        sizes = (*(nest.sizes[at] for at in moved), *own)
        strides = (*(source.strides[at] for at in moved), self.width * step, source.strides[product.k], step)
        read = _access(source.value, sizes, strides, source.offset + self.first * step, written=False)
        places = (*(0,) * len(moved), *_contiguous(own)) if product.apart else _contiguous(sizes)
        written = _access(buffer, sizes, places, self.offset, written=True)
        return Nest(nest.op, sizes, (False,) * len(sizes), (read, written), ((0, 1),) * len(sizes),
                    nest.starts, copies=True)

    @property
    def vectors(self) -> int:
        """Vectors of a line."""
        return -(-self.width // self.shapes.lanes)

    def tiles(self, buffer: Any, together: int = 0) -> list[tuple[Nest, int, int]]:
        """The product as nests (matrices, ``together`` rows or all, groups of panels, blocks of rows,
        panels, rows of a tile, columns, terms), each with its loops over a tile's rows and over columns."""
        rows = together or self.product.nest.sizes[self.product.m]
        height = _height(rows, self.shapes.rows(self.vectors))
        blocks, rest = divmod(rows, height)
        found = [self._tiles(buffer, rows, blocks, height, 0)] if blocks else []
        return [*found, self._tiles(buffer, rows, 1, rest, blocks * height)] if rest else found

    def _tiles(self, buffer: Any, rows: int, blocks: int, height: int, first: int) -> tuple[Nest, int, int]:
        product, nest = self.product, self.product.nest
        terms = nest.sizes[product.k]
        near = max(1, NEAR // (4 * terms * self.width))
        group = max(size for size in range(1, self.count + 1) if self.count % size == 0 and size <= near)
        others = [nest.sizes[at] for at in product.others]
        chunks = nest.sizes[product.m] // rows
        sizes = (*others, chunks, self.count // group, blocks, group, height, self.width, terms)
        a, c = nest.accesses[product.a], nest.outputs[0]

        def strides(access: Access, groups: int, panels: int, columns: int) -> tuple[int, ...]:
            row = access.strides[product.m]
            return (*(access.strides[at] for at in product.others), rows * row, groups, height * row, panels,
                    row, columns, access.strides[product.k])

        left = _access(a.value, sizes, strides(a, 0, 0, 0), a.offset + first * a.strides[product.m],
                       written=False)
        right = self._right(buffer, sizes, group)
        result = replace(_access(c.value, sizes, strides(c, group * self.width, self.width, 1),
                                 c.offset + first * c.strides[product.m] + self.first, written=True),
                         initial=c.initial)
        inputs = (left, right) if product.a < product.b else (right, left)
        last = len(sizes) - 1
        made = replace(nest, sizes=sizes, reduces=(*(False,) * last, True), accesses=(*inputs, result),
                       origins=((0, 1),) * len(sizes))
        return made, last - 2, last - 1

    def _right(self, buffer: Any, sizes: tuple[int, ...], group: int) -> Access:
        """Where tiles find these columns of B: packed in ``buffer``, or, without it, where they are."""
        product, b = self.product, self.product.nest.accesses[self.product.b]
        nest, panel = product.nest, product.nest.sizes[product.k] * self.width
        if buffer is None:
            steps = (*(b.strides[at] for at in product.others), 0, group * self.width, 0, self.width, 0, 1,
                     b.strides[product.k])
            return _access(b.value, sizes, steps, b.offset + self.first, written=False)
        packed = dict(zip(product.packed, _contiguous((*(nest.sizes[at] for at in product.packed),
                                                       self.count * panel)), strict=False))
        steps = (*(packed.get(at, 0) for at in product.others), 0, group * panel, 0, panel, 0, 1, self.width)
        return _access(buffer, sizes, steps, self.offset, written=False)


def _multiplies(nest: Nest) -> bool:
    """Whether the body adds the product of two inputs to the one output, of f32."""
    if nest.is_copy or len(nest.inputs) != 2 or len(nest.outputs) != 1:
        return False
    if any(access.is_scalar or str(access.element) != "f32" for access in nest.accesses):
        return False
    ops = [view.operation for view in nest.body.operations]
    if [op.name for op in ops] != ["arith.mulf", "arith.addf", "linalg.yield"]:
        return False
    multiply, add, end = ops
    left, right, out = nest.body.arguments
    return (set(multiply.operands) == {left, right} and set(add.operands) == {multiply.results[0], out}
            and end.operands[0] == add.results[0])


def _height(rows: int, most: int) -> int:
    """Rows of a tile: as many as fit, so that the last tile is as high as the others, if that can be."""
    even = [height for height in range(most, most - most // 4, -1) if rows % height == 0]
    return even[0] if even else -(-rows // -(-rows // most))


def _contiguous(sizes: Sequence[int]) -> tuple[int, ...]:
    return tuple(prod(sizes[at + 1:]) for at in range(len(sizes)))


def _access(value: Any, sizes: Sequence[int], strides: tuple[int, ...], offset: int, *,
            written: bool) -> Access:
    extent = 1 + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    return Access(value, strides, offset, extent, written)


def panels_buffer(product: Product) -> Any:
    """Memory for B as it is packed, at the current insertion point."""
    element = product.nest.accesses[product.b].element
    return memref.AllocOp(ir.MemRefType.get([product.packed_size], element), [], []).result
