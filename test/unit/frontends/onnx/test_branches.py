"""``If`` nodes of ONNX files: known conditions choose their branch, others are computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import espalier
import numpy as np
import pytest
from espalier.errors import EspalierError
from espalier.frontends.onnx.branches import inline_branches
from espalier.frontends.onnx.graph import Graph
from espalier.frontends.onnx.run_onnx import outputs_of

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper, F32 = onnx.helper, onnx.TensorProto.FLOAT


def branch(*nodes: Any, initializer: Any = None) -> Any:
    """A graph without inputs; its last node's output is its own."""
    outputs = [helper.make_tensor_value_info(nodes[-1].output[0], F32, [2, "width"])]
    return helper.make_graph(list(nodes), "branch", [], outputs, [initializer] if initializer else [])


def save(path: Path, condition: str) -> Path:
    """``condition`` computes ``c`` of the input or its shape; inside, each branch doubles or shifts, and one
    holds another condition whose branches use the outer one's names."""
    two = onnx.numpy_helper.from_array(np.array(2.0, np.float32), "k")
    inner = helper.make_node("If", ["c"], ["h"], then_branch=branch(helper.make_node("Abs", ["x"], ["q"])),
                             else_branch=branch(helper.make_node("Neg", ["x"], ["q"])))
    then = branch(helper.make_node("Mul", ["x", "k"], ["d"]), inner,
                  helper.make_node("Add", ["d", "h"], ["e"]), initializer=two)
    other = branch(helper.make_node("Identity", ["x"], ["e"]))
    made = {"shape": [helper.make_node("Shape", ["x"], ["s"]),
                      helper.make_node("Gather", ["s", "one"], ["n"]),
                      helper.make_node("Equal", ["n", "four"], ["c"])],
            "data": [helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
                     helper.make_node("Greater", ["m", "zero"], ["c"])]}
    nodes = [*made[condition], helper.make_node("If", ["c"], ["r"], then_branch=then, else_branch=other),
             helper.make_node("Relu", ["r"], ["y"], name="end")]
    arrays = {"one": np.array(1), "four": np.array(4), "zero": np.array(0.0, np.float32)}
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", F32, [2, "width"])],
        [helper.make_tensor_value_info("y", F32, [2, "width"])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("width", [4, 5])
def test_a_condition_on_shapes_is_known(width: int, tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", "shape")
    x = np.random.default_rng(0).standard_normal((2, width)).astype(np.float32)
    expected, = outputs_of(path, [x])
    np.testing.assert_allclose(espalier.compile(path, [x])(x), expected, rtol=1e-6)


def test_a_condition_on_data_is_computed(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", "data")
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    compiled = espalier.compile(path, [x])
    for values in (x, -np.abs(x)):
        np.testing.assert_allclose(compiled(values), outputs_of(path, [values])[0], rtol=1e-6)


def test_a_branch_that_is_missing_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", "shape")
    model = onnx.load(str(path))
    choice = next(node for node in model.graph.node if node.op_type == "If")
    graph = Graph(model, {"c": np.array(True)})
    choice.attribute.remove(next(each for each in choice.attribute if each.name == "then_branch"))
    with pytest.raises(EspalierError, match=r"\(If\): expected a then_branch with 1 outputs"):
        inline_branches(graph)
