"""ONNX graphs to linalg on tensors, function ``main``, by torch-mlir's importer and passes.

Ours are the constants, which borrow memory instead of being copied twice, the locations, which carry the
nodes' names, what is done before (``fold``, ``branches``, ``explicit``, ``narrow``, ``transposed``,
``matrices``, ``recurrent``), and the errors.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import EspalierError, optional
from ...pipelines.extremes import check_extremes
from ...sparse_dialect.ir.mlir import ir
from ..lowering.torch_dialect import TO_BACKEND, mark_unsigned, new_context, run, to_linalg
from ..mlir_file import check_static, first_line
from ..quiet import quiet
from .branches import inline_branches
from .explicit import pad_explicitly, write_out
from .fold import fold_constants
from .graph import Graph, name_of
from .matrices import rewrite_matrices
from .narrow import widen_integers
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
        if inline_branches(graph) or pad_explicitly(graph):
            continue
        before, unknown = unknown, sum(graph.shape(name) is None for node in graph.nodes
                                       for name in node.output if name)
        if unknown == before:
            break
    write_out(graph)
    infer_shapes(graph, str(path))
    known_shapes(graph)
    if widen_integers(graph):
        infer_shapes(graph, str(path))
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
        mark_unsigned(module, graph.unsigned)
    except EspalierError as error:
        raise _with_operator(error, kinds) from error
    check_static(module, what)
    check_extremes(module.operation)
    return module


def _imported(graph: Graph, what: str) -> ir.Module:
    context = new_context("importing ONNX files")
    optional("onnx", "importing ONNX files")
    from .importer import Importer

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Importer.module_of(graph, context)
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


__all__ = ["import_onnx", "module_of", "prepared"]
