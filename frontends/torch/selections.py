"""Selections by masks that a program knows: their places are constants, and so are the shapes behind them.

    %y = aten.index %x, [None, %mask] : [3, u0]   ->   %y = aten.index %x, [None, %places] : [3, 4]

torch.export does not look into buffers, so the number of places is a symbol. The program is exported anew,
with the places in the masks' stead. A buffer that the program writes to is not known, nor is what is written
in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch.fx import GraphModule, Node, map_arg
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from .constants import same_each_time

aten = torch.ops.aten
WRITES = (aten.index_put.default, aten.index_put_.default)
# What export asks of numbers that it does not know.
ASSERTIONS = (aten._assert_scalar.default, aten._assert_tensor_metadata.default,
              aten.sym_constrain_range.default, aten.sym_constrain_range_for_size.default)


def with_known_places(program: torch.export.ExportedProgram, args: tuple[Any, ...], kwargs: dict[str, Any],
                      dynamic_shapes: Any) -> torch.export.ExportedProgram:
    """``program``, exported for ``args``, ``kwargs`` and ``dynamic_shapes``, with the places of the masks
    among its constants; one without such selections stays as it is."""
    if not any(node.target in WRITES or (isinstance(node.meta.get("val"), torch.Tensor)
                                         and free_unbacked_symbols(node.meta["val"]))
               for node in program.graph.nodes):
        return program
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    for node in module.graph.nodes:
        if node.target is aten.detach_.default:  # of constants that forward makes
            node.target = aten.detach.default
    places = _Places(module)
    for node in list(module.graph.nodes):
        places.visit(node)
    if not places.count:
        return program
    for node in reversed(list(module.graph.nodes)):
        if node.target in ASSERTIONS and not node.users:
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return torch.export.export(module, args, kwargs, dynamic_shapes=dynamic_shapes, strict=False)


def _is_a_value_each(args: Any) -> bool:
    """Whether an assignment by a mask has a value for each place; one for all of them is a choice."""
    x, indices, values = args[:3]
    index = next(index for index in indices if index is not None)
    behind = x.meta["val"].dim() - (len(indices) - 1) - index.meta["val"].dim()
    return bool(values.meta["val"].dim() > behind)


class _Places:
    """The selections of one graph that constants tell."""

    def __init__(self, module: GraphModule) -> None:
        self._module = module
        self._known: dict[Node, bool] = {}  # of the nodes that ``visit`` has seen
        self._values: dict[Node, Any] = {}
        written = set(_written(module.graph))
        stores = {_store(self._attribute(node)) for node in written if node.op == "get_attr"}
        self._written = written | {node for node in module.graph.nodes if node.op == "get_attr"
                                   and _store(self._attribute(node)) in stores}
        self.count = 0

    def visit(self, node: Node) -> None:
        """Puts places in the stead of a known mask that ``node``, next in order, selects by."""
        self._known[node] = node not in self._written and (node.op == "get_attr" or (
            same_each_time(node.target) and all(self._known[source] for source in node.all_input_nodes)))
        args: Any = node.args
        if node.target is aten.index.Tensor or (node.target in WRITES and _is_a_value_each(args)):
            indices: list[Any] = []
            for index in args[1]:
                known = index is not None and self._is_mask(index)
                indices += self._constants(node, self._value(index)) if known else [index]
            node.args = (args[0], indices, *args[2:])
        elif node.target is aten.masked_select.default and self._is_mask(args[1]):
            shape = torch.broadcast_shapes(*(source.meta["val"].shape for source in args))
            with self._module.graph.inserting_before(node):
                x = self._module.graph.call_function(aten.expand.default, (args[0], list(shape)))
            mask = self._value(args[1]).expand(shape)
            self._replace(node, aten.index.Tensor, x, self._constants(node, mask))
        elif node.target is aten.nonzero.default and self._known[args[0]]:
            self._replace(node, aten.clone.default, self._constant(node, self._value(node)))
        elif node.target is aten.repeat_interleave.self_Tensor and len(args) > 2 and self._known[args[1]]:
            places = torch.repeat_interleave(self._value(args[1]))
            self._replace(node, aten.index_select.default, args[0], args[2], self._constant(node, places))

    def _replace(self, node: Node, target: Any, *args: Any) -> None:
        with self._module.graph.inserting_before(node):
            new = self._module.graph.call_function(target, args)
        new.meta = dict(node.meta)
        self._known[new] = self._known[node]
        node.replace_all_uses_with(new)

    def _is_mask(self, node: Node) -> bool:
        return self._known[node] and node.meta["val"].dtype == torch.bool

    def _value(self, node: Node) -> Any:
        if node not in self._values:
            arguments: Any = (node.args, node.kwargs)
            args, kwargs = map_arg(arguments, self._value)
            self._values[node] = (self._attribute(node) if node.op == "get_attr"
                                  else cast(Callable[..., Any], node.target)(*args, **kwargs))
        return self._values[node]

    def _attribute(self, node: Node) -> Any:
        value: Any = self._module
        for part in str(node.target).split("."):
            value = getattr(value, part)
        return value

    def _constants(self, before: Node, mask: torch.Tensor) -> list[Node]:
        """The places of ``mask``, one vector a dimension."""
        return [self._constant(before, at) for at in mask.nonzero(as_tuple=True)]

    def _constant(self, before: Node, value: torch.Tensor) -> Node:
        name = f"places_{self.count}"
        self.count += 1
        self._module.register_buffer(name, value.detach().clone())
        with self._module.graph.inserting_before(before):
            new = self._module.graph.get_attr(name)
        self._known[new], new.meta["val"] = True, value
        return new


def _written(graph: torch.fx.Graph) -> Iterator[Node]:
    """The nodes whose tensors are written in place, perhaps through a view, or given to other graphs."""
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            yield from map(_base, node.all_input_nodes)
        if isinstance(node.target, torch._ops.OpOverload):
            schema = node.target._schema.arguments
            for argument, given in [*zip(schema, node.args, strict=False),
                                    *((a, node.kwargs[a.name]) for a in schema if a.name in node.kwargs)]:
                if argument.alias_info is not None and argument.alias_info.is_write:
                    yield from map(_base, given if isinstance(given, list | tuple) else [given])


def _base(node: Node) -> Node:
    """What ``node`` is a view of."""
    while isinstance(node.target, torch._ops.OpOverload) and node.all_input_nodes and any(
            result.alias_info is not None for result in node.target._schema.returns):
        node = node.all_input_nodes[0]
    return node


def _store(value: Any) -> Any:
    """What tensors that share memory have in common."""
    return value.untyped_storage().data_ptr() if isinstance(value, torch.Tensor) else id(value)


__all__ = ["with_known_places"]
