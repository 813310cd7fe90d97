"""Arrays for a model: whether they fit its inputs, and memory for its outputs."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from ..errors import EspalierError
from .abi import FREE, MAX_THREADS
from .records import TensorSpec

LINE = 64  # bytes of a cache line
LARGE = 16384  # bytes: below, NumPy's own memory is aligned well enough, and quicker to get


def tensor_specs(entries: Iterable[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    """The inputs or outputs that a manifest lists; ``ValueError`` or ``TypeError`` for what is none."""
    return tuple(TensorSpec(str(entry["name"]), tuple(int(size) for size in entry["shape"]),
                            np.dtype(entry["dtype"]).name) for entry in entries)


def array_of(value: Any) -> np.ndarray:
    """A torch tensor, an array, or nested lists of numbers as an array; else ``EspalierError``. Bfloat16,
    which NumPy has not, becomes float32."""
    try:
        if hasattr(value, "detach"):
            tensor = value.float() if is_bfloat16(value) else value
            return np.asarray(tensor.numpy(force=True))
        return np.asarray(value)
    except (TypeError, RuntimeError, ValueError, NotImplementedError, AttributeError) as error:
        what = " ".join(str(getattr(value, name, "")).removeprefix("torch.")
                        for name in ("layout", "dtype", "device")).strip() or type(value).__name__
        raise EspalierError(f"expected a dense tensor of a dtype that NumPy has, found {what}; "
                            "convert it first") from error


def address_of(array: np.ndarray) -> int:
    """Where a contiguous array lies: ``array.ctypes.data``, in a third of its time where that can be."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # it may not be written, or holds nothing
        return int(array.ctypes.data)


def is_bfloat16(value: Any) -> bool:
    """Whether ``value`` is a torch tensor of bfloat16."""
    return str(getattr(value, "dtype", "")) == "torch.bfloat16"


def checked_threads(threads: Any) -> int:
    """``threads`` as a number; ``EspalierError`` where it is none from 0 to 256."""
    if type(threads) is int and 0 <= threads <= MAX_THREADS:
        return threads
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer):
        raise EspalierError(f"expected a whole number of threads, found {threads!r:.40}")
    if threads < 0:
        raise EspalierError(f"expected a number of threads, or 0 for one a fast processor; found {threads}")
    if threads > MAX_THREADS:
        raise EspalierError(f"expected at most {MAX_THREADS} threads, found {threads}")
    return int(threads)


def checked_inputs(specs: Sequence[TensorSpec], inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """``inputs``, row-major; ``EspalierError`` for what is no list of arrays, a wrong number, shape or dtype,
    and for no time steps."""
    if not isinstance(inputs, list | tuple):
        raise EspalierError(f"expected a list of arrays, found {type(inputs).__name__}")
    if len(inputs) == len(specs) and all(map(_is_as_is, specs, inputs)):
        return list(inputs)
    for spec, value in zip(specs, inputs, strict=False):
        if not isinstance(value, np.ndarray | np.generic):
            raise EspalierError(f"input '{spec.name}': expected a numpy array, found "
                                f"{type(value).__name__}; tensors and lists: call the model itself")
    if len(inputs) != len(specs):
        raise EspalierError(f"expected {len(specs)} inputs, found {len(inputs)}")
    checked = []
    steps = None
    for spec, array in zip(specs, inputs, strict=True):
        if steps is None:
            steps = _steps(spec, array)
        if tuple(array.shape) != _sized(spec, steps) or array.dtype != np.dtype(spec.dtype):
            expected = _describe(spec.shape, spec.dtype, steps)
            raise EspalierError(f"input '{spec.name}': expected {expected}, "
                                f"found {_describe(array.shape, array.dtype)}")
        checked.append(np.asarray(array, order="C"))  # a scalar stays one
    if steps == 0:
        raise EspalierError("expected at least one time step, found a sequence of length 0")
    return checked


def _is_as_is(spec: TensorSpec, array: Any) -> bool:
    """Whether ``array`` can be used as it is, for a spec without a free size: what costs a call least."""
    return (type(array) is np.ndarray and array.shape == spec.shape and array.dtype == spec.numpy
            and array.flags.c_contiguous)


def empty_outputs(specs: Sequence[TensorSpec], inputs: Sequence[np.ndarray],
                  outputs: Sequence[TensorSpec]) -> list[np.ndarray]:
    """Memory for ``outputs`` of a run on ``inputs``, which tell the size that is free in ``specs``."""
    steps = None
    if any(FREE in spec.shape for spec in specs):
        pairs = zip(specs, inputs, strict=True)
        steps = next((found for pair in pairs if (found := _steps(*pair)) is not None), None)
    try:
        return [_empty(_sized(spec, steps) if FREE in spec.shape else spec.shape, spec.numpy)
                for spec in outputs]
    except (MemoryError, ValueError) as error:
        raise EspalierError(f"out of memory for the outputs: {error}") from error


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Memory for numbers; large ones begin at a cache line, so that no vector lies in two of them."""
    size = prod(shape) * dtype.itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    block = np.empty(size + LINE, np.uint8)
    return np.ndarray(shape, dtype, block, -address_of(block) % LINE)


def _steps(spec: TensorSpec, array: np.ndarray) -> int | None:
    """What the free size of ``spec`` is in ``array``; None where there is none, or another rank."""
    sizes = [found for size, found in zip(spec.shape, array.shape, strict=False) if size == FREE]
    return sizes[0] if sizes and array.ndim == len(spec.shape) else None


def _sized(spec: TensorSpec, steps: int | None) -> tuple[int, ...]:
    """The shape with ``steps`` for the free size."""
    free = FREE if steps is None else steps
    return tuple(free if size == FREE else size for size in spec.shape)


def _describe(shape: Sequence[int], dtype: Any, steps: int | None = None) -> str:
    """A shape and type; a free size is T, or its number once that is known."""
    sizes = "x".join(("T" if steps is None else str(steps)) if size == FREE else str(size) for size in shape)
    order = "" if np.dtype(dtype).isnative else "big-endian "  # we run on little-endian machines only
    return f"{sizes or 'a scalar'} {order}{np.dtype(dtype).name}"
