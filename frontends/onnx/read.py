"""An ONNX file, checked: one line for whatever is wrong with it, before any of it is compiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import EspalierError, optional
from ..mlir_file import first_line
from .graph import Graph, node_error

QUANTISED = ("QLinear", "Quantize", "Dequantize", "DynamicQuantize", "QGemm", "QAttention", "QEmbed",
             "ConvInteger", "MatMulInteger", "MatMulNBits", "DynamicQuantizeMatMul")
DTYPES = ("float16", "float32", "float64", "bool", "int8", "int32", "int64", "uint8")
INT4 = 21  # the first of ONNX's element types that numpy lacks, bfloat16 and 8-bit floats apart
COMPOSED = ("AffineGrid", "Attention", "CenterCropPad", "GroupNormalization",
            "MeanVarianceNormalization", "NegativeLogLikelihoodLoss", "RMSNormalization", "RotaryEmbedding",
            "SoftmaxCrossEntropyLoss", "Softsign", "SwiGLU", "Swish")
LOOPS = ("Loop", "Scan", "SequenceMap")
OLDEST_OPSET = 9
WITH_BODIES = 18  # the opset from which on ONNX says what those are
MODERN = 15  # torch-mlir reads no BatchNormalization that is older


def read_onnx(path: str | Path, shapes: Sequence[tuple[int, ...]] = ()) -> Graph:
    """
    The graph of an ONNX file; weights in other files are mapped, not read.

    ``shapes``: those of its inputs, which may be free in the file. Raises ``EspalierError`` in one line for
    a file that is damaged, weights that are missing, and for quantised and unknown operators.
    """
    model = load_graph(path)
    onnx = optional("onnx")
    _check_float(model)
    _check_model(onnx, model, Path(path))
    model = _inlined(onnx, model, Path(path))
    _check_operators(model)
    _set_shapes(model, shapes)
    arrays = dict(_arrays(onnx, model, Path(path)))
    model = _modern(onnx, model, arrays, Path(path))
    arrays |= dict(_arrays(onnx, model, Path(path)))
    _constants(onnx, model, arrays)
    for node in model.graph.node:
        while node.input and not node.input[-1]:  # operands that are left out, which need not be mentioned
            del node.input[-1]
    return Graph(model, arrays)


def load_graph(path: str | Path) -> Any:
    """The protocol buffer in an ONNX file, without weights from other files; else an ``EspalierError``."""
    path = Path(path)
    onnx = optional("onnx", f"the model {path.name}")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise EspalierError(f"{path}: cannot read: {error.strerror or error}") from error
    except Exception as error:  # the parser of protocol buffers has its own exceptions
        raise EspalierError(f"{path}: not an ONNX model ({first_line(error)})") from error
    if not model.HasField("graph") or not model.graph.output:
        raise EspalierError(f"{path}: not an ONNX model (it holds no graph with outputs)")
    return model


def _check_model(onnx: Any, model: Any, path: Path) -> None:
    """What ONNX's own checker says, but for weights: those we look at ourselves."""
    empty = onnx.ModelProto()
    empty.CopyFrom(model)
    for tensor in empty.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.raw_data) > 1024:
            _empty(tensor)
    names = {tensor.name for tensor in empty.graph.initializer if _is_empty(tensor)}
    kept = [tensor for tensor in empty.graph.initializer if tensor.name not in names]
    inputs = {value.name for value in empty.graph.input}
    stand_ins = [onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims))
                 for t in empty.graph.initializer if t.name in names and t.name not in inputs]
    del empty.graph.initializer[:]
    empty.graph.initializer.extend(kept)
    empty.graph.input.extend(stand_ins)
    try:
        onnx.checker.check_model(empty)
    except Exception as error:  # ValidationError, or whatever the checker's own code raises
        raise EspalierError(f"{path}: not a valid ONNX model ({first_line(error)})") from error


def _empty(tensor: Any) -> None:
    for name in ("raw_data", "external_data", "data_location"):
        tensor.ClearField(name)


