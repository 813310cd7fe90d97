"""ExecuTorch's edge dialect back to PyTorch's operators, which the importer knows.

    edge.aten.permute_copy(x, [1, 0])             ->  aten.permute(x, [1, 0])
    edge.aten.view_copy(x, [1, -1])               ->  aten.reshape(x, [1, -1])
    edge.dim_order_ops._to_dim_order_copy(x, ...) ->  aten._to_copy(x, dtype=...)
"""

from __future__ import annotations

from typing import Any

import torch
from executorch.exir.dialects.edge._ops import EdgeOpOverload
from torch._export.verifier import Verifier
from torch.export import ExportedProgram

aten = torch.ops.aten
# Layouts in memory are no part of linalg on tensors.
_OTHERS = {"aten::view_copy": aten.reshape.default,
           "dim_order_ops::_to_dim_order_copy": aten._to_copy.default,
           "dim_order_ops::_clone_dim_order": aten.clone.default}
_LAYOUT = ("dim_order", "memory_format", "layout", "device", "pin_memory", "non_blocking")


def to_aten(graph: torch.fx.Graph) -> None:
    """Gives the edge dialect's calls in ``graph`` their PyTorch operators, in place."""
    for node in graph.nodes:
        if node.op == "call_function" and isinstance(node.target, EdgeOpOverload):
            operator = node.target._op
            node.target = _OTHERS.get(operator._schema.name) or _view_of(operator)
            node.kwargs = {name: value for name, value in node.kwargs.items() if name not in _LAYOUT}


def _view_of(operator: Any) -> Any:
    """The operator that gives a view where ``operator`` gives its copy; others as they are."""
    name = operator._schema.name.removeprefix("aten::")
    packet = getattr(aten, name.removesuffix("_copy"), None) if name.endswith("_copy") else None
    return getattr(packet, operator._overloadname) if packet is not None else operator


def aten_program(program: ExportedProgram) -> ExportedProgram:
    """A program of the edge dialect as one of PyTorch's operators; its graph changes in place."""
    to_aten(program.graph)
    program.graph_module.recompile()
    return ExportedProgram(
        root=program.graph_module, graph=program.graph, graph_signature=program.graph_signature,
        state_dict=program.state_dict, range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph, constants=program.constants, verifiers=[Verifier])


__all__ = ["aten_program", "to_aten"]
