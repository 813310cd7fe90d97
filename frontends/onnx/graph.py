"""An ONNX graph with its constants as numpy arrays apart, which is what every step of the import works on.

    graph { initializer w, node Conv(x, w) -> y }   ->   nodes [Conv(x, w) -> y], arrays {w: ndarray}

Arrays stay out of the protocol buffers: those hold 2 GiB at most, and every access copies.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import EspalierError, optional


@dataclass
class Graph:
    """
    ``model``: without initializers, its nodes in an order in which they can run. ``arrays``: the values that
    are known, by name. ``shapes``: (dtype, shape) of the values that shape inference knows. ``unsigned``: the
    positions of the inputs and outputs that hold the bits of unsigned integers.
    """

    model: Any
    arrays: dict[str, np.ndarray]
    shapes: dict[str, tuple[np.dtype, tuple[int, ...]]] = field(default_factory=dict)
    unsigned: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))

    @property
    def nodes(self) -> list[Any]:
        """The nodes, as protocol buffers; replace all of them by ``set_nodes``."""
        return list(self.model.graph.node)

    def set_nodes(self, nodes: Iterable[Any]) -> None:
        """Makes ``nodes`` the graph's."""
        kept = list(nodes)
        del self.model.graph.node[:]
        self.model.graph.node.extend(kept)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The static shape of a value; None where it is not known."""
        if name in self.arrays:
            return self.arrays[name].shape
        return self.shapes[name][1] if name in self.shapes else None

    def declare(self, name: str, shape: tuple[int, ...]) -> None:
        """Says that ``name`` is a value of f32 in ``shape``; those that inference knows stay as they are."""
        if name in self.shapes:
            return
        self.shapes[name] = (np.dtype(np.float32), shape)
        helper = optional("onnx").helper
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(np.float32))
        self.model.graph.value_info.append(helper.make_tensor_value_info(name, kind, shape))

    def outputs(self) -> set[str]:
        """The names of the graph's outputs."""
        return {value.name for value in self.model.graph.output}


class Builder:
    """Makes the nodes that take the place of ``node``: all carry its name, their values' names begin with
    its output's, and their shapes go into ``graph``."""

    def __init__(self, graph: Graph, node: Any) -> None:
        self._graph, self._node = graph, node
        self._count = 0
        self.nodes: list[Any] = []

    def array(self, value: np.ndarray, name: str = "") -> str:
        """A constant; ``name``: of the one that it was made from, which reports show."""
        fresh = self._fresh(name or "constant")
        self._graph.arrays[fresh] = np.asarray(value, order="C")
        return fresh

    def add(self, kind: str, inputs: Sequence[str], shape: Sequence[int], output: str = "", domain: str = "",
            suffix: str = "", **attributes: Any) -> str:
        """A node of one output, which is called ``output`` or as it comes."""
        return self.add_many(kind, inputs, [(output, tuple(shape))], domain, suffix, **attributes)[0]

    def add_many(self, kind: str, inputs: Sequence[str], outputs: Sequence[tuple[str, tuple[int, ...]]],
                 domain: str = "", suffix: str = "", **attributes: Any) -> list[str]:
        """A node of several outputs, (name, shape) each; ``suffix``: what follows the name."""
        names = [name or self._fresh(kind) for name, _ in outputs]
        for name, (_, shape) in zip(names, outputs, strict=True):
            self._graph.declare(name, shape)
        helper = optional("onnx").helper
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name_of(self._node) + suffix,
                                           domain=domain, **attributes))
        return names

    def reshape(self, value: str, shape: Sequence[int], output: str = "") -> str:
        """``value`` in another shape."""
        return self.add("Reshape", [value, self.array(np.array(shape, np.int64))], shape, output)

    def _fresh(self, kind: str) -> str:
        self._count += 1
        return f"{self._node.output[0]}.{kind}.{self._count}"


def attributes_of(node: Any) -> dict[str, Any]:
    """The attributes of a node as Python values; strings as ``str``."""
    helper = optional("onnx").helper
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode(errors="replace") if isinstance(value, bytes) else value
            for name, value in found.items()}


def changed(node: Any, names: Iterable[str] = (), **attributes: Any) -> Any:
    """A copy of ``node`` without the attributes ``names``, with those given in place of its own."""
    copy = type(node)()
    copy.CopyFrom(node)
    kept = [a for a in node.attribute if a.name not in {*names, *attributes}]
    del copy.attribute[:]
    copy.attribute.extend([*kept, *itertools.starmap(optional("onnx").helper.make_attribute,
                                                     attributes.items())])
    return copy


def name_of(node: Any) -> str:
    """What the layer of a node is called: as the node, or its output where it has no name."""
    return str(node.name or next(filter(None, node.output), node.op_type))


def where(node: Any) -> str:
    """A node, for a message."""
    return f"node '{name_of(node)}' ({node.op_type})"


def node_error(node: Any, message: str) -> EspalierError:
    """An error of one node."""
    return EspalierError(f"{where(node)}: {message}")


__all__ = ["Builder", "Graph", "attributes_of", "changed", "name_of", "node_error", "where"]
