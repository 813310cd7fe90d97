"""The shapes of an ONNX graph's values, by ONNX's own inference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...errors import EspalierError, optional
from ..mlir_file import first_line
from .explicit import check_ranges, rounds_up
from .graph import Graph, node_error
from .read import dtype_of

SMALL = 1024  # elements of the arrays that inference may look into


def infer_shapes(graph: Graph, what: str) -> None:
    """Finds the shapes of the values in ``graph``, in place; ``EspalierError`` where they do not fit."""
    onnx = optional("onnx")
    model = graph.model
    check_ranges(graph)
    strict = not any(map(rounds_up, graph.nodes))
    known = {value.name for value in model.graph.input}
    del model.graph.value_info[:]  # what stands there may be wrong, and need not
    for name, array in graph.arrays.items():  # small arrays stand in the model for that while
        if array.size <= SMALL:
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(array), name))
        elif name not in known:
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=strict, data_prop=True)
    except Exception as error:  # InferenceError, or what lies below it
        raise EspalierError(f"{what}: shapes do not fit ({first_line(error)})") from error
    kept = [value for value in inferred.graph.input if value.name not in graph.arrays]
    del inferred.graph.initializer[:]
    del inferred.graph.input[:]
    inferred.graph.input.extend(kept)
    graph.model = inferred
    graph.shapes = dict(_shapes(inferred))


def check_static(graph: Graph) -> None:
    """Raises ``EspalierError`` for a node that gives a tensor whose shape only a run would tell."""
    for node in graph.nodes:
        for name in node.output:
            if name and graph.shape(name) is None:
                raise node_error(node, f"the shape of its output '{name}' is not known before it runs; "
                                       "expected static shapes of floats, integers and booleans")


def _shapes(model: Any) -> Iterator[tuple[str, tuple[np.dtype, tuple[int, ...]]]]:
    graph = model.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        dtype = dtype_of(tensor.elem_type)
        sizes = [size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim]
        if dtype is not None and tensor.HasField("shape") and min(sizes, default=0) >= 0:
            yield value.name, (dtype, tuple(sizes))


__all__ = ["check_static", "infer_shapes"]
