"""Conditions of ONNX graphs that are known: the branch that is taken takes the ``If``'s place.

    If(c) { then: Squeeze(x) -> s } { else: Identity(x) -> i } -> y,   c = [true]
    ->   Squeeze(x) -> y.s; Identity(y.s) -> y

Exporters write them for shapes that they did not know; once shapes are fixed, folding knows the condition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...errors import optional
from .graph import Graph, node_error


def inline_branches(graph: Graph) -> bool:
    """Inlines each ``If`` of ``graph`` whose condition is a known value, in place; whether there was one.

    ``If``s inside of these are for the next call. Raises ``EspalierError`` for one without the branch.
    """
    nodes: list[Any] = []
    found = False
    for node in graph.nodes:
        condition = graph.arrays.get(node.input[0]) if node.op_type == "If" else None
        if condition is None or condition.size != 1:
            nodes.append(node)
            continue
        nodes += _branch(graph, node, "then_branch" if bool(np.all(condition)) else "else_branch")
        found = True
    graph.set_nodes(nodes)
    return found


def _branch(graph: Graph, node: Any, which: str) -> list[Any]:
    """The nodes of a branch. What it computes is called anew: two graphs may use a name for two things."""
    inner = next((attribute.g for attribute in node.attribute if attribute.name == which), None)
    if inner is None or len(inner.output) != len(node.output):
        raise node_error(node, f"expected a {which} with {len(node.output)} outputs")
    onnx = optional("onnx")
    own = [*(tensor.name for tensor in inner.initializer), *_results(inner.node)]
    names = {name: f"{node.output[0]}.{name}" for name in own}
    for tensor in inner.initializer:
        graph.arrays[names[tensor.name]] = onnx.numpy_helper.to_array(tensor)
    made = [_renamed(child, names) for child in inner.node]
    ends = [onnx.helper.make_node("Identity", [names.get(value.name, value.name)], [name])
            for value, name in zip(inner.output, node.output, strict=True) if name]
    return [*made, *ends]


def _results(nodes: Iterable[Any]) -> list[str]:
    return [name for node in nodes for name in node.output if name]


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    """A copy of ``node`` that uses the new names, in the graphs inside of it too."""
    copy = type(node)()
    copy.CopyFrom(node)
    for words in (copy.input, copy.output):
        words[:] = [names.get(word, word) for word in words]
    for attribute in copy.attribute:
        if attribute.HasField("g"):
            children = [_renamed(child, names) for child in attribute.g.node]
            del attribute.g.node[:]
            attribute.g.node.extend(children)
            for value in attribute.g.output:
                value.name = names.get(value.name, value.name)
    return copy


__all__ = ["inline_branches"]
