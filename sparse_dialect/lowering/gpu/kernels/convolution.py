"""Convolutions whose kernels follow a library of patterns: pattern, connectivity, and dense as one full
pattern.

A thread owns ``rows`` x 4 ``vectors`` output pixels of one filter, all in registers; y of a workgroup is the
stored filter, so that run bounds, channels and weights are the same for the whole group and control flow is
uniform. For each pattern there is one loop over the filter's run of kernels that have it; its body knows its
taps, loads each input vector once (LRE) and multiplies.

    for p in patterns:                                  # unrolled
      for k in rows[f][p] .. rows[f][p + 1]:
        at = index[k] + tile
        for each input row that p touches:
          load its vectors, and what stands beside them
          acc[...] += weight[k][tap] * (vector, or two of them shifted)

Strided and dilated ones have a tile of one pixel, with scalar loads. After the loops: residual, activation,
and stores of pixels of the image alone (the rest of a row's last vector is zeros: the next row's left
margin).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..emitter import VECTOR, Buffer, Emitter, Kernel, groups_of
from ..layout import LANES, Rows

Pattern = tuple[tuple[int, int], ...]  # (dy, dx) of each tap
KernelBody = Callable[[Pattern, str, list[str]], list[str]]


@dataclass(frozen=True)
class PatternConvolution:
    """A layer as its kernel reads it. ``patterns``: (dy, dx) of each tap, from the output pixel's own place
    in the input, dilation and padding included. Buffers:

        rows   [F, P + 2] i32   the filter's plane, where each pattern's run starts, the end of the last
        index  [K] i32          vectors from the input's first plane to the kernel's channel
        weight [K, taps] f32    ``taps``: of the longest pattern
        bias   [F] f32          in stored order
    """

    source: Rows
    target: Rows
    filters: int
    kernels: int
    patterns: tuple[tuple[tuple[int, int], ...], ...]
    stride: tuple[int, int]
    activation: str
    residual: Rows | None = None
    rows: int = 4
    vectors: int = 2

    @property
    def taps(self) -> int:
        """Weights stored for a kernel."""
        return max(map(len, self.patterns))

    @property
    def tiled(self) -> bool:
        """Whether pixels of a row are read as vectors."""
        return self.stride == (1, 1)

    def buffers(self) -> list[Buffer]:
        """The kernel's arguments."""
        found = [
            Buffer("input", VECTOR, self.source.vectors),
            Buffer("pixels", "f32", LANES * self.source.vectors),
            Buffer("rows", "i32", self.filters * (len(self.patterns) + 2)),
            Buffer("index", "i32", max(self.kernels, 1)),
            Buffer("weight", "f32", max(self.kernels, 1) * self.taps),
            Buffer("bias", "f32", self.filters),
        ]
        if self.residual:
            found.append(
                Buffer(
                    "residual",
                    VECTOR if self.tiled else "f32",
                    self.residual.vectors * (1 if self.tiled else LANES),
                )
            )
        return [
            *found,
            Buffer(
                "output",
                VECTOR if self.tiled else "f32",
                self.target.vectors * (1 if self.tiled else LANES),
                True,
            ),
        ]


def convolution(layer: PatternConvolution) -> Kernel:
    """The kernel of a layer; z of a workgroup is the example of the batch."""
    return _tiled(layer) if layer.tiled else _pixelwise(layer)


def _runs(
    e: Emitter, layer: PatternConvolution, start: Sequence[str], type_: str, body: KernelBody
) -> list[str]:
    """The sums after every pattern's loop; ``body(pattern, kernel, sums)`` writes one kernel's products."""
    row = e.times("%by", len(layer.patterns) + 2)
    sums, high = list(start), e.load_index("rows", e.add(row, 1))
    for number, pattern in enumerate(layer.patterns):
        low, high = high, e.load_index("rows", e.add(row, number + 2))
        sums = e.loop(low, high, sums, type_, partial(body, pattern))
    return sums


def _planes(e: Emitter, layer: PatternConvolution) -> tuple[str, str]:
    """Vectors from the buffers' first plane to the example's first channel, and the filter's plane."""
    batch = layer.target.planes // layer.filters
    channels = layer.source.planes // batch
    source = e.times("%bz", channels * layer.source.plane)
    plane = e.add(
        e.times("%bz", layer.filters), e.load_index("rows", e.times("%by", len(layer.patterns) + 2))
    )
    return source, plane


