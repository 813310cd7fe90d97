"""Element by element: what linalg remains between layers (additions, products, activations), and transposes.

    %z = linalg.generic {identity, (d0, d1, d2, d3) -> (d0, d1, 0, 0)} ins(%x, %scale)
    -> a thread a vector of pixels:  x = load;  s = splat(load scale[plane]);  store f(x, s)

Each operand says where an element of the result finds its own: a loop of the result, or nothing, for each
of its dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..emitter import WIDE, Buffer, Emitter, Kernel, Work, vectors_of
from ..layout import LANES, Layout, Matrix, Rows
from .copies import pixel_at
from .tiles import store_vector, write_margins

Body = Callable[[Emitter, list[str], str], str]  # the result of values of a type


@dataclass(frozen=True)
class Operand:
    """A tensor of ``shape``, as it lies (None: f32 elements one behind the other); ``loops``: the dimension
    of the result that each of its own follows, None where it is always 0."""

    layout: Layout | None
    shape: tuple[int, ...]
    loops: tuple[int | None, ...]


@dataclass(frozen=True)
class Elementwise:
    """A result of ``shape`` in ``target``, from ``operands``."""

    target: Layout
    shape: tuple[int, ...]
    operands: tuple[Operand, ...]
    half: bool = False


def elementwise(layer: Elementwise, body: Body) -> Kernel:
    """The kernel of a layer whose elements are ``body`` of the operands'."""
    element = "f16" if layer.half else "f32"
    buffers = [_buffer(f"input_{at}", layer, operand, element) for at, operand in enumerate(layer.operands)]
    if isinstance(layer.target, Matrix):
        return _matrix(layer, layer.target, buffers, body)
    target = layer.target
    work = Work(target.planes, target.depth * target.height * target.across)
    e = Emitter([*buffers, vectors_of("output", target.vectors, element, True)], layer.half, work.threads)

    def tile(plane: str, number: str) -> None:
        place = e.split(number, target.height, target.across)
        batch, channel = e.divided(plane, layer.shape[1])
        image = [*place[:2], e.times(place[2], LANES)][-(len(layer.shape) - 2):]
        loops = [batch, channel, *image]
        values = [_vector(e, layer, at, loops, place) for at in range(len(layer.operands))]
        store_vector(e, target, body(e, values, WIDE), plane, place)
        write_margins(e, target, plane, number, work.tiles)

    return work.run(e, tile)


def _buffer(name: str, layer: Elementwise, operand: Operand, element: str) -> Buffer:
    layout = operand.layout
    if layout is None:
        count = 1
        for size in operand.shape:
            count *= size
        return Buffer(name, "f32", count)
    if _as_vectors(layer, operand):
        return vectors_of(name, layout.vectors, element)
    return Buffer(name, element, LANES * layout.vectors)


def _as_vectors(layer: Elementwise, operand: Operand) -> bool:
    """Whether neighbouring pixels of the result find neighbouring ones in whole vectors."""
    return (isinstance(layer.target, Rows) and isinstance(operand.layout, Rows)
            and operand.loops[-1] == len(layer.shape) - 1)


def _vector(e: Emitter, layer: Elementwise, at: int, loops: Sequence[str], place: Sequence[str]) -> str:
    """Four pixels of an operand, f32."""
    operand, name = layer.operands[at], f"input_{at}"
    if _as_vectors(layer, operand):
        assert isinstance(operand.layout, Rows)
        own = _places(e, operand, [*loops[:-1], place[2]])
        plane, z, y, x = _image(e, operand, own)
        first = pixel_at(e, operand.layout, plane, z, y, e.index(0))
        first = e.new(f"arith.divui {first}, {e.index(LANES)} : index")
        return e.widened(e.load(name, e.add(first, x)))
    if operand.loops and (len(layer.shape) - 1) in operand.loops:
        lanes = []
        for lane in range(LANES):
            x = e.clamped(e.add(loops[-1], lane), layer.shape[-1])
            lanes.append(_scalar(e, layer, at, [*loops[:-1], x]))
        return e.joined(lanes, "f32")
    return e.splat(_scalar(e, layer, at, loops), "f32")


def _scalar(e: Emitter, layer: Elementwise, at: int, loops: Sequence[str]) -> str:
    """One element of an operand, f32."""
    operand, name = layer.operands[at], f"input_{at}"
    own = _places(e, operand, loops)
    if operand.layout is None:
        total = e.index(0)
        for size, place in zip(operand.shape, own, strict=True):
            total = e.add(e.times(total, size), place)
        return e.load(name, total)
    if isinstance(operand.layout, Matrix):
        row = own[0] if len(own) == 2 else e.add(e.times(own[0], operand.shape[1]), own[1])
        return e.widened(e.load(name, e.add(e.times(row, operand.layout.pitch), own[-1])), scalar=True)
    return e.widened(e.load(name, pixel_at(e, operand.layout, *_image(e, operand, own))), scalar=True)


def _places(e: Emitter, operand: Operand, loops: Sequence[str]) -> list[str]:
    return [e.index(0) if loop is None else loops[loop] for loop in operand.loops]


def _image(e: Emitter, operand: Operand, own: Sequence[str]) -> tuple[str, str, str, str]:
    """Plane, slice, row and pixel of an image's element."""
    plane = e.add(e.times(own[0], operand.shape[1]), own[1])
    z, y, x = [e.index(0), e.index(0), *own[2:]][-3:]
    return plane, z, y, x


def _matrix(layer: Elementwise, target: Matrix, buffers: list[Buffer], body: Body) -> Kernel:
    """A thread an element."""
    work = Work(target.rows, target.columns)
    element = "f16" if layer.half else "f32"
    inner = layer.shape[1:-1]  # of three dimensions the second lies inside a row's number
    output = Buffer("output", element, target.rows * target.pitch, True)
    e = Emitter([*buffers, output], layer.half, work.threads)

    def one(row: str, column: str) -> None:
        loops = [*e.split(row, *inner), column]
        values = [_scalar(e, layer, at, loops) for at in range(len(layer.operands))]
        value = e.narrowed(body(e, values, "f32"), scalar=True)
        e.store(value, "output", e.add(e.times(row, target.pitch), column))

    return work.run(e, one)
