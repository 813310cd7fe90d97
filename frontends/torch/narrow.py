"""Integers of 8 and 16 bits computed as 32-bit ones: torch-mlir's lowerings take unsigned bytes for signed
ones, and reductions of either end the process.

    %m = aten.maximum(%x: uint8, %y: uint8)        %a = bitwise_and(_to_copy(%x: int8, int32), 255)
    return %m                                  ->  %m = aten.maximum(%a, %b)
                                                   return _to_copy(bitwise_and(%m, 255), int8)

Inputs and outputs keep their bits; ``main`` says in its attribute ``espalier.unsigned`` which of them are
unsigned, so that callers see uint8.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Node
from torch.utils._pytree import tree_leaves, tree_map

from .retype import call, convert, evaluated, set_results, set_value

aten = torch.ops.aten
NARROW, WIDE = (torch.uint8, torch.int8, torch.int16), torch.int32
# Results that are among the arguments' elements need not be brought into their range.
CLOSED = frozenset({
    aten.view.default, aten.permute.default, aten.transpose.int, aten.t.default, aten.unsqueeze.default,
    aten.squeeze.dim, aten.squeeze.dims, aten.expand.default, aten.slice.Tensor, aten.select.int,
    aten.cat.default, aten.flip.default, aten.clone.default, aten.index_select.default, aten.gather.default,
    aten.max.default, aten.min.default, aten.amax.default, aten.amin.default, aten.max.dim, aten.min.dim,
    aten.maximum.default, aten.minimum.default, aten.sort.default, aten.topk.default, operator.getitem})


def widen_integers(program: torch.export.ExportedProgram) -> tuple[list[int], list[int]]:
    """Rewrites a decomposed program in place; the positions of its inputs and outputs that are unsigned."""
    graph = program.graph
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    output = next(node for node in graph.nodes if node.op == "output")
    results = list(output.args[0])
    dtypes = [_narrow(result) for result in results]
    unsigned = ([at for at, node in enumerate(inputs) if _narrow(node) == torch.uint8],
                [at for at, dtype in enumerate(dtypes) if dtype == torch.uint8])
    changed: set[Node] = set()
    for node in list(graph.nodes):
        if node.op == "placeholder" and _narrow(node):
            changed.add(_widen_input(graph, node))
        elif node.op == "get_attr" and _narrow(node):
            holder, name = program.graph_module, str(node.target)
            setattr(holder, name, getattr(holder, name).to(WIDE))
            set_value(node, node.meta["val"].to(WIDE))
            changed.add(node)
        elif node.op == "call_function":
            _widen_call(graph, node, changed)
    results = list(output.args[0])
    for at, dtype in enumerate(dtypes):
        if dtype is not None:
            with graph.inserting_before(output):
                results[at] = convert(graph, results[at], _signed(dtype))
    set_results(program, results)
    return unsigned


def _narrow(node: Any) -> torch.dtype | None:
    """The dtype of ``node`` where it is one of ``NARROW``."""
    value = node.meta.get("val") if isinstance(node, Node) else None
    return value.dtype if isinstance(value, torch.Tensor) and value.dtype in NARROW else None


def _signed(dtype: torch.dtype) -> torch.dtype:
    return torch.int8 if dtype == torch.uint8 else dtype


def _widen_input(graph: torch.fx.Graph, node: Node) -> Node:
    """Bytes come as signed ones; what reads them reads 0 .. 255 instead."""
    dtype = node.meta["val"].dtype
    set_value(node, node.meta["val"].to(_signed(dtype)))
    after = next(other for other in graph.nodes if other.op != "placeholder")
    with graph.inserting_before(after):
        signed = wide = convert(graph, node, WIDE)
        if dtype == torch.uint8:
            wide = call(graph, aten.bitwise_and.Scalar, signed, 255)
    node.replace_all_uses_with(wide, lambda user: user is not signed, propagate_meta=False)
    return wide


def _widen_call(graph: torch.fx.Graph, node: Node, changed: set[Node]) -> None:
    """Computes ``node`` on wide arguments; its result is brought into its range, or has the dtype it had."""
    was = node.meta.get("val")
    own = (node.args, node.kwargs)
    reads_changed = bool(changed.intersection(node.all_input_nodes))
    if not reads_changed and all(_widened(leaf) is leaf for leaf in tree_leaves(own)):
        return
    node.args, node.kwargs = tree_map(_widened, own)
    set_value(node, evaluated(node))
    if not isinstance(was, torch.Tensor):
        changed.add(node)
        return
    found = node.meta["val"].dtype
    expected = WIDE if was.dtype in NARROW else was.dtype
    users, last = list(node.users), node
    with graph.inserting_after(node):
        if found != expected:
            last = convert(graph, node, expected)
    if was.dtype in NARROW and node.target not in CLOSED:
        last = _in_range(graph, last, was.dtype)
    for user in users if last is not node else ():
        user.replace_input_with(node, last)
    if was.dtype in NARROW:
        changed.add(last)


def _in_range(graph: torch.fx.Graph, node: Node, dtype: torch.dtype) -> Node:
    """``node``, a wide integer, as ``dtype`` would hold it."""
    with graph.inserting_after(node):
        if dtype == torch.uint8:
            return call(graph, aten.bitwise_and.Scalar, node, 255)
        cut = convert(graph, node, dtype)
    with graph.inserting_after(cut):
        return convert(graph, cut, WIDE)


def _widened(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor) and leaf.dtype in NARROW:
        return leaf.to(WIDE)
    return WIDE if isinstance(leaf, torch.dtype) and leaf in NARROW else leaf


__all__ = ["widen_integers"]