def _is_empty(tensor: Any) -> bool:
    fields = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data",
              "string_data")
    return bool(np.prod(tensor.dims)) and not any(getattr(tensor, name) for name in fields)


def _inlined(onnx: Any, model: Any, path: Path) -> Any:
    if not model.functions:
        return model
    from onnx.inliner import inline_local_functions

    try:
        return inline_local_functions(model)
    except Exception as error:  # C++ exceptions of every kind
        raise EspalierError(f"{path}: cannot inline the model's functions ({first_line(error)})") from error


def _check_float(model: Any) -> None:
    """No quantised operators, no old opset."""
    opset = _opset(model)
    if opset < OLDEST_OPSET:
        raise EspalierError(f"expected opset {OLDEST_OPSET} or newer, found {opset}; convert the model with "
                            "onnx.version_converter")
    for node in model.graph.node:
        if node.op_type.startswith(QUANTISED):
            raise node_error(node, f"{node.op_type} belongs to a quantised model, which is not supported; "
                                   "give the float model that it was made from")


def _modern(onnx: Any, model: Any, arrays: Mapping[str, np.ndarray], path: Path) -> Any:
    """``model`` in opset ``MODERN`` where it is older, by ONNX's converter, and with ``COMPOSED`` operators
    taken apart, by ONNX's inliner."""
    opset = _opset(model)
    composed = [node for node in model.graph.node if node.op_type in COMPOSED]
    wanted = WITH_BODIES if composed else MODERN
    if opset >= wanted and not composed:
        return model
    for node in composed:  # the inliner does not know what is left out
        given = {attribute.name for attribute in node.attribute}
        for name, attribute in onnx.defs.get_schema(node.op_type, max(opset, wanted)).attributes.items():
            if name not in given and attribute.default_value.name:
                node.attribute.append(attribute.default_value)
    known = {value.name for value in model.graph.input}
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items() if name not in known)
    try:
        made = _remade(onnx, model, wanted, sorted({node.op_type for node in composed}))
    except Exception as error:  # RuntimeError, or whatever lies below it
        raise EspalierError(f"{path}: cannot convert the model from opset {opset} to {max(opset, wanted)} "
                            f"and simple operators ({first_line(error)})") from error
    kept = [value for value in made.graph.input if value.name not in arrays]
    del made.graph.input[:]
    made.graph.input.extend(kept)
    return made


def _remade(onnx: Any, model: Any, wanted: int, composed: list[str]) -> Any:
    from onnx.inliner import inline_selected_functions
    from onnx.version_converter import convert_version

    opset = _opset(model)
    if opset < wanted:
        model = convert_version(model, wanted)
    for node in model.graph.node:
        if node.op_type == "Resize" and opset < 11:  # what these opsets mean, which the converter leaves out
            node.attribute.extend([
                onnx.helper.make_attribute("coordinate_transformation_mode", "asymmetric"),
                onnx.helper.make_attribute("nearest_mode", "floor")])
    return inline_selected_functions(model, [("", name) for name in composed], False, True)


def _opset(model: Any) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _check_operators(model: Any) -> None:
    """ONNX's own operators alone, without loops."""
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise node_error(node, f"operator {node.domain}.{node.op_type} is not one of ONNX's own; export "
                                   "the model without fused or custom operators")
        if node.op_type in LOOPS:
            raise node_error(node, "loops over graphs are not supported; export the model so that each step "
                                   "is written out, which torch.onnx.export(dynamo=True) does")


def _set_shapes(model: Any, shapes: Sequence[tuple[int, ...]]) -> None:
    """Fixes the sizes of inputs, in place; ``run_onnx.example_inputs`` has checked them."""
    known = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in known]
    for value, shape in zip(inputs, shapes, strict=True):
        for size, number in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            size.dim_value = number


