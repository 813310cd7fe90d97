"""Convolutions whose kernels follow a library of classes: every scheme, and dense as one full class.

A thread owns a tile of ``rows`` x 4 ``vectors`` output pixels of a group of filters, all in registers; the
group is the workgroup's, so that run bounds, channels and weights are the same for the whole of it and
control flow is uniform (on maps with few tiles several groups share a workgroup). A stored kernel is one
input channel, with a place in the input and a class: which taps are multiplied for which filters. For each
class there is one loop over the group's run of kernels of that class; its body loads each input vector once
(LRE) and multiplies.

    for p in classes:                                   # unrolled
      for k in rows[g][p] .. rows[g][p + 1]:
        at = index[k] + tile
        for each input row that p touches:
          load its vectors, and what stands beside them
          acc[filter, ...] += weight[k][tap, filter] * (vector, or two of them shuffled)

pattern and connectivity (PatDNN): a filter a group, a class a pattern. bcr, kgs: the filters that share
columns a group, a class a set of horizontal taps. unstructured, n_m: a class a tap. After the loops:
residual, a maximum of 2 x 2 pixels, activation, stores, and the margins of the planes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ....activations import activation_named
from ..emitter import WIDE, Buffer, Emitter, Kernel, Work, vectors_of
from ..layout import LANES, Rows
from .tiles import (
    RowReader,
    input_buffers,
    places_of,
    store_vector,
    touched_pixels,
    vector_at,
    write_margins,
)

LONGEST_HALF_SUM = 256  # products that are summed in halves


@dataclass(frozen=True, order=True)
class Tap:
    """A product of a class: the pixel (dz, dy, dx), from the output's own place in the input, dilation and
    padding included, with the ``filter`` of the group."""

    dz: int
    dy: int
    dx: int
    filter: int = 0


@dataclass(frozen=True)
class Tile:
    """Output pixels of a thread, for each filter of its group: ``rows`` x 4 ``vectors``."""

    rows: int
    vectors: int


@dataclass(frozen=True)
class Convolution:
    """A layer as its kernel reads it. Buffers:

        rows   [G, S + P + 1] i32   planes of the S filters, where each class's run starts, the last's end
        index  [K] i32              vectors from the input's first pixel to the kernel's channel
        weight [K, products]        of the longest class, rounded up to vectors
        bias   [G, S] f32           in stored order
    """

    source: Rows
    target: Rows
    batch: int
    groups: int
    filters: int  # of a group
    kernels: int
    classes: tuple[tuple[Tap, ...], ...]
    stride: tuple[int, int, int]
    activation: str
    residual: Rows | None
    tile: Tile
    half: bool = False
    pooled: bool = False  # the target holds maxima of 2 x 2 pixels
    threads: int = 0  # of a workgroup; 0: as many as suit the image
    filters_first: bool = False  # workgroups go through the filters of a place, else through places

    @property
    def image(self) -> tuple[int, int]:
        """Rows, and vectors of a row, that are computed."""
        scale = 2 if self.pooled else 1
        return scale * self.target.height, scale * self.target.across

    @property
    def products(self) -> int:
        """Weights stored for a kernel."""
        return products_of(self.classes)

    @property
    def row(self) -> int:
        """Entries of ``rows`` for a group."""
        return self.filters + len(self.classes) + 1

    @property
    def element(self) -> str:
        """What tensors and weights hold."""
        return "f16" if self.half else "f32"

    @property
    def work(self) -> Work:
        """The groups of filters and their tiles."""
        rows, vectors = self.image
        down, across = -(-rows // self.tile.rows), -(-vectors // self.tile.vectors)
        return Work(self.groups, self.target.depth * down * across, self.batch, self.threads,
                    self.filters_first)

    def buffers(self) -> list[Buffer]:
        """The kernel's arguments."""
        kernels = max(self.kernels, 1)
        weight = (
            Buffer("weight", self.element, kernels)
            if self.products == 1
            else vectors_of("weight", kernels * self.products // LANES, self.element)
        )
        return [
            *input_buffers(self.source, self.element),
            Buffer("rows", "i32", self.groups * self.row),
            Buffer("index", "i32", kernels),
            weight,
            Buffer("bias", "f32", self.groups * self.filters),
            *([vectors_of("residual", self.residual.vectors, self.element)] if self.residual else []),
            vectors_of("output", self.target.vectors, self.element, True),
        ]


def products_of(classes: Sequence[Sequence[Tap]]) -> int:
    """Weights that a kernel has room for: one, or as many vectors as the longest class needs."""
    longest = max(map(len, classes))
    return 1 if longest == 1 else -(-longest // LANES) * LANES


def convolution(layer: Convolution) -> Kernel:
    """The kernel of a layer."""
    e = Emitter(layer.buffers(), layer.half, layer.work.threads)
    return layer.work.run(e, partial(_tile, e, layer))


def _tile(e: Emitter, layer: Convolution, group: str, number: str) -> None:
    source, target, tile = layer.source, layer.target, layer.tile
    rows, vectors = layer.image
    down, across = -(-rows // tile.rows), -(-vectors // tile.vectors)
    z, row, column = e.split(number, down, across)
    y, x = e.times(row, tile.rows), e.times(column, tile.vectors)
    sz, sy, sx = layer.stride
    at = e.add(e.times(e.times(y, sy), source.pitch), e.times(x, sx))
    if target.depth > 1:
        at = e.add(at, e.times(z, sz * source.slice))
    if layer.batch > 1:
        at = e.add(at, e.times("%bz", source.planes // layer.batch * source.plane))
    origin = e.add(at, source.origin)
    entry = e.times(group, layer.row)
    bias = [e.load("bias", e.add(e.times(group, layer.filters), own)) for own in range(layer.filters)]
    area = tile.rows * tile.vectors
    sums = [value for own in bias for value in [e.splat(own, "f32")] * area]
    high = e.load_index("rows", e.add(entry, layer.filters))
    for at_class, taps in enumerate(layer.classes):
        low, high = high, e.load_index("rows", e.add(entry, layer.filters + at_class + 1))
        most = max(1, LONGEST_HALF_SUM // len(taps))
        body = partial(_kernel, e, layer, origin, taps)
        sums = e.restarting_loop(low, high, sums, most, body, kind=at_class)
    for own in range(layer.filters):
        plane = e.load_index("rows", e.add(entry, own))
        if layer.batch > 1:
            plane = e.add(plane, e.times("%bz", target.planes // layer.batch))
        (_store_pooled if layer.pooled else _store)(e, layer, plane, (z, y, x),
                                                    sums[own * area : (own + 1) * area])
        write_margins(e, target, plane, number, layer.work.tiles)


def _kernel(
    e: Emitter, layer: Convolution, origin: str, taps: Sequence[Tap], k: str, sums: list[str]
) -> list[str]:
    """``sums`` and one kernel's products, input row by input row, so that few are live."""
    sums, tile = list(sums), layer.tile
    at = e.add(origin, e.load_index("index", k))
    weights = _Weights(e, layer, k)
    for line in lines_of(taps, tile, layer.stride):
        offset = line.dz * layer.source.slice + line.row * layer.source.pitch
        reader = RowReader(e, at, offset, line.wanted)
        for number, tap, out in line.uses:
            for v in range(tile.vectors):
                place = (tap.filter * tile.rows + out) * tile.vectors + v
                pixels = reader.read(places_of(v, tap.dx, layer.stride[2]), tap.filter)
                sums[place] = e.multiply_add(pixels, weights.splat(number), sums[place], e.vector)
    return sums


@dataclass(frozen=True)
class Line:
    """An input row of a tile: which products read it (the number of the tap, the tap, the output row), and
    the groups of four pixels that they ask for."""

    dz: int
    row: int
    uses: tuple[tuple[int, Tap, int], ...]
    wanted: tuple[tuple[int, ...], ...]


def lines_of(taps: Sequence[Tap], tile: Tile, stride: Sequence[int]) -> Iterator[Line]:
    """The input rows that a kernel of a class reads, in order."""
    _, sy, sx = stride
    for dz in sorted({tap.dz for tap in taps}):
        own = [(number, tap) for number, tap in enumerate(taps) if tap.dz == dz]
        lowest = min(tap.dy for _, tap in own)
        highest = max(tap.dy for _, tap in own)
        for row in range(lowest, sy * (tile.rows - 1) + highest + 1):
            uses = [(number, tap, (row - tap.dy) // sy) for number, tap in own
                    if (row - tap.dy) % sy == 0 and 0 <= row - tap.dy < sy * tile.rows]
            wanted = [places_of(v, tap.dx, sx) for _, tap, _ in uses for v in range(tile.vectors)]
            yield Line(dz, row, tuple(uses), tuple(wanted))


def reads_of(taps: Sequence[Tap], tile: Tile, stride: Sequence[int]) -> tuple[int, int]:
    """Elements and load instructions of the input for one kernel of a class and one tile."""
    elements = instructions = 0
    for line in lines_of(taps, tile, stride):
        for touched in touched_pixels(line.wanted).values():
            elements += 1 if len(touched) == 1 else LANES
            instructions += 1
    return elements, instructions


class _Weights:
    """The weights of one kernel, each vector of them loaded where the first is used."""

    def __init__(self, e: Emitter, layer: Convolution, k: str) -> None:
        self._e, self._k, self._products = e, k, layer.products
        self._vectors: dict[int, str] = {}
        self._splats: dict[int, str] = {}

    def splat(self, number: int) -> str:
        """A weight in all lanes."""
        e = self._e
        if number not in self._splats:
            if self._products == 1:
                self._splats[number] = e.splat(e.load("weight", self._k))
            else:
                vector, lane = divmod(number, LANES)
                if vector not in self._vectors:
                    at = e.add(e.times(self._k, self._products // LANES), vector)
                    self._vectors[vector] = e.load("weight", at)
                own = self._vectors[vector]
                self._splats[number] = e.splat(e.lane(own, lane))
        return self._splats[number]


def _store(
    e: Emitter, layer: Convolution, plane: str, place: tuple[str, str, str], sums: Sequence[str]
) -> None:
    """Residual, activation, and stores of what lies in the image; ``place``: slice, row and vector."""
    z, y, x = place
    target, tile = layer.target, layer.tile
    for number, total in enumerate(sums):
        row, column = e.add(y, number // tile.vectors), e.add(x, number % tile.vectors)

        def store(total: str = total, row: str = row, column: str = column) -> None:
            if layer.residual:
                there = e.load("residual", vector_at(e, layer.residual, plane, z, row, column))
                total = e.new(f"arith.addf {total}, {e.widened(there)} : {WIDE}")
            store_vector(e, target, e.activated(total, layer.activation, WIDE), plane, (z, row, column))

        conditions = [
            e.below(value, limit)
            for value, limit, size in ((row, target.height, tile.rows), (column, target.across, tile.vectors))
            if limit % size
        ]
        if not conditions:
            store()
        else:
            e.when(conditions[0] if len(conditions) == 1 else e.both(*conditions), store)


def _store_pooled(
    e: Emitter, layer: Convolution, plane: str, place: tuple[str, str, str], sums: Sequence[str]
) -> None:
    """Maxima of 2 x 2 pixels, of two vectors beside each other in two rows a vector; activations that never
    fall come after them."""
    z, y, x = place
    target, tile = layer.target, layer.tile
    late = activation_named(layer.activation).monotone
    if not late:
        sums = [e.activated(total, layer.activation, WIDE) for total in sums]
    first = [e.divided(value, 2)[0] for value in (y, x)]
    for down in range(tile.rows // 2):
        for over in range(tile.vectors // 2):
            at = 2 * down * tile.vectors + 2 * over
            both = [e.applied("max", [sums[at + side], sums[at + tile.vectors + side]], WIDE)
                    for side in range(2)]
            pairs = [e.lanes(both[0], both[1], range(side, 2 * LANES, 2), WIDE) for side in range(2)]
            total = e.applied("max", pairs, WIDE)
            total = e.activated(total, layer.activation, WIDE) if late else total
            row, column = e.add(first[0], down), e.add(first[1], over)
            inside = e.both(e.below(row, target.height), e.below(column, target.across))
            e.when(inside, partial(store_vector, e, target, total, plane, (z, row, column)))
