"""torch-mlir's ONNX importer with our constants and our locations; it needs the package onnx."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
from torch_mlir.dialects import func
from torch_mlir.extras.onnx_importer import ContextCache, ModelInfo, ModuleCache, NodeImporter

from ...sparse_dialect.ir.constants import attribute_of
from ...sparse_dialect.ir.mlir import ir
from .graph import Graph, name_of


class Importer(NodeImporter):
    """Nodes of the graph inside one function."""

    @staticmethod
    def module_of(graph: Graph, context: ir.Context) -> ir.Module:
        """A module in torch-mlir's dialect with the function ``main``."""
        info = ModelInfo(graph.model)
        cache = ContextCache(context)
        with context, ir.Location.unknown():
            module = ir.Module.create()
            values = info.main_graph.input_map
            types = [cache.type_proto_to_type(value.type) for value in values.values()]
            results = [cache.type_proto_to_type(value.type) for value in graph.model.graph.output]
            with ir.InsertionPoint(module.body):
                function = func.FuncOp("main", ir.FunctionType.get(types, results))
            block = function.add_entry_block()
            modules = ModuleCache(module.operation, cache)
            importer = Importer(info.main_graph, parent_op=function, block=block, context_cache=cache,
                                module_op=module.operation, module_cache=modules)
            importer._populate_graph_attrs(function)
            importer._nv_map.update(zip(values, block.arguments, strict=True))
            for name, array in graph.arrays.items():
                importer.constant(name, array)
            importer.import_all()
        return module

    def constant(self, name: str, array: np.ndarray) -> None:
        """Makes ``name`` known; floats borrow their memory."""
        if array.dtype.kind == "f":
            with ir.Location.unknown():
                value = attribute_of(array, re.sub(r"\W", "_", name))
        else:
            value = self._cc.tensor_proto_to_attr(onnx.numpy_helper.from_array(np.array(array), name))
        number = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        type_ = self._cc.get_vtensor_type(array.shape, self._cc.tensor_element_type(number))
        with ir.InsertionPoint(self._b), ir.Location.name(name):
            made = ir.Operation.create("torch.operator", [type_], attributes={
                "name": ir.StringAttr.get("onnx.Constant"), "torch.onnx.value": value})
        self._nv_map[name] = made.result

    def import_node(self, node: Any) -> None:
        """A node as ``torch.operator``; its location is its name, around its operator."""
        if node.op_type in ("Constant", "MeanVarianceNormalization"):
            super().import_node(node)
            return
        values = [self._nv_map[name] if name else self.get_none() for name in node.input]
        types = [self._cc.type_proto_to_type(self._gi.find_type_proto_for_name(name))
                 for name in node.output]
        with ir.InsertionPoint(self._b), ir.Location.name(name_of(node), ir.Location.name(node.op_type)):
            attributes = {**self.import_attributes(node.attribute),
                          "name": ir.StringAttr.get(f"onnx.{node.op_type}")}
            made = ir.Operation.create("torch.operator", types, values, attributes,
                                       regions=self.count_regions(node.attribute))
            self.import_regions(node.attribute, made)
        self._nv_map.update((name, value) for name, value in
                            zip(node.output, made.results, strict=True) if name)


__all__ = ["Importer"]
