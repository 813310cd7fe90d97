"""ONNX files: what is compiled computes what ONNX Runtime does, layers are found, bad files are one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import espalier
import numpy as np
import pytest
from espalier.errors import EspalierError
from espalier.frontends import load_model
from espalier.frontends.onnx.run_onnx import example_inputs, outputs_of
from espalier.sparse_dialect.schemes import Pattern
from espalier.tools.commands.common import shapes_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper, F32 = onnx.helper, onnx.TensorProto.FLOAT
random = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def save(path: Path, nodes: Sequence[Any], arrays: dict[str, np.ndarray], shape: Sequence[Any],
         outputs: Sequence[str] = ("y",), opset: int = 18, **external: Any) -> Path:
    """A model of the input ``x``, whose outputs' shapes inference finds."""
    graph = helper.make_graph(
        list(nodes), "net", [helper.make_tensor_value_info("x", F32, list(shape))],
        [helper.make_tensor_value_info(name, F32, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    onnx.save(inferred, str(path), **external)
    return path


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), name: str = "",
         **known: Any) -> Any:
    return helper.make_node(kind, list(inputs), list(outputs), name=name or f"the_{kind}", **known)


def compiled(path: Path) -> Any:
    """The compiled model, whose answers are ONNX Runtime's."""
    model = espalier.compile(path)
    again = np.random.default_rng(7)
    inputs = [again.standard_normal(x.shape).astype(x.dtype) for x in example_inputs(path)]
    for found, expected in zip(model.run(inputs), outputs_of(path, inputs), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max(initial=1e-3))
    return model


# -- what is computed ----------------------------------------------------------------------------


def test_layers_are_called_as_nodes_and_called_by_the_names_of_inputs(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", [
        node("Conv", ["x", "w", "b"], ["c"], "stem/conv", pads=[1, 1, 1, 1]), node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]), node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "m"], ["y"], "head", transB=1)],
        {"w": Pattern.project(weights(16, 8, 3, 3), entries=4, patterns=4, connectivity=2), "b": weights(16),
         "m": weights(5, 16)}, (1, 8, 10, 10))
    model = compiled(path)
    assert [(layer.name, layer.scheme) for layer in model.layers] == [("stem/conv", "pattern"),
                                                                      ("head", "dense")]
    x = np.ones((1, 8, 10, 10), np.float32)
    assert np.array_equal(model(x=x), model(x))
    assert model.check() <= 1e-5  # what was recorded is ONNX Runtime's


def test_constants_are_folded_so_that_masks_are_found(tmp_path: Path) -> None:
    weight = weights(16, 8, 3, 3)
    mask = (Pattern.project(weight, entries=4, patterns=4, connectivity=2) != 0).astype(np.float32)
    path = save(tmp_path / "net.onnx", [
        node("Mul", ["w", "mask"], ["masked"]), node("Conv", ["x", "masked"], ["c"]),
        node("Shape", ["c"], ["s"]), node("Gather", ["s", "zero"], ["n"]),
        node("Concat", ["n", "rest"], ["t"], axis=0), node("Reshape", ["c", "t"])],
        {"w": weight, "mask": mask, "zero": np.array([0]), "rest": np.array([-1])}, (2, 8, 6, 6))
    assert [layer.scheme for layer in compiled(path).layers] == ["pattern"]


def test_products_of_many_dimensions_are_one_linear_layer(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", [node("MatMul", ["x", "w"], ["m"]), node("Add", ["b", "m"], ["a"]),
                                        node("Relu", ["a"])],
                {"w": weights(8, 12), "b": weights(12)}, (2, 5, 8))
    layers = compiled(path).layers
    assert [(layer.op, layer.shape, layer.macs_dense) for layer in layers] == [("linear", "8 -> 12", 960)]


