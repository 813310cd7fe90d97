"""Arrays between pages that may not be touched: a read or write outside of one ends the process."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence

import numpy as np
from espalier.runtime.compiled_model import CompiledModel
from espalier.runtime.executors.jit import JitExecutor

_C = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE


def guarded(shape: Sequence[int], dtype: np.dtype, at_end: bool) -> np.ndarray:
    """An array of zeros that ends (or begins) where a page without access does."""
    size = int(np.prod(shape)) * dtype.itemsize
    pages = max(-(-size // PAGE), 1)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (0, pages + 1):
        if _C.mprotect(ctypes.c_void_p(start + page * PAGE), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = PAGE + (pages * PAGE - size if at_end else 0)
    return np.frombuffer(memory, dtype, int(np.prod(shape)), offset).reshape(shape)


def guarded_copy(array: np.ndarray, at_end: bool) -> np.ndarray:
    """``array`` between pages that may not be touched."""
    copy = guarded(array.shape, array.dtype, at_end)
    copy[...] = array
    return copy


def is_guarded(array: np.ndarray) -> bool:
    """Whether ``array`` lies in memory of ``guarded``."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap)


def check_guarded(compiled: CompiledModel, inputs: Sequence[np.ndarray], threads: int = 1) -> None:
    """Runs ``compiled`` with every buffer between such pages, at their ends, then at their beginnings: the
    outputs are those of an ordinary run."""
    expected = compiled.run(inputs, threads)
    executor = compiled._executor
    assert isinstance(executor, JitExecutor)
    for at_end in (True, False):
        held = [guarded_copy(value, at_end) for value in inputs]
        outputs = [guarded(value.shape, value.dtype, at_end) for value in expected]
        executor._arena = guarded(executor._arena.shape, executor._arena.dtype, at_end)
        executor._scratch = guarded(executor._scratch.shape, executor._scratch.dtype, at_end)
        executor._weights = guarded_copy(executor._weights, at_end)
        executor.bind()
        executor._team = None  # its threads know the former buffers
        compiled._execute(held, outputs, threads)
        for found, value in zip(outputs, expected, strict=True):
            np.testing.assert_array_equal(found, value)
