"""Constant folding of ONNX graphs, by ONNX's own reference evaluator.

    Shape(x) -> s; Gather(s, 0) -> n; Concat(n, -1) -> t; Reshape(x, t)   ->   Reshape(x, [1, -1])
    Transpose(w) -> u; MatMul(x, u)                                       ->   MatMul(x, w transposed)

So weights that a model computes, masks and factors included, reach the search for schemes as constants.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import EspalierError, optional
from ..mlir_file import first_line
from .graph import Graph, where

SMALL = 1 << 22  # elements; larger results must not hold more elements than the constants that they read
RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli",
          "Multinomial")


def fold_constants(graph: Graph) -> None:
    """Evaluates the nodes of ``graph`` that read constants alone, in place; what nobody reads goes.

    Memory is bounded as in the import of PyTorch programs: no result that is larger than ``SMALL`` and than
    all that it was made from. Raises ``EspalierError`` for a node that cannot be evaluated.
    """
    kept = []
    for node in graph.nodes:
        if not _fold(graph, node):
            kept.append(node)
    graph.set_nodes(_read(graph, kept))
    wanted = {name for node in graph.nodes for name in _inputs(node)} | graph.outputs()
    graph.arrays = {name: array for name, array in graph.arrays.items() if name in wanted}


def _fold(graph: Graph, node: Any) -> bool:
    if node.op_type in RANDOM or any(attribute.HasField("g") for attribute in node.attribute):
        return False
    if node.op_type == "Shape" and (shape := graph.shape(node.input[0])) is not None:
        graph.arrays[node.output[0]] = _shape(node, shape)
        return True
    if node.op_type == "Identity" and node.input[0] in graph.arrays:
        graph.arrays[node.output[0]] = graph.arrays[node.input[0]]
        return True
    inputs = [name for name in node.input if name]
    if any(name not in graph.arrays for name in inputs):
        return False
    size = sum(graph.arrays[name].size for name in inputs)
    for name in node.output:
        shape = graph.shape(name)
        if name and (shape is None or int(np.prod(shape)) > max(SMALL, size)):
            return False
    results = _evaluated(graph, node, inputs)
    graph.arrays.update((name, value) for name, value in zip(node.output, results, strict=False) if name)
    return True


def _shape(node: Any, shape: tuple[int, ...]) -> np.ndarray:
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    return np.array(shape[bounds.get("start", 0) : bounds.get("end", len(shape))], np.int64)


def _evaluated(graph: Graph, node: Any, inputs: list[str]) -> list[np.ndarray]:
    onnx = optional("onnx")
    from onnx.reference import ReferenceEvaluator

    make = onnx.helper
    values = [make.make_tensor_value_info(name, make.np_dtype_to_tensor_dtype(graph.arrays[name].dtype),
                                          graph.arrays[name].shape) for name in dict.fromkeys(inputs)]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    model = make.make_model(make.make_graph([node], "constant", values, outputs),
                            opset_imports=graph.model.opset_import)
    try:
        results = ReferenceEvaluator(model).run(None, {name: graph.arrays[name] for name in inputs})
    except Exception as error:  # the evaluator raises whatever numpy does
        raise EspalierError(f"{where(node)}: cannot be evaluated on its constants "
                            f"({first_line(error)})") from error
    found = iter(results)
    return [np.asarray(next(found)) if name else np.zeros(0) for name in node.output]


def _inputs(node: Any) -> list[str]:
    """The values that ``node`` reads, those of its inner graphs included."""
    inner = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    names = [name for graph in inner for child in graph.node for name in _inputs(child)]
    return [*node.input, *names, *(value.name for graph in inner for value in graph.output)]


def _read(graph: Graph, nodes: list[Any]) -> list[Any]:
    """The nodes whose outputs somebody reads."""
    wanted, kept = graph.outputs(), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(_inputs(node))
    return kept[::-1]


__all__ = ["fold_constants"]