def test_a_product_that_two_read_keeps_its_own_value(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["a"]),
                                        node("Mul", ["a", "m"])],
                {"w": weights(8, 12), "b": weights(12)}, (2, 5, 8))
    compiled(path)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_transposed_convolutions(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    spatial = data.draw(st.sampled_from([1, 2]))
    each = lambda low, high: data.draw(st.lists(  # noqa: E731
        st.integers(low, high), min_size=spatial, max_size=spatial))
    kernel, strides, dilations, image = each(1, 4), each(1, 3), each(1, 2), each(2, 5)
    pads = [*each(0, 1), *each(0, 1)]
    more = [data.draw(st.integers(0, stride - 1)) for stride in strides]
    sizes = [(i - 1) * s + d * (k - 1) + 1 + m - a - b for i, s, d, k, m, a, b in
             zip(image, strides, dilations, kernel, more, pads[:spatial], pads[spatial:], strict=True)]
    assume(min(sizes) > 0)
    groups, bias = data.draw(st.sampled_from([1, 2])), data.draw(st.booleans())
    arrays = {"w": weights(4, 3, *kernel), **({"b": weights(3 * groups)} if bias else {})}
    path = save(tmp_path_factory.mktemp("net") / "net.onnx", [
        node("ConvTranspose", ["x", *arrays], strides=strides, dilations=dilations, pads=pads, group=groups,
             output_padding=more)], arrays, (2, 4, *image))
    model = compiled(path)
    assert all(layer.kernel != "reference" for layer in model.layers)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("states", [True, False])
def test_recurrent_layers_stay_whole(tmp_path: Path, kind: str, direction: str, states: bool) -> None:
    ways, gates, hidden = 2 if direction == "bidirectional" else 1, {"GRU": 3, "LSTM": 4}[kind], 6
    arrays = {"w": weights(ways, gates * hidden, 5), "r": weights(ways, gates * hidden, hidden),
              "b": weights(ways, 2 * gates * hidden)}
    inputs, outputs = ["x", "w", "r", "b"], ["y", "h", "c"][: gates - 1]
    if states:
        arrays |= {name: weights(ways, 2, hidden) for name in ["h0", "c0"][: gates - 2]}
        inputs += ["", "h0", *(["c0"] if kind == "LSTM" else [])]
    known = {"linear_before_reset": 1} if kind == "GRU" else {}
    path = save(tmp_path / "net.onnx", [node(kind, inputs, outputs, "rnn", hidden_size=hidden,
                                             direction=direction, **known)], arrays, (7, 2, 5), outputs)
    names = [layer.name for layer in compiled(path).layers]
    assert sorted(names) == sorted(["rnn.W", "rnn.R", "rnn.W.reverse", "rnn.R.reverse"][: 2 * ways]), names


def test_a_bfloat16_or_control_flow_model_is_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", [node("Cast", ["x"], ["h"], to=onnx.TensorProto.BFLOAT16),
                                        node("Cast", ["h"], to=F32)], {}, (2, 3))
    with pytest.raises(EspalierError) as caught:
        espalier.compile(path)
    assert len(str(caught.value).splitlines()) == 1


def test_opset_20_operators(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", [node("Gelu", ["x"], ["g"]), node("ReduceMax", ["g", "axes"])],
                {"axes": np.array([1])}, (2, 9), opset=20)
    compiled(path)


def test_the_recorded_run_is_the_reference_evaluators_without_onnx_runtime(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "net.onnx", [node("Gemm", ["x", "w"])], {"w": weights(8, 4)}, (2, 8))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert espalier.compile(path).check() <= 1e-5


# -- sizes, inputs, files ------------------------------------------------------------------------


