"""Runs a model that was compiled ahead of time for this kind of machine: its shared library, through the C
interface that the library itself exports (``c/espalier.h``).

Nothing is compiled when it is loaded.
"""

from __future__ import annotations

import ctypes
import platform
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import EspalierError
from ..abi import FREE
from ..memory import zeroed
from ..model_file import ModelFile
from .fork import renew_after_fork
from .machine_code import Library, processor_flags

MESSAGE_BYTES = 256
_SYMBOL = re.compile(rb"\0(espalier_model_\w+)\0")
# What the vectors of a target need of an x86-64 processor, as Linux names it.
_FLAGS = {"sse": {"sse2"}, "avx2": {"avx2", "fma", "bmi2", "f16c"},
          "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"}}


class _Buffer(ctypes.Structure):
    """espalier_buffer and espalier_const_buffer."""

    _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t))


def why_not_here(target: Mapping[str, Any]) -> str:
    """Why code for ``target`` does not run in this process; empty where it does."""
    triple, name = str(target.get("triple", "")), str(target.get("name", ""))
    if triple == "vulkan":
        return "which is a GPU (--device vulkan)"
    here = f"{platform.machine()}-{platform.system().lower()}"
    if triple != f"{here}-gnu" or platform.libc_ver()[0] != "glibc":
        return f"this machine is {platform.machine()}"
    missing = _FLAGS.get(name, {name}) - processor_flags() if triple.startswith("x86_64") else set()
    return f"this processor has no {', '.join(sorted(missing))}" if missing else ""


class NativeExecutor:
    """One model's library with its memory; calls are serialised, an instance serves one run at a time."""

    def __init__(self, file: ModelFile) -> None:
        """Raises ``EspalierError`` where library and file do not belong together, or the library is none."""
        self._loaded = _Library(file.code)
        self._library = self._loaded.functions
        symbol = _SYMBOL.search(file.code)
        if symbol is None:
            raise EspalierError("the model's library exports no model; compile it again")
        code = ctypes.c_char.in_dll(self._library, symbol[1].decode())
        data = file.to_bytes()
        self._bytes = zeroed(len(data))  # aligned, so that the weights are used where they are
        self._bytes[: len(data)] = np.frombuffer(data, np.uint8)
        self._model = ctypes.c_void_p()
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        failed = self._library.espalier_create_from_memory(
            ctypes.byref(code), ctypes.c_void_p(self._bytes.ctypes.data), ctypes.c_size_t(len(data)),
            ctypes.byref(self._model), message, ctypes.c_size_t(MESSAGE_BYTES))
        if failed:
            raise EspalierError(message.value.decode(errors="replace"))
        specs = [*file.manifest["inputs"], *file.manifest["outputs"]]
        self._free = next(((at, axis) for at, spec in enumerate(specs)
                           for axis, size in enumerate(spec["shape"]) if size == FREE), None)
        self._states = [np.empty_like(array) for array in file.states]
        self._lock = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork; the library starts its threads anew by itself."""
        self._lock = threading.Lock()

    def run(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], threads: int) -> np.ndarray:
        """Fills ``outputs``; returns when every statement ended, i64 nanoseconds [stamps].

        Raises ``EspalierError`` when an assertion of the model fails, or memory or threads are short.
        """
        library, model = self._library, self._model
        with self._lock:
            self._must(library.espalier_set_threads(model, ctypes.c_uint(threads)))
            if self._free is not None:
                at, axis = self._free
                steps = [*inputs, *outputs][at].shape[axis]
                self._must(library.espalier_reserve(model, ctypes.c_int64(steps)))
            given, filled = _buffers(inputs), _buffers(outputs)
            self._must(library.espalier_run(model, given, ctypes.c_size_t(len(inputs)), filled,
                                            ctypes.c_size_t(len(outputs))))
            count = library.espalier_label_count(model)
            seconds = np.zeros(count, np.float64)
            self._must(library.espalier_profile(model, ctypes.c_void_p(seconds.ctypes.data),
                                                ctypes.c_size_t(count)))
        return np.concatenate([[0], np.cumsum(seconds * 1e9)]).astype(np.int64)

    def reset(self) -> None:
        """States are what they were at first."""
        with self._lock:
            self._must(self._library.espalier_reset(self._model))

    def states(self) -> list[np.ndarray]:
        """Copies of the states."""
        found = [np.empty_like(array) for array in self._states]
        with self._lock:
            for number, buffer in enumerate(_buffers(found)):
                self._must(self._library.espalier_get_state(self._model, ctypes.c_size_t(number), buffer))
        return found

    def put_states(self, values: Sequence[np.ndarray]) -> None:
        """The next run starts from ``values``, of the right shapes and dtypes."""
        with self._lock:
            for number, buffer in enumerate(_buffers(values)):
                self._must(self._library.espalier_set_state(self._model, ctypes.c_size_t(number), buffer))

    def _must(self, status: int) -> None:
        if status:
            message = self._library.espalier_last_error(self._model)
            raise EspalierError(message.decode(errors="replace"))

    def __del__(self) -> None:
        if getattr(self, "_model", None):
            self._library.espalier_destroy(self._model)


class _Library(Library):
    """The whole C interface in a library, or none of it."""

    def __init__(self, code: bytes) -> None:
        try:
            super().__init__(code)
            for name in ("create_from_memory", "set_threads", "reserve", "run", "profile", "reset",
                         "get_state", "set_state", "destroy"):
                getattr(self.functions, f"espalier_{name}")
            self.functions.espalier_label_count.restype = ctypes.c_size_t
            self.functions.espalier_last_error.restype = ctypes.c_char_p
        except (OSError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise EspalierError(f"the model's library does not load ({reason}); compile it again") from error


def _buffers(arrays: Sequence[np.ndarray]) -> Any:
    return (_Buffer * len(arrays))(*(_Buffer(array.ctypes.data, array.nbytes) for array in arrays))
