"""Emits what works on each channel by itself: depthwise convolutions, pools, changes of layout (1x1 pools).

    for plane (image, channel) in begin .. end:     # one channel after the other: its lines lie together
      for item in tiles of the plane:
        v(line) = input[plane][line]                # where the region is a rectangle of stored lines
                or scratch[line], packed before     # at borders: gathered (outside: 0, or -inf for max)
        acc[t] = bias[channel]; acc[t] += weight[channel][place] * v        depthwise
        acc[t] = max over places of v                                       max
        acc[t] = (sum over places of v) / places                            average
        store activation(acc)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ...layouts import LaneGrid, Layout
from ...mlir import ir
from .builder import Builder, Value, arith, func, private_function, vector
from .conv_plan import ITEM_FIELDS, ConvPlan
from .packing import Packer


@dataclass(frozen=True)
class ChannelwiseKernel:
    """Everything static about the code; equal values share one function."""

    kind: Literal["depthwise", "max", "average"]
    source: Layout
    target: LaneGrid
    channels: int
    activation: str = "none"
    residual: bool = False

    @property
    def outside(self) -> float:
        """What lies around the image."""
        return float("-inf") if self.kind == "max" else 0.0


def emit_channelwise_kernel(module: ir.Operation, name: str, kernel: ChannelwiseKernel, plan: ConvPlan,
                            operand_types: list[ir.Type]) -> None:
    """Adds ``func.func private @name``: input, output, [residual,] items, borders, gathers, [bias [C] and
    weight [C, 1, places] of a depthwise convolution,] scratch, begin and end of the planes. The plan is of
    one image."""
    _, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        _Emitter(Builder(entry, kernel.target.lanes), kernel, plan, list(entry.arguments)).emit()
        func.ReturnOp([])


class _Emitter:
    def __init__(self, b: Builder, kernel: ChannelwiseKernel, plan: ConvPlan, arguments: list[Value]) -> None:
        self.b, self.kernel, self.plan = b, kernel, plan
        self.input, self.output, *rest = arguments
        self.residual = rest.pop(0) if kernel.residual else None
        self.items, borders, gathers, *rest = rest
        *self.parameters, scratch, self.begin, self.end = rest
        self.packer = Packer(b, plan, kernel.source, self.input, borders, gathers, scratch, 1, kernel.outside)
        self.accumulators = [(a, t) for a in range(plan.tile[0]) for t in range(plan.tile[1])]

    def emit(self) -> None:
        self.b.loop(self.begin, self.end, self._plane)

    def _plane(self, plane: Value) -> None:
        b, channels = self.b, self.b.index(self.kernel.channels)
        self.image = arith.DivSIOp(plane, channels).result
        self.channel = arith.RemSIOp(plane, channels).result
        if self.kernel.kind == "depthwise":
            bias, weight = self.parameters
            self.bias = b.broadcast(b.scalar(bias, self.channel))
            self.weights = [b.broadcast(b.scalar(weight, self.channel, b.index(0), b.index(place)))
                            for place in range(len(self.plan.window.taps))]
        b.loop(0, len(self.plan.items), self._item)

    def _item(self, at: Value) -> None:
        b = self.b
        self.item = {name: b.integer(self.items, at, b.index(i)) for i, name in enumerate(ITEM_FIELDS)}
        self.item["image"] = self.image
        if not self.plan.border_tiles:
            self._interior()
        elif not self.plan.interior_tiles:
            self._border()
        else:
            b.either(b.compare("slt", self.item["border"], b.index(0)), self._interior, self._border)

    def _interior(self) -> None:
        self._reduce(lambda line: self.packer.source(
            self.item, self.channel, self.b.add(self.item["source_line"], self.plan.source_offsets[line])))

    def _border(self) -> None:
        self.packer.pack_border(self.item, self.channel)
        self._reduce(lambda line: self.packer.packed(self.b.index(0), line))

    def _reduce(self, load: Callable[[int], Value]) -> None:
        totals = self._multiply(load) if self.kernel.kind == "depthwise" else self._pool(load)
        b, columns = self.b, self.kernel.target.columns
        for (row, column), value in zip(self.accumulators, totals, strict=True):
            where = (self.image, self.channel,
                     b.add(self.item["output_line"], row * columns + column), b.index(0))
            if self.residual is not None:
                value = arith.AddFOp(value, b.load(self.residual, *where)).result
            b.store(b.activation(value, self.kernel.activation), self.output, *where)

    def _lines(self, place: int) -> list[int]:
        """The region line that each accumulator reads at a kernel place."""
        window = self.plan.window
        dy, dx = window.taps[place]
        return [self.plan.line_of[row * window.strides[0] + dy, column * window.strides[1] + dx]
                for row, column in self.accumulators]

    def _multiply(self, load: Callable[[int], Value]) -> list[Value]:
        acc = [self.bias] * len(self.accumulators)
        for place, weight in enumerate(self.weights):
            acc = [self.b.fma(load(line), weight, a) for line, a in zip(self._lines(place), acc, strict=True)]
        return acc

    def _pool(self, load: Callable[[int], Value]) -> list[Value]:
        b, places = self.b, len(self.plan.window.taps)
        acc = [load(line) for line in self._lines(0)]
        for place in range(1, places):
            values = [load(line) for line in self._lines(place)]
            combine = b.maximum if self.kernel.kind == "max" else lambda x, y: arith.AddFOp(x, y).result
            acc = [combine(a, v) for a, v in zip(acc, values, strict=True)]
        if self.kernel.kind == "average":
            acc = [arith.DivFOp(a, b.splat(float(places))).result for a in acc]
        return acc


def emit_unlift(module: ir.Operation, name: str, operand_types: list[ir.Type], lanes: int,
                planes: tuple[int, int],
                pixels: int) -> None:
    """Adds ``func.func private @name``: input [N, C, lines, lanes], output [N, C, pixels], places i32
    [pixels], begin and end of the planes (image, channel). A lane grid becomes row-major."""
    _, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        b = Builder(entry, lanes)
        source, output, places, begin, end = entry.arguments
        indices = ir.VectorType.get([lanes], b.i32)
        all_lanes = b.constant(ir.VectorType.get([lanes], ir.IntegerType.get_signless(1)), True)
        flat = b.flatten(source)

        def plane(at: Value) -> None:
            n = arith.DivSIOp(at, b.index(planes[1])).result
            c = arith.RemSIOp(at, b.index(planes[1])).result

            def vectors(first: Value) -> None:
                where = vector.LoadOp(indices, places, [first]).result
                value = vector.GatherOp(b.vector, source, [n, c, b.index(0), b.index(0)], where, all_lanes,
                                        b.splat(0.0)).result
                vector.StoreOp(value, output, [n, c, first])

            def pixel(i: Value) -> None:
                b.put(b.scalar(flat, n, c, b.integer(places, i)), output, n, c, i)

            whole = pixels // lanes * lanes
            b.loop(0, whole, vectors, step=lanes)
            b.loop(whole, pixels, pixel)

        b.loop(begin, end, plane)
        func.ReturnOp([])


def emit_global_average(module: ir.Operation, name: str, operand_types: list[ir.Type], grid: LaneGrid,
                        channels: int) -> None:
    """Adds ``func.func private @name``: input [N, C, lines, lanes], output [N, C, 1], share f32 [lines,
    lanes] (1 / pixels where a lane holds a pixel, else 0), begin and end of the planes. The mean of every
    plane."""
    _, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        b = Builder(entry, grid.lanes)
        source, output, share, begin, end = entry.arguments
        kind = ir.Attribute.parse("#vector.kind<add>")
        # Lanes without a pixel may hold anything, infinity too: they are replaced, not multiplied by zero.

        def plane(at: Value) -> None:
            n = arith.DivSIOp(at, b.index(channels)).result
            c = arith.RemSIOp(at, b.index(channels)).result

            def line(i: Value, total: Value) -> list[Value]:
                weight = b.load(share, i, b.index(0))
                held = arith.CmpFOp(arith.CmpFPredicate.OGT, weight, b.splat(0.0)).result
                value = arith.SelectOp(held, b.load(source, n, c, i, b.index(0)), b.splat(0.0)).result
                return [b.fma(value, weight, total)]

            (total,) = b.loop(0, grid.rows * grid.columns, line, [b.splat(0.0)])
            b.put(vector.ReductionOp(b.f32, kind, total).result, output, n, c, b.index(0))

        b.loop(begin, end, plane)
        func.ReturnOp([])
