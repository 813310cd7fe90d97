"""What ONNX's operators leave to a rule, written out where torch-mlir or ONNX's inference read it otherwise.

    MaxPool(x, ceil_mode=1)              ->   MaxPool(x, pads: as far as the last window reaches)
    MaxPool(x) -> y, i                   ->   MaxPool(x) -> y, j; Add(j, n * C * H * W + c * H * W) -> i
    Gemm(x, w, b, alpha=2, beta=3)       ->   Gemm(x, 2 w, 3 b)
    Pad(x, [1, 2], mode="wrap")          ->   Gather(x, [3, 0, 1, 2, 3, 0, 1])
    Pow(integers, 3)                     ->   Mul(Mul(x, x), x)
    DepthToSpace(x)                      ->   Reshape(Transpose(Reshape(x)))
    ReduceProd(x, [1], keepdims=0)       ->   Reshape(ReduceProd(x, [1], keepdims=1))
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np

from .graph import Builder, Graph, attributes_of, changed, node_error
from .grids import write_out_grid_sample

POOLS = ("MaxPool", "AveragePool", "LpPool")
# What reductions along no dimension compute.
ALONE = {"ReduceL2": "Abs", "ReduceLogSum": "Log", "ReduceLogSumExp": "Identity"}
MOST_FACTORS = 16  # of a power of integers
SHUFFLES = ("DepthToSpace", "SpaceToDepth")
RANGE = 1 << 28  # numbers that a Range may hold


def rounds_up(node: Any) -> bool:
    """Whether ``node`` is a pool whose size is rounded up; ONNX's inference counts windows of padding alone,
    which the operator leaves out."""
    return node.op_type in POOLS and any(a.name == "ceil_mode" and a.i for a in node.attribute)


def pad_explicitly(graph: Graph) -> bool:
    """Rewrites the first pool of ``graph`` whose size is rounded up, in place; whether there was one whose
    input is known. The shapes behind it are wrong until they are inferred again."""
    for at, node in enumerate(graph.nodes):
        if rounds_up(node):
            shape = graph.shape(node.input[0])
            if shape is None:
                return False
            nodes = graph.nodes
            graph.set_nodes([*nodes[:at], *_rounded_down(graph, node, shape), *nodes[at + 1:]])
            for value in graph.model.graph.output:  # what is declared may come from that inference
                for size in value.type.tensor_type.shape.dim:
                    size.Clear()
            return True
    return False


def _rounded_down(graph: Graph, node: Any, shape: tuple[int, ...]) -> Iterable[Any]:
    known = attributes_of(node)
    kernel = known["kernel_shape"]
    ones = [1] * len(kernel)
    low, high = (known.get("pads", [0] * 2 * len(kernel))[part:][: len(kernel)] for part in (0, len(kernel)))
    ends = []
    for size, taps, stride, step, begin, end in zip(shape[2:], kernel, known.get("strides", ones),
                                                    known.get("dilations", ones), low, high, strict=True):
        reach = step * (taps - 1) + 1
        last = -(-(size + begin + end - reach) // stride)
        last -= last * stride >= size + begin  # a window of padding alone
        ends.append(max(last * stride + reach - size - begin, 0))
    build = Builder(graph, node)
    source = node.input[0]
    if known.get("count_include_pad"):  # these count, but not what is beyond them
        sizes = [size + begin + end for size, begin, end in zip(shape[2:], low, high, strict=True)]
        pads = build.array(np.array([0, 0, *low, 0, 0, *high], np.int64))
        source = build.add("Pad", [source, pads], [*shape[:2], *sizes])
        ends = [max(end - before, 0) for end, before in zip(ends, high, strict=True)]
        low = [0] * len(kernel)
    copy = changed(node, ("ceil_mode", "count_include_pad"), pads=[*low, *ends])
    copy.input[0] = source
    return [*build.nodes, copy]


def check_ranges(graph: Graph) -> None:
    """Raises ``EspalierError`` for a Range of more numbers than ``RANGE``, which inference would count."""
    for node in graph.nodes:
        if node.op_type == "Range" and all(name in graph.arrays for name in node.input):
            start, limit, step = (graph.arrays[name].reshape(-1)[0] for name in node.input)
            if step == 0 or not (float(limit) - float(start)) / float(step) <= RANGE:
                raise node_error(node, f"from {start} to {limit} by {step}: expected at most {RANGE} numbers")


def write_out(graph: Graph) -> None:
    """Rewrites the other operators of ``graph``, in place; what they give is to be inferred again."""
    nodes: list[Any] = []
    for node in graph.nodes:
        if node.op_type == "Gemm":
            nodes += _unscaled(graph, node)
        elif node.op_type in ALONE and _is_no_reduction(graph, node):
            build = Builder(graph, node)
            build.add(ALONE[node.op_type], node.input[:1], graph.shape(node.output[0]) or (), node.output[0])
            nodes += build.nodes
        elif node.op_type == "Pad":
            nodes += _wrapped(graph, node)
        elif node.op_type == "Pow":
            nodes += _multiplied(graph, node)
        elif node.op_type in SHUFFLES:
            nodes += _shuffled(graph, node)
        elif node.op_type == "GridSample":
            nodes += write_out_grid_sample(graph, node)
        elif node.op_type == "ReduceProd":
            nodes += _kept(graph, node)
        elif node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1]:
            nodes += _places(graph, node)
        else:
            nodes.append(node)
    graph.set_nodes(nodes)


def _is_no_reduction(graph: Graph, node: Any) -> bool:
    """Whether ``node`` reduces along no dimension, which ends torch-mlir's passes with a signal."""
    axes = [graph.arrays[name].size for name in node.input[1:] if name in graph.arrays]
    return bool(attributes_of(node).get("noop_with_empty_axes", 0)) and sum(axes) == 0


