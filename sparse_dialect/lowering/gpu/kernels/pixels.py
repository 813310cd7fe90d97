"""Pools, copies between layouts and dense matrix products: a thread an output element, scalar loads."""

from __future__ import annotations

from dataclasses import dataclass

from ..emitter import Buffer, Emitter, Kernel, groups_of
from ..layout import LANES, Flat, Rows
from .convolution import pixel_at


@dataclass(frozen=True)
class Pool:
    """``max`` or ``average`` of windows of ``kernel`` pixels; padding counts as -inf, or as zeros."""

    source: Rows
    target: Rows
    kind: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class Product:
    """out [rows, M] = act(x [rows, K] @ weight [K, M] + bias [M])."""

    rows: int
    inputs: int
    outputs: int
    activation: str


def pool(layer: Pool) -> Kernel:
    """The kernel of a pool; y of a workgroup is the plane."""
    e = Emitter([_pixels("input", layer.source), _pixels("output", layer.target, True)])
    thread, target, source = e.thread(), layer.target, layer.source
    largest = layer.kind == "max"

    def pixel() -> None:
        y, x = e.divided(thread, target.width)
        top = e.add(e.times(y, layer.stride[0]), -layer.padding[0])
        left = e.add(e.times(x, layer.stride[1]), -layer.padding[1])
        start = e.real(float("-inf") if largest else 0)

        def row(k: str, totals: list[str]) -> list[str]:
            line = e.add(top, k)
            for tap in range(layer.kernel[1]):
                column = e.add(left, tap)
                value = e.load("input", pixel_at(e, source, "%by", line, column))
                if largest and any(layer.padding):
                    both = e.new(
                        f"arith.andi {e.below(line, source.height)}, {e.below(column, source.width)} : i1"
                    )
                    value = e.new(f"arith.select {both}, {value}, {start} : f32")
                totals = [e.new(f"arith.{'maximumf' if largest else 'addf'} {totals[0]}, {value} : f32")]
            return totals

        (total,) = e.loop(e.index(0), e.index(layer.kernel[0]), [start], "f32", row)
        if not largest:
            total = e.new(f"arith.mulf {total}, {e.real(1 / (layer.kernel[0] * layer.kernel[1]))} : f32")
        e.store(total, "output", pixel_at(e, target, "%by", y, x))

    e.when(e.below(thread, target.height * target.width), pixel)
    return e.kernel((groups_of(target.height * target.width), target.planes, 1))


def copy(rows: Rows, into_rows: bool) -> Kernel:
    """Elements one behind the other into ``rows``, or the reverse; y of a workgroup is the plane."""
    flat = Flat(rows.planes * rows.height * rows.width)
    plain = Buffer("input" if into_rows else "output", "f32", flat.count, not into_rows)
    image = _pixels("output" if into_rows else "input", rows, into_rows)
    e = Emitter([plain, image] if into_rows else [image, plain])
    thread, size = e.thread(), rows.height * rows.width

    def pixel() -> None:
        y, x = e.divided(thread, rows.width)
        at, there = e.add(e.times("%by", size), thread), pixel_at(e, rows, "%by", y, x)
        e.store(e.load("input", at if into_rows else there), "output", there if into_rows else at)

    e.when(e.below(thread, size), pixel)
    return e.kernel((groups_of(size), rows.planes, 1))


def copy_flat(flat: Flat) -> Kernel:
    """Elements one behind the other to another place."""
    e = Emitter([Buffer("input", "f32", flat.count), Buffer("output", "f32", flat.count, True)])
    thread = e.thread()
    e.when(e.below(thread, flat.count), lambda: e.store(e.load("input", thread), "output", thread))
    return e.kernel((groups_of(flat.count), 1, 1))


def product(layer: Product) -> Kernel:
    """A dense matrix product; a thread an output, y of a workgroup is the row."""
    e = Emitter(
        [
            Buffer("input", "f32", layer.rows * layer.inputs),
            Buffer("weight", "f32", layer.inputs * layer.outputs),
            Buffer("bias", "f32", layer.outputs),
            Buffer("output", "f32", layer.rows * layer.outputs, True),
        ]
    )
    thread = e.thread()

    def output() -> None:
        first = e.times("%by", layer.inputs)

        def step(k: str, totals: list[str]) -> list[str]:
            weight = e.load("weight", e.add(e.times(k, layer.outputs), thread))
            return [e.multiply_add(weight, e.load("input", e.add(first, k)), totals[0], "f32")]

        (total,) = e.loop(e.index(0), e.index(layer.inputs), [e.load("bias", thread)], "f32", step)
        at = e.add(e.times("%by", layer.outputs), thread)
        e.store(e.activated(total, layer.activation, "f32"), "output", at)

    e.when(e.below(thread, layer.outputs), output)
    return e.kernel((groups_of(layer.outputs), layer.rows, 1))


def _pixels(name: str, rows: Rows, written: bool = False) -> Buffer:
    return Buffer(name, "f32", LANES * rows.vectors, written)
