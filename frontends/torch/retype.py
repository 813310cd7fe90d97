"""Nodes of an exported program computed in another dtype: what ``narrow`` and ``floats`` are written with."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import Node
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten


def evaluated(node: Node) -> Any:
    """The (fake) value of ``node`` for its arguments' values."""
    arguments: Any = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: source.meta["val"])
    modes = [leaf.fake_mode for leaf in tree_leaves(arguments) if isinstance(leaf, FakeTensor)]
    mode = modes[0] if modes else FakeTensorMode()

    def fake(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or (isinstance(leaf, FakeTensor) and leaf.fake_mode is mode):
            return leaf
        with mode:
            return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype)

    args, kwargs = tree_map(fake, arguments)
    target: Any = node.target
    with mode:
        return target(*args, **kwargs)


def call(graph: torch.fx.Graph, operator: Any, *args: Any, **kwargs: Any) -> Node:
    """A new node at the graph's insertion point, evaluated."""
    node = graph.call_function(operator, args, kwargs)
    set_value(node, evaluated(node))
    return node


def convert(graph: torch.fx.Graph, node: Node, dtype: torch.dtype) -> Node:
    """``node`` as ``dtype``, a new node at the graph's insertion point."""
    return call(graph, aten._to_copy.default, node, dtype=dtype)


def set_value(node: Node, value: Any) -> None:
    """Notes the (fake) value of ``node``."""
    node.meta["val"] = value
    node.meta.pop("tensor_meta", None)


def set_results(program: torch.export.ExportedProgram, results: list[Any]) -> None:
    """Makes ``results`` what ``program`` returns, its signature too."""
    output = next(node for node in program.graph.nodes if node.op == "output")
    output.args = (tuple(results),)
    for spec, result in zip(program.graph_signature.output_specs, results, strict=False):
        if isinstance(result, Node) and hasattr(spec.arg, "name"):
            spec.arg.name = result.name


__all__ = ["call", "convert", "evaluated", "set_results", "set_value"]
