"""Products with a constant matrix as layers see them: two-dimensional, with their bias.

    Add(MatMul(x [N, T, K], w [K, M]), b [M])   ->   Reshape(Gemm(Reshape(x, [N * T, K]), w, b), [N, T, M])
    Transpose of dimensions of which one at most is not 1   ->   Reshape

torch-mlir would broadcast the matrix to N products, which no pass takes for a linear layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np

from .graph import Builder, Graph, attributes_of


def rewrite_matrices(graph: Graph) -> None:
    """Rewrites such products and transpositions of ``graph``, in place."""
    uses = Counter(name for node in graph.nodes for name in node.input)
    uses.update(graph.outputs())
    readers = {name: node for node in graph.nodes for name in node.input}
    done: set[str] = set()
    nodes: list[Any] = []
    for node in graph.nodes:
        if node.output[0] in done:
            continue
        if _is_product(graph, node):
            reader: Any = readers.get(node.output[0])
            bias = _bias(graph, node, reader) if uses[node.output[0]] == 1 and reader is not None else ""
            if bias:
                done.add(reader.output[0])
            nodes += _product(graph, node, bias, reader.output[0] if bias else node.output[0])
        elif _keeps_order(graph, node):
            build = Builder(graph, node)
            build.reshape(node.input[0], graph.shape(node.output[0]) or (), node.output[0])
            nodes += build.nodes
        else:
            nodes.append(node)
    graph.set_nodes(nodes)


def _is_product(graph: Graph, node: Any) -> bool:
    if node.op_type != "MatMul" or node.input[1] not in graph.arrays:
        return False
    shape = graph.shape(node.input[0])
    weight = graph.arrays[node.input[1]]
    return shape is not None and len(shape) > 2 and weight.ndim == 2 and weight.dtype == np.float32


def _bias(graph: Graph, node: Any, reader: Any) -> str:
    """The constant [M] that ``reader`` adds to the product; empty where it does no such thing."""
    if reader.op_type != "Add":
        return ""
    other = next((name for name in reader.input if name != node.output[0]), "")
    known = graph.arrays.get(other)
    return other if known is not None and known.shape == graph.arrays[node.input[1]].shape[1:] else ""


def _product(graph: Graph, node: Any, bias: str, output: str) -> Iterable[Any]:
    build, shape = Builder(graph, node), graph.shape(node.input[0]) or ()
    columns = graph.arrays[node.input[1]].shape[1]
    rows = build.reshape(node.input[0], [prod(shape[:-1]), shape[-1]])
    product = build.add("Gemm", [rows, node.input[1], *filter(None, [bias])], [prod(shape[:-1]), columns])
    build.reshape(product, [*shape[:-1], columns], output)
    return build.nodes


def _keeps_order(graph: Graph, node: Any) -> bool:
    """Whether a transposition moves no element."""
    shape = graph.shape(node.input[0]) if node.op_type == "Transpose" else None
    if shape is None:
        return False
    order = attributes_of(node).get("perm", list(reversed(range(len(shape)))))
    moved = [dim for dim in order if shape[dim] != 1]
    return moved == sorted(moved)


__all__ = ["rewrite_matrices"]