def _unscaled(graph: Graph, node: Any) -> Iterable[Any]:
    """A Gemm without factors; torch-mlir forgets the first where there is no bias."""
    known = attributes_of(node)
    factors = {"alpha": 1, "beta": 2}
    build, copy = Builder(graph, node), changed(node, factors)
    for key, at in factors.items():
        name = node.input[at] if at < len(node.input) else ""
        factor = known.get(key, 1.0)
        if not name or factor == 1:
            continue
        if name in graph.arrays:
            array = graph.arrays[name]
            copy.input[at] = build.array(array * np.asarray(factor, array.dtype), name)
        elif name in graph.shapes:
            dtype, shape = graph.shapes[name]
            copy.input[at] = build.add("Mul", [name, build.array(np.asarray(factor, dtype))], shape)
        else:
            return [node]
    return [*build.nodes, copy]


def _wrapped(graph: Graph, node: Any) -> Iterable[Any]:
    """A Pad that goes round, which torch-mlir has not, as the places that it reads."""
    if attributes_of(node).get("mode") != "wrap":
        return [node]
    name, shape = node.input[0], graph.shape(node.input[0])
    wanted = [part for part in node.input[1:4:2] if part]  # pads, axes
    given = [graph.arrays[part] for part in wanted if part in graph.arrays]
    if not shape or 0 in shape or name not in graph.shapes or len(given) < len(wanted):
        return [node]
    axes = [int(axis) % len(shape) for axis in (given[1] if given[1:] else range(len(shape)))]
    pads = dict(zip(axes, np.asarray(given[0]).reshape(2, -1).T.tolist(), strict=True))
    changing = [axis for axis, (low, high) in pads.items() if low or high] or axes[:1]
    build, sizes = Builder(graph, node), list(shape)
    for axis in changing:
        low, high = pads[axis]
        places = build.array(np.arange(-low, shape[axis] + high) % shape[axis])
        sizes[axis] += low + high
        output = node.output[0] if axis == changing[-1] else f"{node.output[0]}.wrap.{axis}"
        graph.shapes[output] = graph.shapes[node.input[0]][0], tuple(sizes)
        name = build.add("Gather", [name, places], sizes, output, axis=axis)
    return build.nodes


def _multiplied(graph: Graph, node: Any) -> Iterable[Any]:
    """A power of integers, which torch-mlir computes of floats alone, as products."""
    name, exponents = node.input[0], graph.arrays.get(node.input[1])
    dtype, shape = graph.shapes.get(name, (np.dtype(np.float32), ()))
    if dtype.kind not in "iu" or exponents is None or exponents.size != 1 or exponents.ndim > len(shape):
        return [node]
    exponent = float(exponents.reshape(-1)[0])
    if exponent not in range(2, MOST_FACTORS + 1):
        return [node]
    build, product = Builder(graph, node), name
    for count in range(2, int(exponent) + 1):
        output = node.output[0] if count == exponent else f"{node.output[0]}.power.{count}"
        graph.shapes[output] = dtype, shape
        product = build.add("Mul", [product, name], shape, output)
    return build.nodes


def _shuffled(graph: Graph, node: Any) -> Iterable[Any]:
    """Channels as blocks of pixels or the other way, whose order torch-mlir mixes up."""
    known, shape, size = attributes_of(node), graph.shape(node.input[0]), graph.shape(node.output[0])
    if shape is None or size is None:
        return [node]
    block = known["blocksize"]
    batch, channels, height, width = shape
    if node.op_type == "SpaceToDepth":
        parts = [batch, channels, height // block, block, width // block, block]
        order = [0, 3, 5, 1, 2, 4]
    elif known.get("mode", "DCR") == "CRD":
        parts, order = [batch, channels // block**2, block, block, height, width], [0, 1, 4, 2, 5, 3]
    else:
        parts, order = [batch, block, block, channels // block**2, height, width], [0, 3, 4, 1, 5, 2]
    build = Builder(graph, node)
    apart = build.reshape(node.input[0], parts)
    turned = build.add("Transpose", [apart], [parts[axis] for axis in order], perm=order)
    build.reshape(turned, size, node.output[0])
    return build.nodes


def _kept(graph: Graph, node: Any) -> Iterable[Any]:
    """A product along a dimension that goes, whose sizes torch-mlir forgets, as one that keeps it."""
    size = graph.shape(node.output[0])
    if attributes_of(node).get("keepdims", 1) or not size:
        return [node]
    build, copy = Builder(graph, node), changed(node, keepdims=1)
    copy.output[0] = f"{node.output[0]}.kept"
    build.reshape(copy.output[0], size, node.output[0])
    return [copy, *build.nodes]


def _places(graph: Graph, node: Any) -> Iterable[Any]:
    """A pool's indices among all numbers of its input; torch-mlir gives those in a channel's plane."""
    known, shape, size = attributes_of(node), graph.shape(node.input[0]), graph.shape(node.output[0])
    if known.get("storage_order", 0) or shape is None or size is None:
        return [node]
    build, copy = Builder(graph, node), changed(node)
    planes = np.arange(prod(shape[:2])).reshape(*shape[:2], *[1] * (len(shape) - 2)) * prod(shape[2:])
    copy.output[1] = f"{node.output[1]}.plane"
    build.add("Add", [copy.output[1], build.array(planes)], size, node.output[1])
    return [copy, *build.nodes]


__all__ = ["check_ranges", "pad_explicitly", "rounds_up", "write_out"]
