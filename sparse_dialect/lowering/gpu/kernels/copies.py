"""Copies between layouts: elements as PyTorch has them, images in rows, matrices, planes behind planes."""

from __future__ import annotations

from functools import partial

from ..emitter import Buffer, Emitter, Kernel, Work, vectors_of
from ..layout import LANES, Layout, Matrix, Rows
from .tiles import store_vector, vector_at, write_margins


def from_plain(target: Layout, half: bool) -> Kernel:
    """Elements one behind the other, f32 (an input of the model), into ``target``."""
    if isinstance(target, Matrix):
        return _matrix(target, half, plain_source=True)
    return into_rows(target, prod_of(target), half, plain=True)


def to_plain(source: Layout, half: bool) -> Kernel:
    """``source`` as f32 elements one behind the other (an output of the model)."""
    if isinstance(source, Matrix):
        return _matrix(source, half, plain_source=False)
    return out_of_rows(source, prod_of(source), half, plain=True)


def prod_of(rows: Rows) -> Matrix:
    """The pixels of all planes as one row of a matrix."""
    return Matrix(1, rows.planes * rows.depth * rows.height * rows.width)


def into_rows(target: Rows, source: Matrix, half: bool, plain: bool = False) -> Kernel:
    """Rows of ``source``, an example each (or, if ``plain``, f32 elements one behind the other), as images:
    a thread a vector of pixels."""
    element = "f16" if half else "f32"
    work = Work(target.planes, target.depth * target.height * target.across)
    count = source.columns if plain else source.rows * source.pitch
    e = Emitter([Buffer("input", "f32" if plain else element, count),
                 vectors_of("output", target.vectors, element, True)], half, work.threads)
    area = target.depth * target.height * target.width

    def tile(plane: str, number: str) -> None:
        z, y, x = e.split(number, target.height, target.across)
        line = e.add(e.times(e.add(e.times(z, target.height), y), target.width), e.times(x, LANES))
        start = _place(e, source, plane, target.planes, area, line)
        pixels = []
        for lane in range(LANES):
            at = e.new(f"arith.minsi {e.add(start, lane)}, {e.index(count - 1)} : index")
            value = e.load("input", at)
            pixels.append(value if plain else e.widened(value, scalar=True))
        value = e.joined(pixels, "f32")
        store_vector(e, target, value, plane, (z, y, x))
        write_margins(e, target, plane, number, work.tiles)

    return work.run(e, tile)


def out_of_rows(source: Rows, target: Matrix, half: bool, plain: bool = False) -> Kernel:
    """The reverse of ``into_rows``: a thread a pixel."""
    element = "f16" if half else "f32"
    work = Work(source.planes, source.depth * source.height * source.width)
    count = target.columns if plain else target.rows * target.pitch
    e = Emitter([Buffer("input", element, LANES * source.vectors),
                 Buffer("output", "f32" if plain else element, count, True)], half, work.threads)

    def pixel(plane: str, number: str) -> None:
        z, y, x = e.split(number, source.height, source.width)
        value = e.load("input", pixel_at(e, source, plane, z, y, x))
        at = _place(e, target, plane, source.planes, work.tiles, number)
        e.store(e.widened(value, scalar=True) if plain else value, "output", at)

    return work.run(e, pixel)


def _place(e: Emitter, matrix: Matrix, plane: str, planes: int, area: int, number: str) -> str:
    """The element of a matrix, a row an example, that holds element ``number`` of a plane."""
    if matrix.rows == 1:
        return e.add(e.times(plane, area), number)
    row, own = e.divided(plane, planes // matrix.rows)
    return e.add(e.add(e.times(row, matrix.pitch), e.times(own, area)), number)


def pixel_at(e: Emitter, rows: Rows, plane: str, z: str, y: str, x: str) -> str:
    """The place of a pixel in a buffer of single elements."""
    at = e.add(e.add(e.times(plane, rows.plane), e.times(y, rows.pitch)), rows.origin)
    if rows.depth > 1:
        at = e.add(at, e.times(z, rows.slice))
    return e.add(e.times(at, LANES), x)


def _matrix(matrix: Matrix, half: bool, plain_source: bool) -> Kernel:
    """A matrix from, or as, f32 elements one behind the other."""
    element = "f16" if half else "f32"
    work = Work(matrix.rows, matrix.columns)
    plain = Buffer("input" if plain_source else "output", "f32", matrix.rows * matrix.columns,
                   not plain_source)
    own = Buffer("output" if plain_source else "input", element, matrix.rows * matrix.pitch, plain_source)
    e = Emitter([plain, own] if plain_source else [own, plain], half, work.threads)
    change = partial(e.narrowed if plain_source else e.widened, scalar=True)

    def element_(row: str, column: str) -> None:
        outside = e.add(e.times(row, matrix.columns), column)
        inside = e.add(e.times(row, matrix.pitch), column)
        source, target = (outside, inside) if plain_source else (inside, outside)
        e.store(change(e.load("input", source)), "output", target)

    return work.run(e, element_)



def planes(source: Rows, target: Rows, batch: int, first: tuple[int, int], half: bool) -> Kernel:
    """For each example of a batch, the planes of ``source`` from ``first[0]`` on as planes of ``target`` from
    ``first[1]`` on, as many as the smaller has (a slice, or a part of a concatenation)."""
    element = "f16" if half else "f32"
    count = min(source.planes, target.planes) // batch
    work = Work(batch * count, source.depth * source.height * source.across)
    e = Emitter([vectors_of("input", source.vectors, element),
                 vectors_of("output", target.vectors, element, True)], half, work.threads)

    def tile(owner: str, number: str) -> None:
        example, own = e.divided(owner, count)
        there, here = (
            e.add(e.add(e.times(example, rows.planes // batch), own), start)
            for rows, start in zip((source, target), first, strict=True)
        )
        place = e.split(number, source.height, source.across)
        value = e.load("input", vector_at(e, source, there, *place))
        e.store(value, "output", vector_at(e, target, here, *place))
        write_margins(e, target, here, number, work.tiles)

    return work.run(e, tile)


def columns(source: Matrix, target: Matrix, first: tuple[int, int], half: bool) -> Kernel:
    """Columns of a matrix from ``first[0]`` on as those of another from ``first[1]`` on, as many as the
    smaller has."""
    element = "f16" if half else "f32"
    work = Work(source.rows, min(source.columns, target.columns))
    e = Emitter([Buffer("input", element, source.rows * source.pitch),
                 Buffer("output", element, target.rows * target.pitch, True)], half, work.threads)

    def one(row: str, column: str) -> None:
        there = e.add(e.add(e.times(row, source.pitch), column), first[0])
        here = e.add(e.add(e.times(row, target.pitch), column), first[1])
        e.store(e.load("input", there), "output", here)

    return work.run(e, one)
