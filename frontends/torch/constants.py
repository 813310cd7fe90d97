"""Constant folding of exported programs, by PyTorch itself.

    %m = aten.mul(%p_weight, %b_mask)            %p_weight' = (weight * mask, evaluated)
    %y = aten.convolution(%x, %m, ...)      ->   %y = aten.convolution(%x, %p_weight', ...)

Whatever depends on parameters, buffers and constants alone is evaluated once: masks in a module's own
``forward``, weight and spectral norm, parametrizations, merged adapters, scaled int8 weights, slices of a
joint projection. Equal expressions are evaluated once, so a weight that many time steps compute again stays
one constant. Views (a transposed or tied weight) stay views where nothing is computed behind them, since
layers are recognised through them and a copy would take memory for nothing.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch.fx import Node

aten = torch.ops.aten
# Not worth a constant of its own: ops that rearrange places and keep all elements, and those that fill.
KEPT = frozenset({
    aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten.permute.default, aten.t.default,
    aten.transpose.int, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default,
    aten.detach.default, aten.alias.default, aten.clone.default, aten.full.default,
    aten.zeros.default, aten.ones.default, aten.empty.memory_format, aten.scalar_tensor.default})
SMALL = 1 << 22  # elements; larger results must not hold more elements than the constants that they read
BUDGET = 4  # all folded constants together: so many times the memory of the program's own, and RESERVE
RESERVE = 1 << 28  # bytes


def fold_constants(program: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    """
    Evaluates the parts of ``program`` that depend on its constants alone, in place.

    ``program`` is decomposed and functional. Every reader of a constant reads the tensor itself afterwards
    (an argument that is a ``torch.Tensor``), and the placeholders of parameters, buffers and lifted
    constants are gone. Returns these tensors by name: a parameter's path, or that of the one a folded
    tensor came from. Memory is bounded: what would take more than ``SMALL``, ``BUDGET`` and ``RESERVE``
    allow (a weight expanded to a large batch) stays in the program and is computed at run time.
    """
    graph, known = program.graph, _placeholders(program)
    constant = _constant_nodes(graph, known)
    same = _representatives(constant)
    wanted = _to_evaluate(constant, known, same)
    values = _evaluate(constant, known, same, wanted)
    names = _names(constant, known)
    tensors: dict[str, torch.Tensor] = {}
    named: set[int] = set()
    taken: Counter[str] = Counter()
    for node in constant:
        if node not in wanted:
            continue
        value = values[same[node]]
        if id(value) not in named:
            named.add(id(value))
            taken[names[node]] += 1
            count = taken[names[node]]
            tensors[names[node] if count == 1 else f"{names[node]}#{count}"] = value
        if any(_in_list(node, user) for user in node.users):
            _attribute(program, node, value)
        node.replace_all_uses_with(cast(Node, value))  # an argument may be a tensor, the importer takes it
    _erase_unused(graph, known)
    return tensors


def _in_list(node: Node, user: Node) -> bool:
    return any(isinstance(argument, list | tuple) and node in argument for argument in user.args)


def _attribute(program: torch.export.ExportedProgram, node: Node, value: torch.Tensor) -> None:
    """Lists hold nodes only: who reads ``node`` in one reads an attribute instead, which is ``value``."""
    graph, holder = program.graph, program.graph_module
    name = f"_constant_{node.name}"
    holder.register_buffer(name, value, persistent=False)
    with graph.inserting_before(node):
        attribute = graph.get_attr(name)
    attribute.meta = dict(node.meta)
    node.replace_all_uses_with(attribute, lambda user: _in_list(node, user), propagate_meta=False)


def _placeholders(program: torch.export.ExportedProgram) -> dict[Node, tuple[str, torch.Tensor]]:
    """Name and value of each parameter, buffer that no run overwrites, and lifted constant."""
    signature = program.graph_signature
    overwritten = set(signature.buffers_to_mutate.values())
    state = {**program.constants, **program.state_dict}
    sources = {**signature.inputs_to_lifted_tensor_constants, **signature.inputs_to_buffers,
               **signature.inputs_to_parameters}
    known = {}
    for node in program.graph.nodes:
        name = sources.get(node.name) if node.op == "placeholder" else None
        if name is not None and name not in overwritten and isinstance(state.get(name), torch.Tensor):
            known[node] = (name, state[name].detach())
    tied: dict[tuple[Any, ...], torch.Tensor] = {}
    for node, (name, value) in known.items():  # tied weights stay one tensor
        place = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        known[node] = (name, tied.setdefault(place, value))
    return known


def _constant_nodes(graph: torch.fx.Graph, known: dict[Node, tuple[str, torch.Tensor]]) -> list[Node]:
    """The nodes, in order, whose values the program's constants determine."""
    constant = dict.fromkeys(known)
    for node in graph.nodes:
        if _is_pure(node) and all(source in constant for source in node.all_input_nodes):
            constant[node] = None
    return list(constant)


def _is_pure(node: Node) -> bool:
    """Whether ``node`` computes tensors of static shape from its arguments, the same each time."""
    if node.op != "call_function":
        return False
    if node.target is not operator.getitem and not same_each_time(node.target):
        return False
    values = _tensors(node)
    return bool(values) and all(isinstance(size, int) for value in values for size in value.shape)


