"""Bytes, signed or not (images, mostly), computed as 32-bit ones, as in PyTorch's programs
(``torch/narrow.py``): torch-mlir's lowerings take unsigned bytes for signed ones.

    Cast(x: uint8, to=FLOAT)  ->  Cast(x: int8, to=INT32) -> v; Cast(Where(v < 0, v + 256, v), to=FLOAT)
    Add(x: uint8, y: uint8)   ->  Add(v, w) -> s; Cast(Cast(s, to=INT8), to=INT32), negative ones + 256

Inputs and outputs keep their bits; the graph says which of them are unsigned.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import optional
from .graph import Graph, attributes_of, changed, node_error

BYTE, WIDE = np.dtype(np.int8), np.dtype(np.int32)
NARROW = (np.dtype(np.uint8), BYTE)
# Results that are among the arguments' elements need not be brought into their range.
CLOSED = ("Compress", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND",
          "Identity", "Max", "MaxPool", "Min", "Pad", "ReduceMax", "ReduceMin", "Reshape", "Resize",
          "ScatterElements", "ScatterND", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "TopK",
          "Transpose", "Unsqueeze", "Where")
BY_FLOATS = ("MaxPool", "Resize")  # which ONNX or torch-mlir has of no 32-bit integers


def widen_integers(graph: Graph) -> bool:
    """Rewrites ``graph``, in place; whether there was something to widen, and shapes are to be inferred.
    Raises ``EspalierError`` for bytes that are interpolated."""
    return _Widening(graph).run()


class _Widening:
    """One graph; ``_wide`` is what stands for each narrow value."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._wide: dict[str, str] = {}
        self._nodes: list[Any] = []

    def run(self) -> bool:
        """See ``widen_integers``."""
        graph = self._graph
        inputs, outputs = list(graph.model.graph.input), list(graph.model.graph.output)
        kinds = [[self._narrow(value.name) for value in values] for values in (inputs, outputs)]
        constants = [name for name, array in graph.arrays.items() if array.dtype in NARROW]
        if not constants and not any(self._narrow(name) for name in graph.shapes):
            return False
        unsigned = [[at for at, dtype in enumerate(found) if dtype and dtype.kind == "u"] for found in kinds]
        graph.unsigned = unsigned[0], unsigned[1]
        for name in constants:
            self._wide[name] = f"{name}.wide"
            graph.arrays[self._wide[name]] = graph.arrays.pop(name).astype(np.int32)
        for value, dtype in zip(inputs, kinds[0], strict=True):
            if dtype:
                self._input(value, dtype)
        for node in graph.nodes:
            self._node(node)
        for value, dtype in zip(outputs, kinds[1], strict=True):
            if dtype:
                value.type.tensor_type.elem_type = _number(BYTE)
                self._nodes.append(_cast(self._wide[value.name], BYTE, value.name))
        graph.set_nodes(self._nodes)
        return True

    def _narrow(self, name: str) -> np.dtype | None:
        """The dtype of a value where it is a narrow one."""
        found = self._graph.shapes.get(name)
        return found[0] if found is not None and found[0] in NARROW else None

    def _input(self, value: Any, dtype: np.dtype) -> None:
        """Bytes come as signed ones; what reads them reads 0 .. 255 instead."""
        value.type.tensor_type.elem_type = _number(BYTE)
        self._wide[value.name] = self._ranged(value.name, value.name, dtype)

    def _node(self, node: Any) -> None:
        """Computes ``node`` on wide arguments; its results are brought into their ranges."""
        copy = changed(node)
        for attribute in copy.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and self._narrow(node.output[0]):
                attribute.i = _number(WIDE)
        floats = node.op_type in BY_FLOATS and self._narrow(node.output[0]) is not None
        if floats and attributes_of(node).get("mode", "nearest") != "nearest":
            raise node_error(node, "interpolates between bytes, which runtimes round in different ways; "
                                   "expected floats: resize behind the cast")
        for at, name in enumerate(node.input):
            copy.input[at] = self._wide.get(name, name)
            if floats and not at:
                copy.input[0] = f"{node.output[0]}.floats"
                self._nodes.append(_cast(self._wide.get(name, name), np.dtype(np.float32), copy.input[0]))
        self._nodes.append(copy)
        for at, name in enumerate(node.output):
            dtype = self._narrow(name)
            if dtype is None:
                continue
            copy.output[at] = self._wide[name] = f"{name}.wide"
            if floats:
                copy.output[at] = f"{name}.float"
                self._nodes.append(_cast(copy.output[at], WIDE, self._wide[name]))
            elif node.op_type not in CLOSED:
                self._nodes.append(_cast(copy.output[at], BYTE, f"{name}.cut"))
                self._wide[name] = self._ranged(f"{name}.cut", name, dtype)

    def _ranged(self, cut: str, name: str, dtype: np.dtype) -> str:
        """``cut``, a signed byte, as the wide integer that its bits are as ``dtype``."""
        wide = f"{name}.signed"
        self._nodes.append(_cast(cut, WIDE, wide))
        if dtype.kind != "u":
            return wide
        zero, turn = (self._constant(name, value) for value in (0, 256))
        names = [f"{name}.{part}" for part in ("negative", "turned", "unsigned")]
        make = optional("onnx").helper.make_node
        self._nodes += [make("Less", [wide, zero], names[:1]), make("Add", [wide, turn], names[1:2]),
                        make("Where", [*names[:2], wide], names[2:])]
        return names[2]

    def _constant(self, name: str, value: int) -> str:
        self._graph.arrays[f"{name}.{value}"] = np.array(value, np.int32)
        return f"{name}.{value}"


def _cast(value: str, dtype: np.dtype, output: str) -> Any:
    return optional("onnx").helper.make_node("Cast", [value], [output], to=_number(dtype))


def _number(dtype: np.dtype) -> int:
    return int(optional("onnx").helper.np_dtype_to_tensor_dtype(dtype))


__all__ = ["widen_integers"]
