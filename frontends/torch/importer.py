"""torch-mlir's FX importer with our weights and our locations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch_mlir.extras.fx_importer import ContextCache, FxImporter, FxImporterHooks, GraphNodeImporter

from ...sparse_dialect.ir.constants import attribute_of
from ...sparse_dialect.ir.mlir import ir


class _Weights(FxImporterHooks):
    """Turns known tensors into constants that borrow their memory; the default goes through lists."""

    def __init__(self, arrays: dict[int, tuple[str, np.ndarray]]) -> None:
        self._arrays = arrays
        self._attributes: dict[int, ir.Attribute] = {}

    def resolve_literal(self, gni: GraphNodeImporter, literal: Any, info: Any) -> ir.Value | None:
        """A ``torch.vtensor.literal`` for a tensor of the program; None leaves others to the importer."""
        known = self._arrays.get(id(literal))
        if known is None:
            return None
        name, array = known
        if id(literal) not in self._attributes:  # tied weights stay one
            self._attributes[id(literal)] = attribute_of(array, name)
        type_ = gni._cc.tensor_to_vtensor_type(literal)
        attributes = {"value": self._attributes[id(literal)]}
        return ir.Operation.create("torch.vtensor.literal", [type_], attributes=attributes).result


class _NamedLocations(ContextCache):
    """Locations that carry what reports print: the layer's name, around PyTorch's operation, around the place
    in the Python source."""

    matrices: Mapping[str, str]  # node -> what ``matrix_names`` says

    def get_node_location(self, node: torch.fx.Node) -> ir.Location | None:
        """The path of the innermost ``nn.Module`` around ``node``; outside of any, the node's name. A module
        of several matrices, such as a GRU, is named with the matrix. The operation is the one of the model,
        not of its decomposition."""
        inner = super().get_node_location(node)
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = str(stack[-1][0]).removeprefix("L['self'].") if stack else ""
        operation = node.meta.get("original_aten") or node.target
        if isinstance(operation, torch._ops.OpOverload):
            inner = ir.Location.name(str(operation).removesuffix(".default"), inner, context=self._c)
        return ir.Location.name(self.matrices.get(node.name) or path or node.name, inner, context=self._c)


def matrix_names(program: torch.export.ExportedProgram) -> dict[str, str]:
    """For each node that multiplies with one of the matrices of a module such as a GRU, the matrix's path."""
    parameters = program.graph_signature.inputs_to_parameters
    names = {}
    for node in program.graph.nodes:
        for source in node.all_input_nodes:
            if source.target in (torch.ops.aten.permute.default, torch.ops.aten.t.default):
                source = source.all_input_nodes[0]
            name = parameters.get(source.name, "")
            if name.rpartition(".")[2].startswith("weight_"):
                names[node.name] = name
    return names


class Importer(FxImporter):
    """Imports one exported program into ``context``.

    ``arrays`` maps ids of its tensors to (name, memory); ``matrices``: see ``matrix_names``.
    """

    def __init__(self, context: ir.Context, arrays: dict[int, tuple[str, np.ndarray]],
                 matrices: Mapping[str, str]) -> None:
        super().__init__(context=context, hooks=_Weights(arrays))
        self._cc = _NamedLocations(context, py_attr_tracker=self._py_attr_tracker)
        self._cc.matrices = matrices


__all__ = ["Importer", "matrix_names"]
