"""Emits changes of layout, for planes (image, channel) begin .. end: row-major to a lane grid and back.

Where every lane holds pixels, and enough of them:

    for each slice d, row r, columns q .. q + lanes:          # the last ones reach back
      lines r * columns + q ... = transposed(pixels [i * rows + r, j * columns + q ...] of each lane (i, j))

and back. A core that interleaves as many vectors as there are lanes does it while it stores (ST4) or loads
(LD4); others shuffle pairs of vectors. Elsewhere unlifting gathers by a table of places, and lifting is a
1x1 max pool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from ....devices.cores import Core
from ....geometry.layouts import LaneGrid, Plain
from ....ir.mlir import ir
from ....ir.values import element_of
from ..emit.builder import Builder, Value, func, memref, private_function, vector


def transposes(grid: LaneGrid) -> bool:
    """Whether whole vectors of row-major pixels make up the lines of ``grid``."""
    full = grid.height == grid.rows * grid.lanes_high and grid.width == grid.columns * grid.lanes_wide
    return full and grid.columns >= grid.lanes and grid.lanes.bit_count() == 1


def emit_lift(module: ir.Operation, name: str, operand_types: list[ir.Type], core: Core, grid: LaneGrid,
              channels: int) -> None:
    """Adds ``func.func private @name``: input [N, C, pixels], output [N, C, lines, lanes], begin and end of
    the planes; for a grid that ``transposes``."""
    _, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        b = Builder(entry, grid.lanes, core)
        source, output, begin, end = entry.arguments
        flat, short = flatten(output), ir.VectorType.get([b.lanes], element_of(output.type))

        def plane(at: Value) -> None:
            n, c = b.divide(at, channels)

            def lines(places: list[Value], line: Value) -> None:
                values = [b.convert(b.load(source, n, c, place, aligned=False), short) for place in places]
                if core.interleaves == b.lanes:
                    vector.StoreOp(_interleaved(b, values), flat, [n, c, b.multiply(line, b.lanes)])
                    return
                for at, value in enumerate(_transposed(b, values)):
                    b.store(value, output, n, c, b.add(line, at), b.index(0))

            _each_stretch(b, grid, lines)

        b.loop(begin, end, plane)
        func.ReturnOp([])


def emit_unlift(module: ir.Operation, name: str, operand_types: list[ir.Type], core: Core, grid: LaneGrid,
                channels: int) -> None:
    """Adds ``func.func private @name``: input [N, C, lines, lanes], output [N, C, pixels], [places i32
    [pixels], unless the grid ``transposes``,] begin and end of the planes."""
    _, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        source, output, *places, begin, end = entry.arguments
        b, held = Builder(entry, grid.lanes, core), Builder(entry, grid.lanes, core, element_of(source.type))
        flat = flatten(source)

        def plane(at: Value) -> None:
            n, c = b.divide(at, channels)

            def lines(to: list[Value], line: Value) -> None:
                if core.interleaves == b.lanes:
                    type_ = ir.VectorType.get([b.lanes * b.lanes], element_of(source.type))
                    values = _dealt(b, vector.LoadOp(type_, flat, [n, c, b.multiply(line, b.lanes)]).result)
                else:
                    values = _transposed(b, [held.load(source, n, c, b.add(line, at), b.index(0))
                                             for at in range(b.lanes)])
                for place, value in zip(to, values, strict=True):
                    b.store(value, output, n, c, place, aligned=False)

            if places:
                _gather_plane(b, source, flat, output, places[0], n, c)
            else:
                _each_stretch(b, grid, lines)

        b.loop(begin, end, plane)
        func.ReturnOp([])


def _each_stretch(b: Builder, grid: LaneGrid, emit: Callable[[list[Value], Value], None]) -> None:
    """``emit(places, line)`` for all stretches of ``lanes`` columns: ``places`` is where each lane's pixels
    begin in the row-major plane, ``line`` the first of the lines that they make up."""
    plain = Plain(grid.height, grid.width, grid.depth)
    lanes = [(lane // grid.lanes_wide, lane % grid.lanes_wide) for lane in range(grid.lanes)]
    starts = [i * grid.rows * plain.width + j * grid.columns for i, j in lanes]

    def row(d: Value, r: Value) -> None:
        place = b.add(b.multiply(d, plain.height * plain.width), b.multiply(r, plain.width))
        line = b.add(b.multiply(d, grid.slice_lines), b.multiply(r, grid.columns))

        def stretch(q: Value) -> None:
            emit([b.add(b.add(place, q), start) for start in starts], b.add(line, q))

        b.loop(0, grid.columns // grid.lanes * grid.lanes, stretch, step=grid.lanes)
        if grid.columns % grid.lanes:
            stretch(b.index(grid.columns - grid.lanes))  # some columns twice

    b.loop(0, grid.depth, lambda d: b.loop(0, grid.rows, lambda r: row(d, r)))


def _interleaved(b: Builder, values: Sequence[Value]) -> Value:
    """The first elements of all ``values``, then their second ones, and so on: one long vector."""
    joined, count = values[0], len(values)
    for at, value in enumerate(values[1:], 1):
        joined = vector.ShuffleOp(joined, value, list(range((at + 1) * b.lanes))).result
    order = [at * b.lanes + lane for lane in range(b.lanes) for at in range(count)]
    return vector.ShuffleOp(joined, joined, order).result


def _dealt(b: Builder, loaded: Value) -> list[Value]:
    """``_interleaved`` undone."""
    orders = [list(range(lane, b.lanes * b.lanes, b.lanes)) for lane in range(b.lanes)]
    return [vector.ShuffleOp(loaded, loaded, order).result for order in orders]


def _transposed(b: Builder, values: Sequence[Value]) -> list[Value]:
    """Vectors of the first elements of all ``values``, of their second ones, and so on.

    A round for each bit of a lane's number: vectors whose numbers differ in that bit exchange the lanes that
    do."""
    result, step, lanes = list(values), 1, range(b.lanes)
    while step < b.lanes:
        low = [lane if not lane & step else b.lanes + lane - step for lane in lanes]
        high = [lane + step if not lane & step else b.lanes + lane for lane in lanes]
        for at in (at for at in lanes if not at & step):
            pair = result[at], result[at + step]
            result[at], result[at + step] = (vector.ShuffleOp(*pair, mask).result for mask in (low, high))
        step *= 2
    return result


def _gather_plane(b: Builder, source: Value, flat: Value, output: Value, places: Value, n: Value,
                  c: Value) -> None:
    """All pixels of a plane from their ``places``."""
    pixels = ir.MemRefType(output.type).shape[2]

    def vectors(first: Value) -> None:
        b.store(b.gather(source, [n, c], b.places(places, first)), output, n, c, first, aligned=False)

    def pixel(i: Value) -> None:
        b.put(b.scalar(flat, n, c, b.integer(places, i)), output, n, c, i)

    if pixels < b.lanes:
        b.loop(0, pixels, pixel)
    else:
        b.loop(0, pixels // b.lanes * b.lanes, vectors, step=b.lanes)
        if pixels % b.lanes:
            vectors(b.index(pixels - b.lanes))  # some pixels twice


def flatten(buffer: Value) -> Value:
    """[N, C, ...], which may be some channels of a larger one, as [N, C, elements of a channel]."""
    type_ = ir.MemRefType(buffer.type)
    n, c, *inner = type_.shape
    if len(inner) == 1:
        return buffer
    strides, offset = type_.get_strides_and_offset()
    part = strides[0] != c * strides[1] or offset
    layout = ir.StridedLayoutAttr.get(offset, [*strides[:2], 1]) if part else None
    i64 = ir.IntegerType.get_signless(64)
    groups = [ir.ArrayAttr.get([ir.IntegerAttr.get(i64, dimension) for dimension in group])
              for group in ([0], [1], range(2, len(inner) + 2))]
    flat = ir.MemRefType.get([n, c, prod(inner)], type_.element_type, layout=layout)
    return memref.CollapseShapeOp(flat, buffer, ir.ArrayAttr.get(groups)).result
