"""What an ONNX file computes, by ONNX Runtime or, where that is missing, ONNX's reference evaluator: the
recorded run of a compiled model. And inputs for it, which the file does not bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import EspalierError, optional
from ..mlir_file import first_line
from .read import DTYPES, dtype_of, load_graph


def example_inputs(path: str | Path, shapes: Mapping[str, Sequence[int]] | None = None,
                   seed: int = 0) -> tuple[np.ndarray, ...]:
    """
    Inputs for an ONNX file, in its order: seeded normal floats, zeros of any other type.

    ``shapes`` says the sizes of inputs that are free in the file. Raises ``EspalierError`` for sizes that
    stay free or do not fit.
    """
    model = load_graph(path)
    wanted = dict(shapes or {})
    random = np.random.default_rng(seed)
    known = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in known]
    for name in wanted:
        if name not in {value.name for value in inputs}:
            raise EspalierError(f"{path}: no input '{name}'; it has "
                                f"{', '.join(value.name for value in inputs) or 'none'}")
    return tuple(_example(value, wanted.get(value.name), random) for value in inputs)


def _example(value: Any, wanted: Sequence[int] | None, random: np.random.Generator) -> np.ndarray:
    dtype = dtype_of(value.type.tensor_type.elem_type)
    if dtype is None or dtype.name not in DTYPES:
        found = dtype.name if dtype is not None else f"type {value.type.tensor_type.elem_type}"
        raise EspalierError(f"input '{value.name}' has dtype {found}; expected one of {', '.join(DTYPES)}")
    dims = value.type.tensor_type.shape.dim
    free = [dim.dim_param or "?" for dim in dims if dim.dim_value < 1]
    sizes = [dim.dim_value or dim.dim_param or "?" for dim in dims]
    given = tuple(wanted) if wanted is not None else tuple(dim.dim_value for dim in dims)
    if free and wanted is None:
        raise EspalierError(f"input '{value.name}' [{', '.join(map(str, sizes))}]: {', '.join(free)} "
                            f"{'is' if len(free) == 1 else 'are'} free; expected sizes: give --shape "
                            f"{value.name}=1x3x224x224, say, or example inputs")
    if len(given) != len(dims) or any(dim.dim_value not in (0, size)
                                      for dim, size in zip(dims, given, strict=True)):
        raise EspalierError(f"input '{value.name}': expected sizes [{', '.join(map(str, sizes))}], found "
                            f"{'x'.join(map(str, given))}")
    try:
        return random.standard_normal(given).astype(dtype) if dtype.kind == "f" else np.zeros(given, dtype)
    except (MemoryError, ValueError) as error:  # numpy's, of sizes beyond what it counts to
        raise EspalierError(f"input '{value.name}' [{', '.join(map(str, given))}] does not fit into memory"
                            ) from error


def input_names(path: str | Path) -> list[str]:
    """The names of the file's inputs, in order."""
    graph = load_graph(path).graph
    known = {tensor.name for tensor in graph.initializer}
    return [value.name for value in graph.input if value.name not in known]


def outputs_of(path: str | Path, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the file computes of ``inputs``; ``EspalierError`` where nothing at hand runs it."""
    feed = dict(zip(input_names(path), inputs, strict=True))
    try:
        found = _by_runtime(path, feed)
    except ImportError:
        found = _by_reference(path, feed)
    return [np.array(value, order="C") for value in found]


def _by_runtime(path: str | Path, feed: Mapping[str, np.ndarray]) -> list[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, dict(feed)))
    except Exception as error:  # its C++ exceptions have no common class
        raise EspalierError(f"{path}: ONNX Runtime does not run it: {first_line(error)}") from error


def _by_reference(path: str | Path, feed: Mapping[str, np.ndarray]) -> list[Any]:
    optional("onnx", f"the model {Path(path).name}")
    from onnx.reference import ReferenceEvaluator

    try:
        return list(ReferenceEvaluator(str(path)).run(None, dict(feed)))
    except Exception as error:  # whatever numpy raises
        raise EspalierError(f"{path}: ONNX's reference evaluator does not run it: "
                            f"{first_line(error)}") from error


__all__ = ["example_inputs", "input_names", "outputs_of"]
