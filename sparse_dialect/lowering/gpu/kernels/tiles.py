"""What kernels over rows of pixel vectors share: reading shifted pixels, storing, writing margins.

    input row   | 3 | 4 5 6 7 | 8 9 10 11 |      pixels 3 4 5 6 (a tap to the left): pixel 3 alone and the
                      `----------- vector          first vector, shuffled; a load a vector, however often used
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..emitter import Buffer, Emitter
from ..layout import LANES, Rows


def input_buffers(source: Rows, element: str) -> list[Buffer]:
    """An image as vectors, and the same as pixels."""
    return [
        Buffer("input", f"vector<{LANES}x{element}>", source.vectors),
        Buffer("pixels", element, LANES * source.vectors),
    ]


class RowReader:
    """Reads pixels of one input row, ``at`` vectors into the input plus ``offset``: a load each time, which
    ``sparse-eliminate-redundant-loads`` shares.

    ``wanted`` lists the groups of four pixels, by their places from the first, that ``read`` will be asked
    for: a vector of which they touch one pixel alone is read as that pixel.
    """

    def __init__(self, e: Emitter, at: str, offset: int, wanted: Iterable[Sequence[int]]) -> None:
        self._e, self._at, self._offset = e, at, offset
        self._filter = 0
        self._touched = touched_pixels(wanted)

    def read(self, places: Sequence[int], reader: int = 0) -> str:
        """The vector of the four pixels at ``places``, for filter ``reader`` of the group."""
        self._filter = reader
        numbers = list(dict.fromkeys(place // LANES for place in places))
        value = self._vector(numbers[0])
        if len(numbers) == 1 and [place % LANES for place in places] == list(range(LANES)):
            return value
        if len(numbers) == 1:  # upstream would make the second operand of a shuffle with itself a poison
            lanes_of_it = {place % LANES: self._e.lane(value, place % LANES) for place in places}
            return self._e.joined([lanes_of_it[place % LANES] for place in places], self._e.element)
        second = self._vector(numbers[1])
        known = {numbers[0]: 0, numbers[1]: LANES}
        lanes = [known.get(place // LANES, 0) + place % LANES for place in places]
        value = self._e.lanes(value, second, lanes)
        for number in numbers[2:]:
            more = self._vector(number)
            mixed = [LANES + place % LANES if place // LANES == number else lane
                     for lane, place in enumerate(places)]
            value = self._e.lanes(value, more, mixed)
        return value

    def _vector(self, number: int) -> str:
        e, place = self._e, self._offset + number
        touched = self._touched[number]
        if len(touched) == 1:
            at = e.add(e.times(self._at, LANES), LANES * place + min(touched))
            return e.splat(e.load("pixels", at, self._filter))
        return e.load("input", e.add(self._at, place), self._filter)


def touched_pixels(wanted: Iterable[Sequence[int]]) -> dict[int, set[int]]:
    """Of each vector of a row, by its number, the pixels that are asked for."""
    touched: dict[int, set[int]] = {}
    for places in wanted:
        for place in places:
            touched.setdefault(place // LANES, set()).add(place % LANES)
    return touched


def places_of(vector: int, tap: int, stride: int) -> tuple[int, ...]:
    """The pixels that a tap reads for the outputs of a vector."""
    return tuple(stride * (LANES * vector + lane) + tap for lane in range(LANES))


def vector_at(e: Emitter, rows: Rows, plane: str, z: str, y: str, x: str) -> str:
    """The place of a vector in a buffer."""
    at = e.add(e.times(plane, rows.plane), e.times(y, rows.pitch))
    if rows.depth > 1:
        at = e.add(at, e.times(z, rows.slice))
    return e.add(e.add(at, x), rows.origin)


def store_vector(e: Emitter, target: Rows, value: str, plane: str, place: Sequence[str]) -> None:
    """Writes f32 pixels at ``place`` (z, y and vector) of ``output``, zeros in lanes beyond the image."""
    value = e.narrowed(inside(e, target, value, place[2]))
    z, y, x = place
    e.store(value, "output", vector_at(e, target, plane, z, y, x))


def inside(e: Emitter, target: Rows, value: str, column: str) -> str:
    """``value``, f32, with zeros in lanes beyond the image."""
    beyond = target.width % LANES
    if not beyond:
        return value
    zero = e.real(0, "vector<4xf32>")
    cut = e.lanes(value, zero, [lane if lane < beyond else LANES for lane in range(LANES)], "vector<4xf32>")
    if target.across == 1:
        return cut
    last = e.new(f"arith.cmpi eq, {column}, {e.index(target.across - 1)} : index")
    mask = e.new(f"vector.broadcast {last} : i1 to vector<4xi1>")
    return e.new(f"arith.select {mask}, {cut}, {value} : vector<4xi1>, vector<4xf32>")


def write_margins(e: Emitter, target: Rows, plane: str, thread: str, threads: int) -> None:
    """Zeros around a plane of ``output``, by ``threads`` threads together; nothing where nobody pads."""
    if not target.margin and not target.deep:
        return
    zero = e.real(0, e.vector)
    first = e.times(plane, target.plane)
    rows = (target.depth + 2 * target.deep) * (target.height + 2 * target.margin)

    def left(k: str, _: list[str]) -> list[str]:
        row, x = e.divided(k, target.left)
        e.store(zero, "output", e.add(e.add(first, e.times(row, target.pitch)), x))
        return []

    def empty(k: str, _: list[str]) -> list[str]:
        number, x = e.divided(k, target.across)
        at = e.add(e.add(first, e.times(_empty_row(e, target, number), target.pitch)), x)
        e.store(zero, "output", e.add(at, target.left))
        return []

    # one more left margin: that behind the last row
    e.loop(thread, e.index((rows + 1) * target.left), [], "", left, threads)
    count = rows - target.depth * target.height
    e.loop(thread, e.index(count * target.across), [], "", empty, threads)


def _empty_row(e: Emitter, target: Rows, number: str) -> str:
    """The row of a plane, counted with all margins, that is its ``number``-th row of zeros."""
    high = target.height + 2 * target.margin

    def within(number: str) -> str:
        """The row among slices of the image."""
        if not target.margin:
            return number
        z, row = e.divided(number, 2 * target.margin)
        below = e.below(row, target.margin)
        y = e.chosen(below, row, e.add(row, target.height))
        return e.add(e.times(z, high), y)

    if not target.deep:
        return within(number)
    before, between = target.deep * high, target.depth * 2 * target.margin
    own = e.add(number, -before)
    behind = e.add(number, target.depth * target.height)
    row = e.chosen(e.below(own, between), e.add(within(own), before), behind)
    return e.chosen(e.below(number, before), number, row)
