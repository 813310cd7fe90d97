"""Emits what works on each channel by itself: depthwise convolutions, pools, and changes of layout (a 1x1
max pool).

    for plane (image, channel) in begin .. end: scratch = the plane with its halo             # runs of
    lines copied, the halo shuffled or gathered for tile in tiles:                            # from
    scratch, or from the input where it needs no padding acc[t] = bias[channel]; acc[t] +=
    weight[channel][place] * v(line)        depthwise acc[t] = max over places of v(line)
    max acc[t] = (sum over places of v(line)) / places                            average store
    activation(acc + residual)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from ....devices.cores import Core
from ....geometry.layouts import LaneGrid, Layout, Three, box
from ....ir.mlir import ir
from ....ir.values import element_of
from ..emit.builder import Builder, RunningMaximum, Value, arith, func, private_function, vector
from ..emit.formula import activated
from ..plan.plane_plan import PlanePlan


@dataclass(frozen=True)
class ChannelwiseKernel:
    """Everything static about the code; equal values share one function."""

    kind: Literal["depthwise", "max", "average"]
    source: Layout
    target: LaneGrid
    channels: int
    activation: str = "none"
    residual: bool = False
    chunk: int = 0  # channels of the input, where a producer writes it chunk by chunk

    @property
    def outside(self) -> float:
        """What lies around the image."""
        return float("-inf") if self.kind == "max" else 0.0


def plane_tables(plan: PlanePlan) -> list[np.ndarray]:
    """The tables that the kernel takes, in order; empty ones get a row that nothing reads."""
    lanes = plan.gathers.shape[1]
    runs = plan.runs if len(plan.runs) else np.zeros((1, 3), np.int32)
    halo = plan.halo if len(plan.halo) else np.zeros(1, np.int32)
    gathers = plan.gathers if len(plan.gathers) else np.zeros((1, lanes), np.int32)
    shuffled = np.concatenate(list(plan.shuffles.values())) if plan.shuffles else np.zeros((1, 2), np.int32)
    return [runs, shuffled, halo, gathers, np.concatenate(list(plan.tiles.values()))]


def emit_channelwise_kernel(module: ir.Operation, name: str, kernel: ChannelwiseKernel, plan: PlanePlan,
                            operand_types: list[ir.Type], core: Core) -> None:
    """Adds ``func.func private @name``: input, output, [residual,] the tables of ``plane_tables``, [order
    i32 [C], where the input comes chunk by chunk: the channel of each of its planes,] [bias [C] and weight
    [C, 1, places] of a depthwise convolution,] scratch (memref<?xi8>), begin and end of the planes."""
    _, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        b = Builder(entry, kernel.target.lanes, core, element_of(operand_types[1]))
        _Emitter(b, kernel, plan, list(entry.arguments)).emit()
        func.ReturnOp([])


class _Emitter:
    def __init__(self, b: Builder, kernel: ChannelwiseKernel, plan: PlanePlan,
                 arguments: list[Value]) -> None:
        self.b, self.kernel, self.plan = b, kernel, plan
        self.input, self.output, *rest = arguments
        self.residual = rest.pop(0) if kernel.residual else None
        self.runs, self.shuffled, self.halo, self.gathers, self.tiles, *rest = rest
        if kernel.chunk:
            self.order = rest.pop(0)
        *self.parameters, scratch, self.begin, self.end = rest
        if not plan.direct:
            self.scratch = b.view(scratch, 0, [plan.lines, b.lanes])

    def emit(self) -> None:
        self.b.loop(self.begin, self.end, self._plane)

    def _plane(self, plane: Value) -> None:
        b = self.b
        self.image, self.channel = b.divide(plane, self.kernel.channels)
        self.source = self.image, self.channel
        if self.kernel.chunk:  # planes count in the producer's order, and its buffer holds one chunk
            self.source = b.index(0), b.divide(self.channel, self.kernel.chunk)[1]
            self.channel = b.integer(self.order, self.channel)
        if not self.plan.direct:
            self._pad()
        if self.kernel.kind == "depthwise":
            bias, weight = self.parameters
            self.bias = b.broadcast(b.scalar(bias, self.channel))
            places = len(self.plan.window.taps)
            splat = b.weights(weight, [self.channel, b.index(0)], b.index(0), places)
            self.weights = [splat(place) for place in range(places)]
        first = 0
        for shape, tiles in self.plan.tiles.items():
            b.loop(first, first + len(tiles), partial(self._tile, shape=shape))
            first += len(tiles)

    # -- the padded plane -----------------------------------------------------------------------------------

    def _pad(self) -> None:
        b, zero = self.b, self.b.index(0)

        def run(at: Value) -> None:
            to, start, count = (b.integer(self.runs, at, b.index(i)) for i in range(3))
            b.loop(zero, count, lambda i: b.store(self._stored(b.add(start, i)), self.scratch,
                                                  b.add(to, i), zero))

        def halo(at: Value) -> None:
            value = b.gather(self.input, self.source, b.places(self.gathers, at, zero), self.kernel.outside)
            b.store(value, self.scratch, b.integer(self.halo, at), zero)

        if len(self.plan.runs):
            b.loop(0, len(self.plan.runs), run)
        self._shuffle()
        if len(self.plan.halo):
            b.loop(0, len(self.plan.halo), halo)

    def _shuffle(self) -> None:
        """The halo lines that permute the lanes of one stored line: a loop for each permutation."""
        b, first, outside = self.b, 0, self.b.splat(self.kernel.outside)
        for permutation, pairs in self.plan.shuffles.items():
            mask = [lane if lane >= 0 else b.lanes for lane in permutation]  # lanes on: the second operand

            def line(at: Value, mask: list[int] = mask) -> None:
                to, start = b.integer(self.shuffled, at, b.index(0)), b.integer(self.shuffled, at, b.index(1))
                value = vector.ShuffleOp(self._stored(start), outside, mask).result
                b.store(value, self.scratch, to, b.index(0))

            b.loop(first, first + len(pairs), line)
            first += len(pairs)

    def _stored(self, line: Value) -> Value:
        return self.b.load(self.input, *self.source, line, self.b.index(0))

    # -- one tile -------------------------------------------------------------------------------------------

    def _tile(self, at: Value, shape: Three) -> None:
        b = self.b
        base, stored = (b.integer(self.tiles, at, b.index(i)) for i in range(2))
        self.accumulators = box(*map(range, shape))

        def load(line: int) -> Value:
            where = b.add(base, line)
            return self._stored(where) if self.plan.direct else b.load(self.scratch, where, b.index(0))

        totals = self._multiply(load) if self.kernel.kind == "depthwise" else self._pool(load)
        for spot, value in zip(self.accumulators, totals, strict=True):
            line = b.add(stored, self.kernel.target.line(*spot))
            where = (self.image, self.channel, line, b.index(0))
            if self.residual is not None:
                value = arith.AddFOp(value, b.load(self.residual, *where)).result
            b.store(activated(b, value, self.kernel.activation), self.output, *where)

    def _lines(self, place: int) -> list[int]:
        """The padded line, from the tile's first, that each accumulator reads at a kernel place."""
        window, pitches = self.plan.window, (self.plan.slice, self.plan.pitch, 1)
        return [sum((a * stride + tap) * pitch for a, stride, tap, pitch in
                    zip(accumulator, window.strides, window.taps[place], pitches, strict=True))
                for accumulator in self.accumulators]

    def _multiply(self, load: Callable[[int], Value]) -> list[Value]:
        acc = [self.bias] * len(self.accumulators)
        reads = sorted((line, place, t) for place in range(len(self.weights))
                       for t, line in enumerate(self._lines(place)))
        for line, place, t in reads:  # each line is used up at once
            acc[t] = self.b.fma(load(line), self.weights[place], acc[t])
        return acc

    def _pool(self, load: Callable[[int], Value]) -> list[Value]:
        b, places = self.b, len(self.plan.window.taps)
        if self.kernel.kind == "max":
            largest = [RunningMaximum(b) for _ in self.accumulators]
            for place in range(places):
                for maximum, line in zip(largest, self._lines(place), strict=True):
                    maximum.add(load(line))
            return [maximum.result() for maximum in largest]
        acc = [load(line) for line in self._lines(0)]
        for place in range(1, places):
            values = [load(line) for line in self._lines(place)]
            acc = [arith.AddFOp(a, v).result for a, v in zip(acc, values, strict=True)]
        return [arith.DivFOp(a, b.splat(float(places))).result for a in acc]


def emit_global_average(module: ir.Operation, name: str, operand_types: list[ir.Type], core: Core,
                        grid: LaneGrid, channels: int) -> None:
    """Adds ``func.func private @name``: input [N, C, lines, lanes], output [N, C, 1], share f32 [lines,
    lanes] (1 / pixels where a lane holds a pixel, else 0), begin and end of the planes. The mean of every
    plane."""
    _, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        b = Builder(entry, grid.lanes, core)
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

            (total,) = b.loop(0, grid.used_lines, line, [b.splat(0.0)])
            b.put(vector.ReductionOp(b.element, kind, total).result, output, n, c, b.index(0))

        b.loop(begin, end, plane)
        func.ReturnOp([])
