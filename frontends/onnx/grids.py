"""``GridSample`` written out: torch-mlir's lowering of it reads beyond the image where corners are not
aligned, and has neither borders nor reflections.

    GridSample(x, grid)  ->  p = ((Gather(grid, axis) + 1) * size - 1) / 2, an axis each
                             sum over the 2^axes corners i of p of  weight(p - i) * GatherElements(x, i)

Outside the image a corner's weight is 0 (``zeros``), or p is brought inside before (``border``,
``reflection``). Any number of axes; not cubic.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from math import prod
from typing import Any

import numpy as np

from .graph import Builder, Graph, attributes_of

LINEAR = ("linear", "bilinear")
INT64 = 7  # ONNX's number of it


def write_out_grid_sample(graph: Graph, node: Any) -> Iterable[Any]:
    """The nodes that compute what ``node``, a GridSample of known shapes, does; itself where it is cubic."""
    known, names = attributes_of(node), list(node.input[:2])
    image, places = (graph.shape(name) for name in names)
    mode = known.get("mode", "linear")
    if image is None or places is None or names[1] not in graph.shapes or mode not in (*LINEAR, "nearest"):
        return [node]
    sampler = _Sampler(graph, node, known, places[:-1])
    batch, channels, *sizes = image
    axes = [sampler.corners(size, len(sizes) - 1 - at, mode in LINEAR) for at, size in enumerate(sizes)]
    build, count = sampler.build, prod(places[1:-1])
    flat = build.reshape(names[0], [batch, channels, prod(sizes)])
    total = ""
    for corner in product(*axes):
        index = weight = ""
        for size, (place, part) in zip(sizes, corner, strict=True):
            index = sampler.add("Add", sampler.add("Mul", index, size), place) if index else place
            weight = sampler.add("Mul", weight, part) if weight and part else weight or part
        whole = build.reshape(index, [batch, 1, count])
        wide = build.array(np.array([batch, channels, count]))
        whole = build.add("Expand", [whole, wide], [batch, channels, count])
        value = build.add("GatherElements", [flat, whole], [batch, channels, count], axis=2)
        if weight:
            factors = [value, build.reshape(weight, [batch, 1, count])]
            value = build.add("Mul", factors, [batch, channels, count])
        total = build.add("Add", [total, value], [batch, channels, count]) if total else value
    build.reshape(total, [batch, channels, *places[1:-1]], node.output[0])
    return build.nodes


class _Sampler:
    """Arithmetic on the places of one GridSample."""

    def __init__(self, graph: Graph, node: Any, known: dict[str, Any], shape: tuple[int, ...]) -> None:
        self.build = Builder(graph, node)
        self._grid, self._shape = node.input[1], shape
        self._dtype = graph.shapes[self._grid][0]
        self._aligned = bool(known.get("align_corners", 0))
        self._padding = known.get("padding_mode", "zeros")

    def add(self, kind: str, *operands: str | float) -> str:
        """A node on values of the places' shape and numbers (floats of the grid's dtype)."""
        names = [operand if isinstance(operand, str) else
                 self.build.array(np.array(operand, self._dtype if isinstance(operand, float) else np.int64))
                 for operand in operands]
        return self.build.add(kind, names, self._shape)

    def corners(self, size: int, at: int, linear: bool) -> list[tuple[str, str]]:
        """Places on an axis of ``size``, whole numbers inside it, and their weights (empty: 1), for number
        ``at`` of the grid's numbers."""
        place = self._inside(self._unscaled(size, at), size)
        if not linear:
            return [self._bounded(self.add("Round", place), "", size)]
        low = self.add("Floor", place)
        high = self.add("Add", low, 1.0)
        return [self._bounded(low, self.add("Sub", high, place), size),
                self._bounded(high, self.add("Sub", place, low), size)]

    def _unscaled(self, size: int, at: int) -> str:
        """-1 .. 1 as the image's own places: the first and last pixel's centres, or their outer edges."""
        number = self.build.array(np.array(at))
        place = self.add("Add", self.build.add("Gather", [self._grid, number], self._shape, axis=-1), 1.0)
        if self._aligned:
            return self.add("Mul", place, (size - 1) / 2)
        return self.add("Sub", self.add("Mul", place, size / 2), 0.5)

    def _inside(self, place: str, size: int) -> str:
        if self._padding == "zeros":
            return place
        low, span = (0.0, size - 1.0) if self._aligned else (-0.5, float(size))
        if self._padding == "reflection" and span:
            far = self.add("Abs", self.add("Sub", place, low))
            turns = self.add("Floor", self.add("Div", far, 2 * span))
            rest = self.add("Sub", far, self.add("Mul", turns, 2 * span))
            place = self.add("Add", self.add("Min", rest, self.add("Sub", 2 * span, rest)), low)
        return self.add("Clip", place, 0.0, size - 1.0)

    def _bounded(self, place: str, weight: str, size: int) -> tuple[str, str]:
        """``place`` within the image, with no weight where it was not."""
        bounded = self.add("Clip", place, 0.0, size - 1.0)
        if self._padding == "zeros":
            weight = self.add("Where", self.add("Equal", bounded, place), weight or 1.0, 0.0)
        return self.build.add("Cast", [bounded], self._shape, to=INT64), weight


__all__ = ["write_out_grid_sample"]