def _tiled(layer: PatternConvolution) -> Kernel:
    e = Emitter(layer.buffers())
    source, target = layer.source, layer.target
    down, across = -(-target.height // layer.rows), -(-target.across // layer.vectors)
    thread = e.thread()

    def tile() -> None:
        row, column = e.divided(thread, across)
        y, x = e.times(row, layer.rows), e.times(column, layer.vectors)
        example, plane = _planes(e, layer)
        origin = e.add(e.add(e.add(e.times(y, source.pitch), x), example), source.origin)

        def body(pattern: Sequence[tuple[int, int]], k: str, sums: list[str]) -> list[str]:
            first = e.times(k, layer.taps)
            weights = [e.splat(e.load("weight", e.add(first, at))) for at in range(len(pattern))]
            return _products(e, layer, e.add(origin, e.load_index("index", k)), pattern, weights, sums)

        start = e.splat(e.load("bias", "%by"))
        sums = _runs(e, layer, [start] * (layer.rows * layer.vectors), VECTOR, body)
        _store_tile(e, layer, (y, x, plane), sums)

    e.when(e.below(thread, down * across), tile)
    batch = target.planes // layer.filters
    return e.kernel((groups_of(down * across), layer.filters, batch))


def _products(
    e: Emitter,
    layer: PatternConvolution,
    at: str,
    pattern: Sequence[tuple[int, int]],
    weights: Sequence[str],
    sums: Sequence[str],
) -> list[str]:
    """``sums`` and one kernel's products, input row by input row, so that few are live."""
    sums = list(sums)
    lowest, highest = min(dy for dy, _ in pattern), max(dy for dy, _ in pattern)
    for row in range(lowest, layer.rows + highest):
        uses = [(tap, row - dy, dx) for tap, (dy, dx) in enumerate(pattern) if 0 <= row - dy < layer.rows]
        loaded: dict[int, str] = {}
        shifted: dict[tuple[int, int], str] = {}
        for tap, out, dx in uses:
            for v in range(layer.vectors):
                if (v, dx) not in shifted:
                    shifted[v, dx] = _shifted(e, layer, at, row, LANES * v + dx, loaded)
                place = out * layer.vectors + v
                sums[place] = e.multiply_add(shifted[v, dx], weights[tap], sums[place], VECTOR)
    return sums


def _shifted(e: Emitter, layer: PatternConvolution, at: str, row: int, x: int, loaded: dict[int, str]) -> str:
    """Four pixels of an input row from its pixel ``x`` on; a pixel beside the tile is read alone."""
    pitch = layer.source.pitch

    def vector(number: int) -> str:
        if number not in loaded:
            edge = (
                number in (-1, layer.vectors)
                and x % LANES in (1, LANES - 1)
                and (number < 0) == (x % LANES == LANES - 1)
            )
            if edge:
                pixel = LANES * (row * pitch + number) + (LANES - 1 if number < 0 else 0)
                return e.splat(e.load("pixels", e.add(e.times(at, LANES), pixel)))
            loaded[number] = e.load("input", e.add(at, row * pitch + number))
        return loaded[number]

    first, shift = divmod(x, LANES)
    if not shift:
        return vector(first)
    lanes = ", ".join(str(shift + lane) for lane in range(LANES))
    return e.new(f"vector.shuffle {vector(first)}, {vector(first + 1)} [{lanes}] : {VECTOR}, {VECTOR}")


def _store_tile(
    e: Emitter, layer: PatternConvolution, place: tuple[str, str, str], sums: Sequence[str]
) -> None:
    """Residual, activation, and stores of what lies in the image; ``place``: row, vector and plane."""
    y, x, plane = place
    target = layer.target
    for number, total in enumerate(sums):
        row, column = e.add(y, number // layer.vectors), e.add(x, number % layer.vectors)

        def store(total: str = total, row: str = row, column: str = column) -> None:
            if layer.residual:
                there = e.load("residual", _vector_at(e, layer.residual, plane, row, column))
                total = e.new(f"arith.addf {total}, {there} : {VECTOR}")
            total = e.activated(total, layer.activation, VECTOR)
            e.store(_inside(e, target, total, column), "output", _vector_at(e, target, plane, row, column))

        inside = e.new(f"arith.andi {e.below(row, target.height)}, {e.below(column, target.across)} : i1")
        e.when(inside, store)


def _vector_at(e: Emitter, rows: Rows, plane: str, y: str, x: str) -> str:
    """The place of a vector in a buffer."""
    first = e.add(e.times(plane, rows.plane), e.times(y, rows.pitch))
    return e.add(e.add(first, x), rows.origin)


def _inside(e: Emitter, target: Rows, value: str, column: str) -> str:
    """``value`` with zeros in lanes beyond the image."""
    beyond = target.width % LANES
    if not beyond:
        return value
    zero = e.real(0, VECTOR)
    lanes = ", ".join(str(lane if lane < beyond else LANES) for lane in range(LANES))
    cut = e.new(f"vector.shuffle {value}, {zero} [{lanes}] : {VECTOR}, {VECTOR}")
    last = e.new(f"arith.cmpi eq, {column}, {e.index(target.across - 1)} : index")
    mask = e.new(f"vector.broadcast {last} : i1 to vector<4xi1>")
    return e.new(f"arith.select {mask}, {cut}, {value} : vector<4xi1>, {VECTOR}")


def _pixelwise(layer: PatternConvolution) -> Kernel:
    e = Emitter(layer.buffers())
    source, target = layer.source, layer.target
    pixels = target.height * target.width
    thread = e.thread()

    def pixel() -> None:
        y, x = e.divided(thread, target.width)
        example, plane = _planes(e, layer)
        row = e.add(e.add(e.times(y, layer.stride[0] * source.pitch), example), source.origin)

        def body(pattern: Sequence[tuple[int, int]], k: str, sums: list[str]) -> list[str]:
            first = e.times(k, layer.taps)
            at = e.add(e.times(e.add(row, e.load_index("index", k)), LANES), e.times(x, layer.stride[1]))
            for tap, (dy, dx) in enumerate(pattern):
                value = e.load("pixels", e.add(at, dy * source.pitch * LANES + dx))
                sums = [e.multiply_add(value, e.load("weight", e.add(first, tap)), sums[0], "f32")]
            return sums

        (total,) = _runs(e, layer, [e.load("bias", "%by")], "f32", body)
        if layer.residual:
            there = e.load("residual", pixel_at(e, layer.residual, plane, y, x))
            total = e.new(f"arith.addf {total}, {there} : f32")
        e.store(e.activated(total, layer.activation, "f32"), "output", pixel_at(e, target, plane, y, x))

    e.when(e.below(thread, pixels), pixel)
    return e.kernel((groups_of(pixels), layer.filters, target.planes // layer.filters))


def pixel_at(e: Emitter, rows: Rows, plane: str, y: str, x: str) -> str:
    """The place of a pixel in a buffer of f32."""
    first = e.add(e.add(e.times(plane, rows.plane), e.times(y, rows.pitch)), rows.origin)
    return e.add(e.times(first, LANES), x)