def test_free_sizes_are_the_examples(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", [node("Relu", ["x"])], {}, ("batch", 3))
    model = espalier.compile(path, np.ones((4, 3), np.float32))
    assert model.inputs[0].shape == (4, 3)
    assert load_model(str(path), shapes={"x": (5, 3)})[1][0].shape == (5, 3)
    for shapes, message in (({}, r"input 'x' \[batch, 3\]: batch is free.*--shape x=1x3x224x224"),
                            ({"x": (4, 9)}, r"expected sizes \[batch, 3\], found 4x9"),
                            ({"z": (1,)}, "no input 'z'; it has x")):
        with pytest.raises(EspalierError, match=message):
            load_model(str(path), shapes=shapes)
    with pytest.raises(EspalierError, match="expected float32, found float64"):
        espalier.compile(path, np.ones((4, 3)))
    with pytest.raises(EspalierError, match=r"expected 1 inputs \(x\), found 2"):
        espalier.compile(path, (np.ones((4, 3), np.float32),) * 2)
    with pytest.raises(EspalierError, match=r"--shape works on \.onnx files and Hugging Face"):
        load_model("gru", shapes={"x": (1,)})


@pytest.mark.parametrize("text", ["1x3", "x=1x", "x=axb", "x=0x3", "x="])
def test_shapes_on_the_command_line(text: str) -> None:
    assert shapes_of(["x=1x3", "a=b=7"]) == {"x": (1, 3), "a=b": (7,)}
    with pytest.raises(EspalierError, match=f"--shape expects INPUT=1x3x224x224, found '{text}'"):
        shapes_of([text])


def external(folder: Path) -> Path:
    return save(folder / "net.onnx", [node("Gemm", ["x", "w"])], {"w": weights(64, 64)}, (2, 64),
                save_as_external_data=True, location="net.data", size_threshold=0)


def test_weights_in_another_file(tmp_path: Path) -> None:
    compiled(external(tmp_path))


def rewritten(change: Callable[[Any], None]) -> Callable[[Path], None]:
    """Changes the model's protocol buffer."""

    def apply(path: Path) -> None:
        model = onnx.load(str(path), load_external_data=False)
        change(model)
        path.write_bytes(model.SerializeToString())

    return apply


def elsewhere(model: Any) -> None:
    model.graph.initializer[0].external_data[0].value = "../net.data"


@pytest.mark.parametrize(("damage", "message"), [
    (lambda path: path.write_bytes(path.read_bytes()[:60]), "not an ONNX model"),
    (lambda path: path.write_bytes(b""), "not an ONNX model"),
    (lambda path: path.unlink(), "No such file"),
    (lambda path: path.with_name("net.data").unlink(), "weights 'w' are in 'net.data', which is missing"),
    (lambda path: path.with_name("net.data").write_bytes(b"12"), "take 16384 bytes from 0 on .* has 2"),
    (rewritten(elsewhere), "expected a file beside the model"),
    (rewritten(lambda model: model.graph.node[0].input.__setitem__(1, "v")), "not a valid ONNX model"),
    (rewritten(lambda model: setattr(model.graph.node[0], "op_type", "Gemn")), "Gemn"),
    (rewritten(lambda model: model.graph.initializer[0].dims.__setitem__(0, 32)), "take 8192 bytes"),
    (rewritten(lambda model: setattr(model.opset_import[0], "version", 5)), "expected opset 9 or newer"),
])
def test_damaged_files_are_one_line(tmp_path: Path, damage: Callable[[Path], Any], message: str) -> None:
    path = external(tmp_path)
    damage(path)
    with pytest.raises(EspalierError, match=message) as caught:
        espalier.compile(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_quantised_file_is_refused(tmp_path: Path) -> None:
    arrays = {"scale": np.array(0.1, np.float32), "zero": np.array(0, np.uint8)}
    path = save(tmp_path / "net.onnx", [node("QuantizeLinear", ["x", *arrays], ["q"], "quantise"),
                                        node("DequantizeLinear", ["q", *arrays])], arrays, (2, 3))
    with pytest.raises(EspalierError, match=r"node 'quantise' \(QuantizeLinear\): QuantizeLinear belongs to "
                                            "a quantised model, which is not supported"):
        espalier.compile(path)


def test_an_operator_that_torch_mlir_lacks_is_named_with_its_node(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", [node("DFT", ["x"], ["y"], "spectrum")], {}, (2, 3, 1))
    with pytest.raises(EspalierError, match=r"node 'spectrum': operator DFT is not supported"):
        espalier.compile(path)


@pytest.mark.parametrize("kind", ["NonZero", "Unique"])
def test_shapes_that_depend_on_data_are_refused(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "net.onnx", [node(kind, ["x"], ["n"], "found"), node("Cast", ["n"], to=F32)], {},
                (2, 3))
    with pytest.raises(EspalierError, match=rf"node 'found' \({kind}\): the shape of its output 'n' is not "):
        espalier.compile(path)


def test_the_package_onnx_is_named_where_it_is_missing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.onnx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EspalierError, match=r"pip install 'espalier-compiler\[onnx\]'"):
        espalier.compile(tmp_path / "net.onnx")


# -- what operators leave to a rule --------------------------------------------------------------


@pytest.mark.parametrize(("kind", "shape", "arrays", "known"), [
    ("Gemm", (5, 7), {"w": weights(7, 4)}, {"alpha": 0.5}),
    ("Gemm", (7, 5), {"w": weights(4, 7), "b": weights(4)},
     {"transA": 1, "transB": 1, "alpha": 2.0, "beta": -3.0}),
    ("MaxPool", (1, 3, 11), {}, {"kernel_shape": [3], "strides": [3], "pads": [1, 1], "ceil_mode": 1}),
    ("AveragePool", (1, 3, 11), {}, {"kernel_shape": [3], "strides": [3], "pads": [1, 1], "ceil_mode": 1}),
    ("AveragePool", (1, 3, 10), {}, {"kernel_shape": [3], "strides": [2], "pads": [1, 0], "ceil_mode": 1,
                                     "count_include_pad": 1}),
    ("ConvTranspose", (1, 3, 5, 6), {"w": weights(3, 4, 3, 3)},
     {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("ConvTranspose", (1, 3, 5, 6), {"w": weights(3, 4, 4, 4)},
     {"auto_pad": "SAME_LOWER", "strides": [3, 2]}),
    ("ConvTranspose", (1, 3, 5, 6), {"w": weights(3, 4, 3, 3)},
     {"output_shape": [10, 12], "strides": [2, 2]}),
    ("Conv", (1, 3, 5, 6), {"w": weights(4, 3, 3, 3), "": np.zeros(0, np.float32)}, {}),
    ("Pad", (3, 5), {"p": np.array([0, -1, 1, -1])}, {}),
    ("Pad", (3, 5), {"p": np.array([-3, 3, 4, -1])}, {}),
    ("ReduceL2", (3, 4), {"a": np.zeros(0, np.int64)}, {"noop_with_empty_axes": 1}),
    ("DepthToSpace", (2, 8, 2, 3), {}, {"blocksize": 2, "mode": "CRD"}),
    ("DepthToSpace", (2, 8, 2, 3), {}, {"blocksize": 2}),
    ("Gelu", (9,), {}, {"approximate": "tanh", "opset": 20}),
    ("SpaceToDepth", (2, 3, 4, 6), {}, {"blocksize": 2}),
    ("ReduceProd", (3, 4, 2), {"a": np.array([1])}, {"keepdims": 0}),
    ("Softsign", (3, 4), {}, {"opset": 9}), ("Softmax", (2, 3, 4), {}, {"axis": 1, "opset": 11}),
    ("BatchNormalization", (1, 3, 4),
     {"s": weights(3), "b": weights(3), "m": weights(3), "v": weights(3) ** 2}, {"opset": 9}),
    ("Upsample", (1, 3, 4, 5), {"s": np.array([1, 1, 2, 3], np.float32)}, {"mode": "linear", "opset": 9}),
])
def test_rules_are_onnx_runtimes(tmp_path: Path, kind: str, shape: tuple[int, ...],
                                 arrays: dict[str, np.ndarray], known: dict[str, Any]) -> None:
    opset = known.pop("opset", 18)
    compiled(save(tmp_path / "net.onnx", [node(kind, ["x", *arrays], **known)],
                  {name: array for name, array in arrays.items() if name}, shape, opset=opset))


@pytest.mark.parametrize("known", [
    {"mode": "linear"}, {"mode": "nearest", "padding_mode": "border", "align_corners": 1},
    {"mode": "linear", "padding_mode": "reflection"}])
def test_sampled_grids(tmp_path: Path, known: dict[str, Any]) -> None:
    """Places of the image and beyond it, which a run computes."""
    compiled(save(tmp_path / "net.onnx", [
        node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]), node("Gather", ["t", "two"], ["g"], axis=3),
        node("GridSample", ["x", "g"], **known)], {"two": np.array([1, 0])}, (2, 4, 6, 5), opset=20))


def test_padding_that_goes_round_and_powers_of_integers(tmp_path: Path) -> None:
    """Along chosen dimensions, once and more than once round; floats and integers."""
    arrays = {"pads": np.array([1, 2, 0, 5]), "axes": np.array([-1, 1]), "three": np.array(3)}
    to_integers = node("Cast", ["round"], ["whole"], to=onnx.TensorProto.INT64)
    path = save(tmp_path / "net.onnx", [
        node("Pad", ["x", "pads", "", "axes"], ["round"], mode="wrap"), to_integers,
        node("Pow", ["whole", "three"], ["cubes"]), node("Cast", ["cubes"], ["z"], "back", to=F32),
        node("Add", ["round", "z"])], arrays, [2, 3, 4], opset=21)
    compiled(path)


def test_the_places_of_a_pool_count_all_numbers(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", [node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2])], {},
                (2, 3, 4, 6), ("y", "i"))
    model = onnx.load(str(path))
    model.graph.output[1].CopyFrom(helper.make_tensor_value_info("i", onnx.TensorProto.INT64, [2, 3, 3, 5]))
    onnx.save(model, str(path))
    compiled(path)


@pytest.mark.parametrize(("made", "message"), [
    (node("Range", ["zero", "many", "one"], ["r"], "count"), r"node 'count' \(Range\): from .* at most"),
    (node("Scan", ["x", "x"], ["r"], "steps", num_scan_inputs=1, body=helper.make_graph(
        [node("Add", ["s", "e"], ["t"])], "body",
        [helper.make_tensor_value_info(name, F32, [3]) for name in "se"],
        [helper.make_tensor_value_info("t", F32, [3])])), r"node 'steps' \(Scan\): loops over"),
])
def test_what_never_ends_is_refused(tmp_path: Path, made: Any, message: str) -> None:
    path = save(tmp_path / "net.onnx", [node("Add", ["x", "x"])],
                {"zero": np.array(0.0), "many": np.array(1e12), "one": np.array(1.0)}, (3,))
    model = onnx.load(str(path))
    model.graph.node[0].input[1] = "r"
    model.graph.node.insert(0, made)
    onnx.save(model, str(path))
    with pytest.raises(EspalierError, match=message):
        espalier.compile(path)


def test_an_input_beyond_memory_is_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", [node("Relu", ["x"])], {}, (1 << 40, 1 << 22))
    with pytest.raises(EspalierError, match=r"input 'x' .* does not fit into memory"):
        espalier.compile(path)


# -- bytes ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_images_of_bytes(tmp_path: Path, dtype: type) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shape = [1, 6, 6, 3]
    graph = helper.make_graph(
        [node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), node("Cast", ["t"], ["f"], to=F32),
         node("Conv", ["f", "w"]), node("Add", ["x", "big"], ["sum"]), node("Greater", ["x", "big"], ["g"])],
        "net", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", F32, [1, 4, 4, 4]),
         helper.make_tensor_value_info("sum", kind, shape),
         helper.make_tensor_value_info("g", onnx.TensorProto.BOOL, shape)],
        [onnx.numpy_helper.from_array(weights(4, 3, 3, 3), "w"),
         onnx.numpy_helper.from_array(np.array(np.iinfo(dtype).max - 9, dtype), "big")])
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    limits = np.iinfo(dtype)
    x = np.linspace(limits.min, limits.max, 108).astype(dtype).reshape(shape)
    y, total, greater = espalier.compile(path).run([x])
    with np.errstate(over="ignore"):
        big = np.array(limits.max - 9, dtype)
        assert np.array_equal(total, x + big)
    assert (total.dtype, greater.dtype) == (dtype, np.bool_)
    assert np.array_equal(greater, x > big)
    np.testing.assert_allclose(y, outputs_of(path, [x])[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("dtype", "made", "message"), [
    (np.uint32, node("Identity", ["x"]), "input 'x' has dtype uint32; expected one of"),
    (np.uint8, node("Resize", ["x", "", "scales"], mode="linear"), "'the_Resize' .* expected floats")])
def test_refused_integers(tmp_path: Path, dtype: type, made: Any, message: str) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    x, y = (helper.make_tensor_value_info(name, kind, [1, 1, 2, 2]) for name in "xy")
    scales = onnx.numpy_helper.from_array(np.ones(4, np.float32), "scales")
    graph = helper.make_graph([made], "net", [x], [y], [scales])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "net.onnx")
    with pytest.raises(EspalierError, match=message):
        espalier.compile(tmp_path / "net.onnx")