def same_each_time(target: object) -> bool:
    """Whether ``target`` is an operator that writes nothing, and gives the same of the same."""
    return isinstance(target, torch._ops.OpOverload) and not (
        target._schema.is_mutable or torch.Tag.nondeterministic_seeded in target.tags)


def _tensors(node: Node) -> list[torch.Tensor]:
    """The (fake) tensors that ``node`` computes; none where it computes anything else."""
    value = node.meta.get("val")
    values = list(value) if isinstance(value, list | tuple) else [value]
    tensors = [v for v in values if isinstance(v, torch.Tensor) and v.layout == torch.strided]
    return tensors if len(tensors) == len(values) else []


def _bytes(node: Node) -> int:
    return sum(value.numel() * value.element_size() for value in _tensors(node))


def _representatives(constant: list[Node]) -> dict[Node, Node]:
    """For every constant node the first one that computes the same from the same."""
    first: dict[Any, Node] = {}
    same: dict[Node, Node] = {}

    def key(argument: Any) -> Any:
        if isinstance(argument, Node):
            return ("node", same[argument])
        if isinstance(argument, list | tuple):
            return tuple(map(key, argument))
        return (type(argument), argument)

    for node in constant:
        if node.op == "placeholder":
            same[node] = node
            continue
        named = tuple(sorted((name, key(value)) for name, value in node.kwargs.items()))
        try:
            same[node] = first.setdefault((node.target, key(node.args), named), node)
        except TypeError:  # an argument that has no hash
            same[node] = node
    return same


def _to_evaluate(constant: list[Node], known: dict[Node, tuple[str, torch.Tensor]],
                 same: dict[Node, Node]) -> set[Node]:
    """The nodes whose values the rest of the program is to read."""
    inside, kept, wanted, counted = set(constant), set[Node](), set[Node](), set[Node]()
    fitting = _fitting(constant, known)
    left = RESERVE + BUDGET * sum(value.nbytes for _, value in known.values())
    for node in reversed(constant):
        if not any(user not in inside or user in kept for user in node.users):
            continue
        if node in known:
            wanted.add(node)
            continue
        cost = 0 if same[node] in counted else _bytes(node)
        if node.target in KEPT or node not in fitting or cost > left:
            kept.add(node)  # its sources are read in its place
            continue
        counted.add(same[node])
        left -= cost
        wanted.add(node)
    return wanted


def _fitting(constant: list[Node], known: dict[Node, tuple[str, torch.Tensor]]) -> set[Node]:
    """The nodes of one result that are small or no larger than what they are made from, at every step."""
    leaves = _leaves(constant, known)
    bounded, fitting = set(known), set[Node]()
    for node in constant:
        elements = sum(known[leaf][1].numel() for leaf in leaves[node])
        if any(source not in bounded for source in node.all_input_nodes):
            continue
        if sum(value.numel() for value in _tensors(node)) <= max(SMALL, elements):
            bounded.add(node)
            if len(_tensors(node)) == 1:
                fitting.add(node)
    return fitting


def _leaves(constant: list[Node], known: dict[Node, tuple[str, torch.Tensor]]) -> dict[Node, frozenset[Node]]:
    """The parameters, buffers and constants that each constant node reads."""
    leaves: dict[Node, frozenset[Node]] = {}
    for node in constant:
        own = frozenset({node}) if node in known else frozenset()
        leaves[node] = own.union(*(leaves[source] for source in node.all_input_nodes))
    return leaves


def _evaluate(constant: list[Node], known: dict[Node, tuple[str, torch.Tensor]], same: dict[Node, Node],
              wanted: set[Node]) -> dict[Node, torch.Tensor]:
    """The values of the ``wanted`` nodes' representatives; those in between live while they are read."""
    needed = {same[node] for node in wanted}
    for node in reversed(constant):
        if node in needed:
            needed |= {same[source] for source in node.all_input_nodes}
    readers = Counter(source for node in needed for source in _sources(node, same))
    last = {same[node] for node in wanted}
    values: dict[Node, Any] = {}
    with torch.no_grad():
        for node in constant:
            if node not in needed:
                continue
            if node in known:
                values[node] = known[node][1]
                continue
            arguments: Any = (node.args, node.kwargs)
            args, kwargs = torch.fx.node.map_arg(arguments, lambda source: values[same[source]])
            values[node] = cast(Callable[..., Any], node.target)(*args, **kwargs)
            for source in _sources(node, same):
                readers[source] -= 1
                if not readers[source] and source not in last:
                    del values[source]
    return values


def _sources(node: Node, same: dict[Node, Node]) -> Iterator[Node]:
    yield from dict.fromkeys(same[source] for source in node.all_input_nodes)


def _names(constant: list[Node], known: dict[Node, tuple[str, torch.Tensor]]) -> dict[Node, str]:
    """What each constant is called: as the largest parameter that it is made from."""
    leaves = _leaves(constant, known)
    return {node: max((known[leaf] for leaf in leaves[node]), key=lambda pair: pair[1].numel(),
                      default=("constant", None))[0] for node in constant}


def _erase_unused(graph: torch.fx.Graph, known: dict[Node, tuple[str, torch.Tensor]]) -> None:
    """Erases the constants' placeholders and what computed with them."""
    for node in reversed(list(graph.nodes)):
        pure = node.op == "call_function" and (_is_pure(node) or node.target in (
            aten._assert_tensor_metadata.default,))
        if not node.users and (node in known or pure):
            graph.erase_node(node)


__all__ = ["fold_constants", "same_each_time"]
