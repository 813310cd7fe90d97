"""Programs of which Espalier takes a part: that part is compiled, the rest runs in PyTorch.

    conv -> relu -> fft -> abs -> linear   ->   [conv, relu: compiled] -> fft -> [abs, linear: compiled]

Every operation is imported alone to see whether it can be; what can is joined to sub-graphs as large as
possible (PyTorch's own partitioner). A program that writes to its weights or inputs is not taken apart.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, cast

import torch
from torch.fx import Node
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner, Partition
from torch.fx.passes.operator_support import OperatorSupportBase

from ...errors import EspalierError
from ..compile import import_any
from ..mlir_file import first_line
from ..quiet import quiet
from .decompositions import table

# Calls on tensors that a partition alone is not worth: they only rename.
FREE = ("getitem", "view", "alias", "detach", "_assert_tensor_metadata")


def functional(program: torch.export.ExportedProgram) -> torch.fx.GraphModule | None:
    """The program decomposed, as a module; None where it writes to its weights, buffers or inputs.
    ``EspalierError`` where PyTorch cannot."""
    with quiet():
        try:
            program = program.run_decompositions(table())
        except Exception as error:  # inputs that overlap end in an AssertionError, for one
            raise EspalierError(f"PyTorch cannot take the program apart: {first_line(error)}") from error
        signature = program.graph_signature
        if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
            return None
        module = program.module(check_guards=False)
    assert isinstance(module, torch.fx.GraphModule)
    return module


def whole_imports(graph: torch.fx.GraphModule, weights: Container[str]) -> bool:
    """Whether all of a functional program can be imported; ``weights``: the names of inputs that are weights,
    of which only the shapes count."""
    whole, inputs, known = torch.fx.Graph(), [], {}
    holder = torch.nn.Module()
    for node in graph.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and isinstance(value, torch.Tensor):
            if not all(isinstance(size, int) for size in value.shape):
                return False
            stand_in = torch.ones(value.shape, dtype=value.dtype)
            if node.name in weights:
                holder.register_buffer(f"constant_{node.name}", stand_in)
                known[node] = whole.get_attr(f"constant_{node.name}")
                continue
            inputs.append(stand_in)
        elif node.op not in ("call_function", "output"):
            return False
        known[node] = whole.node_copy(node, known.__getitem__)
    try:
        import_any(torch.fx.GraphModule(holder, whole), tuple(inputs))
        return True
    except EspalierError:
        return False


def eager_nodes(graph: torch.fx.GraphModule, weights: Container[str] = ()) -> dict[str, str]:
    """The nodes of a functional program that Espalier does not take, and their operators; ``weights``: the
    names of inputs that are weights, beside the attributes."""
    known: dict[Any, bool] = {}
    eager: dict[str, str] = {}
    for node in graph.graph.nodes:
        if node.op != "call_function":
            continue
        if node.target is operator.getitem:  # goes with the operation whose result it takes
            if node.args[0].name in eager:
                eager[node.name] = eager[node.args[0].name]
            continue
        key = _key(node, weights)
        if key not in known:
            known[key] = _imports(graph, node, weights)
        if not known[key]:
            eager[node.name] = str(node.target)
    return eager


def _key(node: Node, weights: Container[str]) -> Any:
    """Nodes of one key are the same operation on the same shapes."""

    def text(argument: Any) -> str:
        if not isinstance(argument, Node):
            return repr(argument)
        value = argument.meta.get("val")
        leaves = value if isinstance(value, list | tuple) else [value]
        kind = [(leaf.dtype, tuple(leaf.shape)) if isinstance(leaf, torch.Tensor) else leaf
                for leaf in leaves]
        return f"{argument.op == 'get_attr' or argument.name in weights} {kind}"

    arguments: Any = (node.args, node.kwargs)
    return node.target, repr(torch.fx.node.map_arg(arguments, text))


def _imports(graph: torch.fx.GraphModule, node: Node, weights: Container[str]) -> bool:
    """Whether the operation can be imported alone."""
    single, inputs = torch.fx.Graph(), []
    holder = torch.nn.Module()

    def constant(tensor: torch.Tensor) -> Node:
        name = f"constant_{len(list(holder.buffers()))}"
        holder.register_buffer(name, tensor)
        return single.get_attr(name)

    def stand_in(source: Node) -> Node:
        if source.op == "get_attr":
            held = _attribute(graph, str(source.target))
            if not isinstance(held, torch.Tensor):
                raise EspalierError("a graph of its own, as of torch.cond")
            return constant(held.detach())
        value = source.meta.get("val")
        if not isinstance(value, torch.Tensor) or not all(isinstance(size, int) for size in value.shape):
            raise EspalierError("not a tensor of a known shape")
        if source.name in weights:
            return constant(torch.ones(value.shape, dtype=value.dtype))
        inputs.append(torch.zeros(value.shape, dtype=value.dtype))
        return single.placeholder(source.name)

    try:
        seen: dict[Node, Node] = {}
        arguments: Any = (node.args, node.kwargs)
        args, kwargs = torch.fx.node.map_arg(
            arguments, lambda source: seen.setdefault(source, seen.get(source) or stand_in(source)))
        results = single.call_function(cast(Callable[..., Any], node.target), args, kwargs)
        value = node.meta.get("val")
        several = isinstance(value, list | tuple)
        single.output((single.call_function(operator.getitem, (results, 0)),) if several
                      else (results,))
        import_any(torch.fx.GraphModule(holder, single), tuple(inputs))
        return True
    except EspalierError:
        return False


def _attribute(module: torch.nn.Module, path: str) -> Any:
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name)
    return value


class _All(OperatorSupportBase):
    """All calls but the ``eager`` ones."""

    def __init__(self, eager: Mapping[str, str]) -> None:
        self._eager = eager

    def is_node_supported(self, submodules: Mapping[str, torch.nn.Module], node: Node) -> bool:
        return node.op == "call_function" and node.name not in self._eager


def parts(graph: torch.fx.GraphModule,
          eager: Mapping[str, str]) -> tuple[CapabilityBasedPartitioner, list[Partition]]:
    """The largest sub-graphs without ``eager`` nodes that are worth it, and the partitioner that found
    them."""
    partitioner = CapabilityBasedPartitioner(graph, _All(eager), allows_single_node_partition=True)
    return partitioner, [part for part in partitioner.propose_partitions()
                         if not all(node.name.startswith(FREE) for node in part.nodes)]


def split(graph: torch.fx.GraphModule, eager: Mapping[str, str],
          compile_part: Callable[[torch.fx.GraphModule, Sequence[Any]], Callable[..., Any]]) -> int:
    """Replaces the sub-graphs of ``graph`` without ``eager`` nodes by what ``compile_part`` makes of them, in
    place; returns how many there are.

    ``compile_part`` gets a sub-graph and an entry for each of its inputs: the tensor that it always is (a
    weight), or None.
    """
    partitioner, partitions = parts(graph, eager)
    fused = partitioner.fuse_partitions(partitions)
    for node in list(fused.graph.nodes):
        if node.op != "call_module":
            continue
        weights = [_attribute(graph, str(source.target)) if source.op == "get_attr" else None
                   for source in node.args]
        part = cast(torch.fx.GraphModule, graph.get_submodule(str(node.target)))
        setattr(graph, str(node.target), _Part(compile_part(part, weights)))
    fused.recompile()
    return len(partitions)


class _Part(torch.nn.Module):
    """A function in a module's place."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


__all__ = ["eager_nodes", "functional", "parts", "split", "whole_imports"]
