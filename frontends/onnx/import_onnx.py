"""ONNX graphs to linalg on tensors, function ``main``, by torch-mlir's importer and passes.

Ours are the constants, which borrow memory instead of being copied twice, the locations, which carry the
nodes' names, what is done before (``fold``, ``transposed``, ``matrices``, ``recurrent``), and the errors.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import EspalierError, optional
from ...sparse_dialect.ir.constants import attribute_of
from ...sparse_dialect.ir.mlir import bindings, ir
from ..lowering.torch_dialect import TO_BACKEND, new_context, run, to_linalg
from ..mlir_file import check_static, first_line
from ..quiet import quiet
from .fold import fold_constants
from .graph import Graph, name_of
from .matrices import rewrite_matrices
from .read import read_onnx
from .recurrent import rewrite_recurrent
from .shapes import check_static as known_shapes
from .shapes import infer_shapes
from .transposed import rewrite_transposed

TO_TORCH = "builtin.module(func.func(convert-torch-onnx-to-torch))"


def import_onnx(path: str | Path, shapes: Sequence[tuple[int, ...]] = ()) -> ir.Module:
    """
    The ONNX file ``path`` as linalg on tensors; the result owns its MLIR context.

    Layers are called as the file's nodes. ``shapes``: see ``read_onnx``. Raises ``EspalierError``, in one
    line, for what ``read_onnx`` refuses and for operators that torch-mlir does not lower (named, with the
    node).
    """
    graph = prepared(path, shapes)
    return module_of(graph, str(path))


def prepared(path: str | Path, shapes: Sequence[tuple[int, ...]] = ()) -> Graph:
    """The graph of the file, ready to be imported."""
    graph = read_onnx(path, shapes)
    unknown = -1
    while unknown:  # what folds tells more shapes, and these let more fold
        infer_shapes(graph, str(path))
        fold_constants(graph)
        before, unknown = unknown, sum(graph.shape(name) is None for node in graph.nodes
                                       for name in node.output if name)
        if unknown == before:
            break
    known_shapes(graph)
    for rewrite in (rewrite_transposed, rewrite_recurrent, rewrite_matrices):
        rewrite(graph)
    fold_constants(graph)  # what nobody reads any more goes
    return graph


def module_of(graph: Graph, what: str) -> ir.Module:
    """A prepared graph as linalg on tensors."""
    kinds = {name_of(node): node.op_type for node in graph.nodes}
    module = _imported(graph, what)
    try:
        run(module, TO_TORCH)
        to_linalg(module, TO_BACKEND)
    except EspalierError as error:
        raise _with_operator(error, kinds) from error
    check_static(module, what)
    return module


def _imported(graph: Graph, what: str) -> ir.Module:
    context = new_context("importing ONNX files")
    importer = _importer()
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importer.module_of(graph, context)
        except Exception as error:  # the importer raises every kind of exception for what it does not know
            raise EspalierError(f"{what}: cannot import the graph: {first_line(error)}") from error


def _with_operator(error: EspalierError, kinds: Mapping[str, str]) -> EspalierError:
    """``error`` of torch-mlir's passes, with the ONNX operator of the node that it names."""
    found = re.match(r"layer '([^']+)': (.*)", str(error))
    if found is None or found[1] not in kinds:
        return error
    reason = "" if "torch.operator" in found[2] else f" ({found[2]})"
    return EspalierError(f"node '{found[1]}': operator {kinds[found[1]]} is not supported as it is used "
                         f"here{reason}")


def _importer() -> Any:
    """torch-mlir's importer with our constants and our locations; it needs the package onnx."""
    optional("onnx", "importing ONNX files")
    onnx_importer = bindings("extras.onnx_importer")
    func = bindings("dialects.func")

    class Importer(onnx_importer.NodeImporter):  # type: ignore[name-defined]
        """Nodes of the graph inside one function."""

        @staticmethod
        def module_of(graph: Graph, context: ir.Context) -> ir.Module:
            """A module in torch-mlir's dialect with the function ``main``."""
            info = onnx_importer.ModelInfo(graph.model)
            cache = onnx_importer.ContextCache(context)
            with context, ir.Location.unknown():
                module = ir.Module.create()
                values = info.main_graph.input_map
                types = [cache.type_proto_to_type(value.type) for value in values.values()]
                results = [cache.type_proto_to_type(value.type) for value in graph.model.graph.output]
                with ir.InsertionPoint(module.body):
                    function = func.FuncOp("main", ir.FunctionType.get(types, results))
                block = function.add_entry_block()
                modules = onnx_importer.ModuleCache(module.operation, cache)
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
            onnx = optional("onnx")
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

    return Importer


__all__ = ["import_onnx", "module_of", "prepared"]
