"""Matchers of ``sparse-raise-linalg``: which linalg op is a pool.

torch-mlir writes pools in four forms: named ops in nchw, the named sum in ndhwc between two transposes, a
generic over a window for 3-D maxima, and a generic sum over all places of an image. As in ``raise_layers``,
nothing is rewritten here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ...ir.mlir import ir
from ...ir.values import shape_of
from .layers import Padded, integers_of, padding_of
from .values import (
    filled_with,
    generic_maps,
    is_f32_tensor,
    linear_maps,
    owner,
    reduction_of,
    segments,
)

NAMED = {"linalg.pooling_ncw_max": "max", "linalg.pooling_ncw_sum": "average",
         "linalg.pooling_nchw_max": "max", "linalg.pooling_nchw_sum": "average"}
CHANNELS_LAST = {"linalg.pooling_ndhwc_max": "max", "linalg.pooling_ndhwc_sum": "average"}
BODIES = {"arith.maximumf": "max", "arith.addf": "average"}
MAX_WINDOW = 64  # a pool's code is unrolled over its window: larger ones stay loops, but for means of images


@dataclass(frozen=True)
class Pool:
    """A pool before its division: ``result`` holds maxima, or sums of windows of ``kernel``; ``ops`` compute
    it from ``input``, the first of them names it."""

    ops: tuple[ir.Operation, ...]
    input: Padded
    kind: str
    kernel: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def root(self) -> ir.Operation:
        return self.ops[0]

    @property
    def result(self) -> ir.Value:
        return self.ops[-1].results[0]

    @property
    def is_whole_mean(self) -> bool:
        """Whether it is the mean of each image of more than one place."""
        whole = self.kernel == tuple(shape_of(self.input.source)[2:]) and math.prod(self.kernel) > 1
        return self.kind == "average" and whole and not any((*self.input.low, *self.input.high))


def match_pool(op: ir.Operation) -> Pool | None:
    """The pool that ``op`` begins, of one to three dimensions; else None."""
    if len(op.results) != 1 or not all(is_f32_tensor(v) for v in (*op.operands, op.results[0])):
        return None
    if op.name == "linalg.generic":
        return _match_global_sum(op) or _match_generic(op)
    return _match_named(op)


def _match_named(op: ir.Operation) -> Pool | None:
    kind = NAMED.get(op.name) or CHANNELS_LAST.get(op.name)
    if kind is None:
        return None
    (image, window), _ = segments(op)
    spatial = len(shape_of(window))
    if any(d != 1 for d in integers_of(op, "dilations", spatial)):
        return None
    strides = integers_of(op, "strides", spatial)
    if op.name in NAMED:
        return _windowed((op,), image, kind, tuple(shape_of(window)), strides)
    before, uses = owner(image), list(op.results[0].uses)
    after = uses[0].owner.operation if len(uses) == 1 else None
    last = tuple(range(2, spatial + 2))
    if before is None or after is None or _permutation(before) != (0, *last, 1):
        return None
    if _permutation(after) != (0, spatial + 1, *range(1, spatial + 1)):
        return None
    return _windowed((op, after), before.operands[0], kind, tuple(shape_of(window)), strides)


def _permutation(op: ir.Operation) -> tuple[int, ...] | None:
    """How a ``linalg.transpose`` orders the dimensions of its input."""
    if op.name != "linalg.transpose":
        return None
    return tuple(ir.DenseI64ArrayAttr(op.attributes["permutation"]))


def _match_generic(op: ir.Operation) -> Pool | None:
    """A maximum or a sum over a window: loops (n, c, *places, *window)."""
    inputs, _ = segments(op)
    spatial, combined = len(shape_of(op.results[0])) - 2, reduction_of(op)
    if len(inputs) != 2 or not 1 <= spatial <= 3 or combined not in BODIES:
        return None
    places, taps = range(2, 2 + spatial), range(2 + spatial, 2 + 2 * spatial)
    image, *others = linear_maps(op)
    whole = [[{loop: 1} for loop in loops] for loops in (taps, (0, 1, *places))]
    if image is None or others != whole or image[:2] != [{0: 1}, {1: 1}]:
        return None
    if [set(factors) for factors in image[2:]] != [set(loops) for loops in zip(places, taps, strict=True)]:
        return None
    if any(factors[tap] != 1 for factors, tap in zip(image[2:], taps, strict=True)):
        return None  # dilated
    strides = tuple(factors[place] for factors, place in zip(image[2:], places, strict=True))
    return _windowed((op,), inputs[0], BODIES[combined], tuple(shape_of(inputs[1])), strides)


def _windowed(ops: tuple[ir.Operation, ...], image: ir.Value, kind: str, kernel: tuple[int, ...],
              strides: tuple[int, ...]) -> Pool | None:
    """The pool of windows of ``image``, if it starts from nothing and its windows are small, or the whole."""
    fill = -math.inf if kind == "max" else 0.0
    if not _starts_from(ops[0], fill):
        return None
    pool = Pool(ops, padding_of(image, fill), kind, kernel, strides)
    return pool if pool.is_whole_mean or math.prod(kernel) <= MAX_WINDOW else None


class LaneImages:
    """Which values will lie on lanes: what ``layers`` give, and elementwise operations on such images. The
    mean of any other image is a plain sum: moving it to lanes costs more than adding it up."""

    def __init__(self, layers: Iterable[ir.Value]) -> None:
        self._known = dict.fromkeys(layers, True)

    def has(self, value: ir.Value) -> bool:
        """Whether ``value`` will lie on lanes."""
        waiting = [value]
        while waiting:  # no recursion: chains of residual blocks are long
            now = waiting[-1]
            images = [] if now in self._known else _images_of(now)
            unknown = [image for image in images if image not in self._known]
            if unknown:
                waiting += unknown
                continue
            self._known.setdefault(now, bool(images) and all(self._known[image] for image in images))
            waiting.pop()
        return self._known[value]


def _images_of(value: ir.Value) -> list[ir.Value]:
    """The images that ``value`` is computed from, place by place; empty where it is not."""
    op = owner(value)
    if op is None or op.name != "linalg.generic" or len(op.results) != 1:
        return []
    if "reduction" in str(op.attributes["iterator_types"]):
        return []
    inputs, _ = segments(op)
    return [each for each in inputs if each.type == value.type]


def _starts_from(op: ir.Operation, fill: float) -> bool:
    """Whether what ``op`` accumulates into is filled with one number."""
    return filled_with(segments(op)[1][0]) == fill


def _match_global_sum(op: ir.Operation) -> Pool | None:
    """The sum of [N, C, *image] over the image, into [N, C] or [N, C, 1, ...]."""
    inputs, _ = segments(op)
    if len(inputs) != 1 or reduction_of(op) != "arith.addf":
        return None
    spatial = len(shape_of(inputs[0])) - 2
    if not 1 <= spatial <= 3:
        return None
    image, result = generic_maps(op)
    if image != tuple(range(spatial + 2)) or result not in ((0, 1), (0, 1, *(None,) * spatial)):
        return None
    if not _starts_from(op, 0.0):
        return None
    kernel, zeros = tuple(shape_of(inputs[0])[2:]), (0,) * spatial
    return Pool((op,), Padded(inputs[0], zeros, zeros), "average", kernel, (1,) * spatial)


__all__ = ["LaneImages", "Pool", "match_pool"]