def dtype_of(number: int) -> np.dtype | None:
    """The numpy dtype of an element type; None where numpy has none of its own."""
    if number in (16, 17, 18, 19, 20) or number >= INT4 or not number:
        return None
    return np.dtype(optional("onnx").helper.tensor_dtype_to_np_dtype(number))


def _arrays(onnx: Any, model: Any, path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The initializers' values; the initializers go."""
    for tensor in model.graph.sparse_initializer:
        yield _dense(onnx, tensor)
    for tensor in model.graph.initializer:
        yield tensor.name, _array(onnx, tensor, path)
    del model.graph.initializer[:]
    del model.graph.sparse_initializer[:]


def _array(onnx: Any, tensor: Any, path: Path) -> np.ndarray:
    shape = tuple(tensor.dims)
    dtype = dtype_of(tensor.data_type)
    if dtype is None:
        raise EspalierError(f"initializer '{tensor.name}': element type "
                            f"{onnx.TensorProto.DataType.Name(tensor.data_type)} is not supported")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return _mapped(tensor, shape, dtype, path)
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except Exception as error:  # ValueError of numpy, or protobuf's own
        raise EspalierError(f"{path}: initializer '{tensor.name}' is damaged "
                            f"({first_line(error)})") from error
    if array.dtype.kind == "f" and not np.isfinite(array).all() and np.isnan(array).any():
        raise EspalierError(f"initializer '{tensor.name}' holds NaN; expected finite weights, check the "
                            "trained model")
    return array


def _mapped(tensor: Any, shape: tuple[int, ...], dtype: np.dtype, path: Path) -> np.ndarray:
    """The part of a file beside ``path`` that holds ``tensor``."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    name = entries.get("location", "")
    file = (path.parent / name).resolve()
    what = f"{path}: the weights '{tensor.name}'"
    if not name or not file.is_relative_to(path.parent.resolve()):
        raise EspalierError(f"{what} are in '{name}'; expected a file beside the model")
    if not file.is_file():
        raise EspalierError(f"{what} are in '{name}', which is missing beside the model")
    size = int(np.prod(shape)) * dtype.itemsize
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", size))
    except ValueError as error:
        raise EspalierError(f"{what}: offset and length are no numbers") from error
    found = file.stat().st_size
    if length != size or offset < 0 or offset + size > found:
        raise EspalierError(f"{what} take {size} bytes from {offset} on (the model says {length}) of "
                            f"'{name}', which has {found}; the file is damaged or another model's")
    if not size:
        return np.zeros(shape, dtype)
    return np.memmap(file, dtype, "r", offset, shape)


def _dense(onnx: Any, tensor: Any) -> tuple[str, np.ndarray]:
    """A sparse initializer as the array that it stands for."""
    values, indices = (onnx.numpy_helper.to_array(part) for part in (tensor.values, tensor.indices))
    dense = np.zeros(tuple(tensor.dims), values.dtype)
    if indices.ndim == 2:
        dense[tuple(indices.T)] = values
    else:
        dense.reshape(-1)[indices] = values
    return tensor.values.name, dense


def _constants(onnx: Any, model: Any, arrays: dict[str, np.ndarray]) -> None:
    """Moves the values of Constant nodes to ``arrays``, in place."""
    kept = []
    for node in model.graph.node:
        value = {a.name: a for a in node.attribute} if node.op_type == "Constant" else {}
        if "value" in value:
            arrays[node.output[0]] = onnx.numpy_helper.to_array(value["value"].t)
        elif "sparse_value" in value:
            arrays[node.output[0]] = _dense(onnx, value["sparse_value"].sparse_tensor)[1]
        elif value.keys() & {"value_float", "value_floats"}:
            found = onnx.helper.get_attribute_value(next(iter(value.values())))
            arrays[node.output[0]] = np.array(found, np.float32)
        elif value.keys() & {"value_int", "value_ints"}:
            found = onnx.helper.get_attribute_value(next(iter(value.values())))
            arrays[node.output[0]] = np.array(found, np.int64)
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)


__all__ = ["DTYPES", "dtype_of", "load_graph", "read_onnx"]
