"""GRU and LSTM nodes stay whole on their way to linalg: torch-mlir alone would loop over time steps.

    GRU(x [T, N, I], W, R, B)   ->   Gemm(Reshape(x), W, bias) for all steps at once, Reshape [T, N, 3H]
                                     EspalierGru(gates, initial, R, bias), once for each direction

``../lowering/recurrent_calls.py`` takes them on. Gates change to PyTorch's order, so that a pruned matrix is
the one that was pruned. Layers are called as the node, ``.W`` and ``.R`` behind it for its two matrices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .graph import Builder, Graph, attributes_of

DOMAIN = "espalier"
DIRECTIONS = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}
ORDERS = {"GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}  # PyTorch's gates among ONNX's
ACTIVATIONS = {"GRU": ["sigmoid", "tanh"], "LSTM": ["sigmoid", "tanh", "tanh"]}


def rewrite_recurrent(graph: Graph) -> None:
    """Rewrites the GRU and LSTM nodes of ``graph`` that the ops cover, in place; others stay."""
    nodes: list[Any] = []
    for node in graph.nodes:
        nodes += _Layer(graph, node).nodes() if _covered(graph, node) else [node]
    graph.set_nodes(nodes)
    if all(entry.domain != DOMAIN for entry in graph.model.opset_import):
        entry = graph.model.opset_import.add()
        entry.domain, entry.version = DOMAIN, 1


def _input(node: Any, at: int) -> str:
    """The name of an input; empty where it is left out."""
    return node.input[at] if len(node.input) > at else ""


def _covered(graph: Graph, node: Any) -> bool:
    """Whether our ops compute ``node``: PyTorch's formulas, f32, no lengths of sequences, no peepholes."""
    if node.op_type not in ORDERS or graph.shape(node.input[0]) is None:
        return False
    known = attributes_of(node)
    direction = known.get("direction", "forward")
    usual = ACTIVATIONS[node.op_type] * len(DIRECTIONS[direction])
    activations = [name.decode().lower() for name in known.get("activations", [])] or usual
    given = [_input(node, at) for at in (1, 2, 3)]
    plain = not known.get("layout", 0) and "clip" not in known and not known.get("input_forget", 0)
    return (plain and activations == usual and not _input(node, 4) and not _input(node, 7)
            and (node.op_type == "LSTM" or known.get("linear_before_reset", 0) == 1)
            and all(not name or name in graph.arrays for name in given)
            and graph.arrays[given[0]].dtype == np.float32)


class _Layer:
    """One node, taken apart."""

    def __init__(self, graph: Graph, node: Any) -> None:
        self._graph, self._node, self._build = graph, node, Builder(graph, node)
        known = attributes_of(node)
        self._reverse = DIRECTIONS[known.get("direction", "forward")]
        self._order = ORDERS[node.op_type]
        self._weights, self._recurrent = (graph.arrays[_input(node, at)] for at in (1, 2))
        self._hidden = self._recurrent.shape[2]
        shape = graph.shape(node.input[0]) or ()
        self._steps, self._batch, self._width = shape
        rows = 2 * len(self._order) * self._hidden
        self._bias = graph.arrays[node.input[3]] if _input(node, 3) else np.zeros(
            (len(self._reverse), rows), np.float32)

    def nodes(self) -> Iterable[Any]:
        """What takes the node's place."""
        build, state = self._build, [self._batch, self._hidden]
        rows = build.reshape(self._node.input[0], [self._steps * self._batch, self._width])
        every: list[str] = []
        last: list[str] = []
        cells: list[str] = []
        for number, reverse in enumerate(self._reverse):
            output, cell = self._direction(rows, number, reverse)
            every.append(build.reshape(output, [self._steps, 1, *state]))
            cells.append(cell and build.reshape(cell, [1, *state]))
            if len(self._node.output) > 1 and self._node.output[1]:
                last.append(self._step(output, 0 if reverse else self._steps - 1))
        self._joined(0, every, [self._steps, len(every), *state], 1)
        self._joined(1, last, [len(every), *state], 0)
        self._joined(2, cells, [len(every), *state], 0)
        return build.nodes

    def _joined(self, number: int, parts: Sequence[str], shape: Sequence[int], axis: int) -> None:
        """Output ``number`` of the node, if anybody asks for it."""
        if len(self._node.output) > number and self._node.output[number]:
            self._build.add("Concat", parts, shape, self._node.output[number], axis=axis)

    def _direction(self, rows: str, number: int, reverse: int) -> tuple[str, str]:
        """The output of all steps, [T, N, H], and an LSTM's last cell, [N, H]."""
        build, node, hidden = self._build, self._node, self._hidden
        gates = len(self._order) * hidden
        way = ".reverse" if reverse and len(self._reverse) > 1 else ""
        biases = self._bias[number].reshape(2, gates)
        weight = build.array(self._ordered(self._weights[number]), node.input[1])
        bias = build.array(self._ordered(biases[0]))
        product = build.add("Gemm", [rows, weight, bias], [self._steps * self._batch, gates],
                            suffix=f".W{way}", transB=1)
        inputs = [build.reshape(product, [self._steps, self._batch, gates])]
        states = (5,) if node.op_type == "GRU" else (5, 6)
        inputs += [self._initial(_input(node, at), number) for at in states]
        inputs += [build.array(self._ordered(self._recurrent[number]), node.input[2]),
                   build.array(self._ordered(biases[1]))]
        state = (self._batch, hidden)
        outputs = [("", (self._steps, *state)), ("", state)][: 1 if node.op_type == "GRU" else 2]
        kind = "EspalierGru" if node.op_type == "GRU" else "EspalierLstm"
        made = build.add_many(kind, inputs, outputs, DOMAIN, suffix=f".R{way}", reverse=reverse)
        return made[0], made[1] if len(made) > 1 else ""

    def _ordered(self, array: np.ndarray) -> np.ndarray:
        """The rows of the gates in PyTorch's order."""
        split = array.reshape(len(self._order), self._hidden, *array.shape[1:])
        return split[list(self._order)].reshape(array.shape)

    def _initial(self, name: str, number: int) -> str:
        """The state [N, H] that a direction begins with, of [D, N, H]; zeros where none is given."""
        shape = (self._batch, self._hidden)
        if not name:
            return self._build.array(np.zeros(shape, np.float32))
        if name in self._graph.arrays:
            return self._build.array(self._graph.arrays[name][number], name)
        return self._step(name, number, shape)

    def _step(self, value: str, at: int, shape: Sequence[int] | None = None) -> str:
        """Entry ``at`` of the first dimension: [1, N, H], or ``shape``."""
        bounds = [self._build.array(np.array([number], np.int64)) for number in (at, at + 1, 0)]
        part = self._build.add("Slice", [value, *bounds], [1, self._batch, self._hidden])
        return part if shape is None else self._build.reshape(part, shape)


__all__ = ["rewrite_recurrent"]
