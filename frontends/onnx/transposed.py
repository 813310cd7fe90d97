"""Transposed convolutions as ordinary ones whose outputs interleave, as ``../torch/transposed.py`` has it.

    ConvTranspose(x [N, C, I], w, stride s)   ->   y = Conv(x, w: the taps of all phases, backwards)
                                                   Reshape, Transpose, Reshape: b * s + a from phase a
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..phases import Geometry, Joint, Phase
from .graph import Builder, Graph, attributes_of


def rewrite_transposed(graph: Graph) -> None:
    """Rewrites the transposed convolutions of constant weights in ``graph``, in place."""
    nodes: list[Any] = []
    for node in graph.nodes:
        nodes += _Convolution(graph, node).nodes() if _covered(graph, node) else [node]
    graph.set_nodes(nodes)


def _covered(graph: Graph, node: Any) -> bool:
    if node.op_type != "ConvTranspose":
        return False
    source, size = graph.shape(node.input[0]), graph.shape(node.output[0])
    constant = all(name in graph.arrays for name in node.input[1:] if name)
    return constant and bool(source) and bool(size) and 0 not in (*(source or ()), *(size or ()))


def _begins(known: Mapping[str, Any], source: Sequence[int], kernel: Sequence[int],
            target: Sequence[int]) -> list[int]:
    """How many rows each dimension's padding takes away at its begin; ``auto_pad`` and ``output_shape`` share
    out what is too many."""
    spatial = len(kernel)
    ones, auto = [1] * spatial, known.get("auto_pad", "NOTSET")
    if auto not in ("SAME_UPPER", "SAME_LOWER") and "output_shape" not in known:
        return list(known.get("pads", [0] * spatial)[:spatial])
    whole = [(size - 1) * stride + (taps - 1) * step + 1 + more for size, stride, taps, step, more in zip(
        source, known.get("strides", ones), kernel, known.get("dilations", ones),
        known.get("output_padding", [0] * spatial), strict=True)]
    amounts = [max(size - wanted, 0) for size, wanted in zip(whole, target, strict=True)]
    return [amount // 2 if auto == "SAME_UPPER" else amount - amount // 2 for amount in amounts]


class _Convolution:
    """One node ``ConvTranspose``, taken apart."""

    def __init__(self, graph: Graph, node: Any) -> None:
        known = attributes_of(node)
        self._build, self._node = Builder(graph, node), node
        self._source, target = graph.shape(node.input[0]) or (), graph.shape(node.output[0]) or ()
        spatial = len(target) - 2
        self._groups = int(known.get("group", 1))
        self._weight = self._ordered(graph.arrays[node.input[1]])
        has_bias = len(node.input) > 2 and node.input[2]
        self._bias = graph.arrays[node.input[2]] if has_bias else None
        self._geometry = Geometry.of(
            self._weight.shape[2:], known.get("strides", [1] * spatial),
            _begins(known, self._source[2:], self._weight.shape[2:], target[2:]),
            known.get("dilations", [1] * spatial), target[2:])

    def _ordered(self, weight: np.ndarray) -> np.ndarray:
        """[C, F/G, *kernel] to [F, C/G, *kernel]."""
        grouped = weight.reshape(self._groups, -1, *weight.shape[1:]).swapaxes(1, 2)
        return grouped.reshape(-1, *grouped.shape[2:])

    def nodes(self) -> Iterable[Any]:
        """What takes the node's place."""
        geometry, build = self._geometry, self._build
        batch, filters = self._source[0], self._weight.shape[0]
        spatial = len(geometry.size)
        split = build.reshape(self._phase_outputs(),
                              [batch, filters, *geometry.strides, *geometry.places])
        pairs = [dim for at in range(spatial) for dim in (2 + spatial + at, 2 + at)]
        shape = [*geometry.strides, *geometry.places]
        mixed = build.add("Transpose", [split], [batch, filters, *(shape[dim - 2] for dim in pairs)],
                          perm=[0, 1, *pairs])
        merged = [place * stride for place, stride in zip(geometry.places, geometry.strides, strict=True)]
        if merged == list(geometry.size):
            build.reshape(mixed, [batch, filters, *merged], self._node.output[0])
        else:
            whole = build.reshape(mixed, [batch, filters, *merged])
            self._slice(whole, [batch, filters, *merged], [0] * spatial, geometry.size, self._node.output[0])
        return build.nodes

    def _phase_outputs(self) -> str:
        """The outputs of all phases, [N, F, phases, *places]."""
        geometry, build = self._geometry, self._build
        combined = geometry.combined()
        shape = [self._source[0], self._weight.shape[0], 1, *geometry.places]
        outputs: dict[int, str] = {}
        for members in geometry.alike(self._groups):
            chosen = [combined[number] for number in members]
            if not all(part.taps for part in chosen[0]):
                outputs |= dict.fromkeys(members, self._without_taps(shape))
                continue
            joint = geometry.joint(chosen)
            whole = self._convolution(chosen, joint)
            if len(members) == len(combined) and len(set(joint.starts)) == 1:
                return whole
            for at, (number, start) in enumerate(zip(members, joint.starts, strict=True)):
                outputs[number] = self._slice(whole, [*shape[:2], len(members), *joint.counts], [at, *start],
                                              [1, *geometry.places])
        parts = [outputs[number] for number in range(len(combined))]
        return build.add("Concat", parts, [*shape[:2], len(parts), *geometry.places], axis=2)

    def _without_taps(self, shape: Sequence[int]) -> str:
        empty = np.zeros(tuple(shape), np.float32)
        if self._bias is not None:
            empty += self._bias.reshape(-1, *(1,) * (len(shape) - 2))
        return self._build.array(empty)

    def _convolution(self, chosen: list[tuple[Phase, ...]], joint: Joint) -> str:
        """The outputs of ``chosen``, [N, F, phases, *counts]."""
        build = self._build
        image = self._source[2:]
        low = [max(begin, 0) for begin in joint.begins]
        kept = [min(end, size) - first for end, size, first in zip(joint.ends, image, low, strict=True)]
        source = self._node.input[0]
        if kept != list(image):
            source = self._slice(source, self._source, low, kept)
        pads = [*(max(-begin, 0) for begin in joint.begins),
                *(max(end - size, 0) for end, size in zip(joint.ends, image, strict=True))]
        kernels = np.stack([self._taps(phase) for phase in chosen], 1)
        filters = self._weight.shape[0] * len(chosen)
        inputs = [source, build.array(kernels.reshape(filters, *kernels.shape[2:]), self._node.input[1])]
        if self._bias is not None:
            inputs.append(build.array(np.repeat(self._bias, len(chosen))))
        convolved = build.add("Conv", inputs, [self._source[0], filters, *joint.counts], pads=pads,
                              dilations=joint.steps, strides=[1] * len(joint.counts), group=self._groups)
        return build.reshape(convolved, [self._source[0], self._weight.shape[0], len(chosen), *joint.counts])

    def _taps(self, phase: tuple[Phase, ...]) -> np.ndarray:
        """The weights of the phase's taps, in the order in which they meet the input."""
        weight = self._weight
        for dim, part in enumerate(phase, 2):
            weight = weight.take(part.taps, axis=dim)
        return weight

    def _slice(self, value: str, shape: Sequence[int], starts: Sequence[int], sizes: Sequence[int],
               output: str = "") -> str:
        """The last dimensions of ``value`` from ``starts`` on, ``sizes`` of each."""
        first = len(shape) - len(starts)
        ends = [start + size for start, size in zip(starts, sizes, strict=True)]
        bounds = [np.array(numbers, np.int64) for numbers in (starts, ends, range(first, len(shape)))]
        return self._build.add("Slice", [value, *map(self._build.array, bounds)],
                               [*shape[:first], *sizes], output)


__all__ = ["rewrite_transposed"]
