"""Runs a compiled model's code on the host: LLVM-dialect bytecode, compiled by MLIR's ExecutionEngine on
first use.

Of the compiler it needs the bindings alone. All threads run the same function (see ``distribute_work.py``):
workers wait in queues between runs, and inside a run they meet at the code's own barriers, the last of
which ends it.
"""

from __future__ import annotations

import ctypes
import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...entry import BARRIER_WORDS, SIZES, SYMBOL
from ...errors import EspalierError
from ...sparse_dialect.ir.mlir import bindings, ir
from ..abi import check_declared
from ..memory import zeroed
from .fork import renew_after_fork

OPTIMIZATION = 3


class JitExecutor:
    """One model's code with its arena; calls are serialised, an instance serves one run at a time."""

    def __init__(self, code: bytes, weights: np.ndarray, manifest: Mapping[str, Any]) -> None:
        """``code``: bytecode of a module in the LLVM dialect, with all that ``sparse-export-entry`` writes;
        ``weights``: u8; ``manifest``: of the model file, of which ``sizes``, ``messages``, ``labels``,
        ``inputs`` and ``outputs`` count. Raises ``EspalierError`` where it says something else than the
        code, or weights are not as long as the code needs."""
        self._engine, self._function, self._order = _compile(code, manifest)
        self._weights, self._sizes = weights, dict(manifest["sizes"])
        self._messages: list[str] = list(manifest["messages"])
        if weights.nbytes != self._sizes["weights"]:
            raise EspalierError(f"the model is damaged: expected {self._sizes['weights']} bytes of weights, "
                                f"found {weights.nbytes}; compile it again")
        shapes = [spec["shape"] for spec in (*manifest["inputs"], *manifest["outputs"])]
        self._free = [(tensor, axis) for tensor, shape in enumerate(shapes)
                      for axis, size in enumerate(shape) if size < 0]
        self._failures = np.zeros(1, np.int32)
        self._arena = zeroed(self._sizes["arena"])
        self._barrier = np.zeros(BARRIER_WORDS, np.int32)
        self._stamps = np.zeros(max(self._sizes["stamps"], 1), np.int64)
        self._scratch: list[np.ndarray] = []
        self._workers: list[tuple[queue.SimpleQueue[Any], threading.Thread]] = []
        self._lock = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork, which has none of the parent's other threads: workers start anew when they
        are needed, and nobody waits at the barrier or holds the lock."""
        self._workers = []
        self._lock = threading.Lock()
        self._barrier[:] = 0

    def run(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], threads: int) -> np.ndarray:
        """Fills ``outputs``; returns the cycle counter noted behind every statement, i64 [stamps].

        Raises ``EspalierError`` when an assertion of the model fails, such as an index out of range.
        """
        if self._sizes.get("sequential"):
            threads = 1
        with self._lock:
            self._grow(threads, [*inputs, *outputs])
            self._failures[0] = 0
            calls = [self._arguments(inputs, outputs, thread, threads) for thread in range(threads)]
            for (tasks, _), call in zip(self._workers, calls[1:], strict=False):
                tasks.put(call)
            self._function(calls[0][0])
            if self._failures[0]:
                raise EspalierError(f"the model stopped: {self._messages[self._failures[0] - 1]}")
            return self._stamps.copy()

    def _arguments(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], thread: int,
                   threads: int) -> tuple[Any, list[Any]]:
        """The packed arguments of one thread's call (``lowering/cpu/export_entry.py``), and what keeps them
        alive."""
        given = {"inputs": inputs, "outputs": outputs, "scratch": [self._scratch[thread]],
                 "weights": [self._weights], "failures": [self._failures], "barrier": [self._barrier],
                 "stamps": [self._stamps], "arena": [self._arena]}
        arrays = [array for name in self._order for array in given[name]]
        buffers = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
        tensors = [*inputs, *outputs]
        sizes = (ctypes.c_int64 * len(self._free))(*(tensors[at].shape[axis] for at, axis in self._free))
        values = [ctypes.c_void_p(ctypes.addressof(buffers)), ctypes.c_void_p(ctypes.addressof(sizes)),
                  ctypes.c_int64(thread), ctypes.c_int64(threads)]
        packed = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        return packed, [values, buffers, sizes, arrays]

    def _grow(self, threads: int, tensors: Sequence[np.ndarray]) -> None:
        """Scratch and workers for ``threads`` threads, of which the caller is the first; an arena for the
        time steps of ``tensors``."""
        steps = next((tensors[at].shape[axis] for at, axis in self._free), 0)
        needed = self._sizes["arena"] + steps * self._sizes.get("arena_per_step", 0)
        if needed > self._arena.size:
            self._arena = zeroed(needed)
        while len(self._scratch) < threads:
            self._scratch.append(zeroed(max(self._sizes["scratch"], 16) * 4).view(np.float32))
        while len(self._workers) < threads - 1:
            tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
            thread = threading.Thread(target=_work, args=(tasks, self._function), daemon=True)
            thread.start()
            self._workers.append((tasks, thread))

    def __del__(self) -> None:
        """Code and barrier outlive the workers, which may still be on their way out of the last barrier."""
        for tasks, thread in getattr(self, "_workers", ()):
            tasks.put(None)
            if not sys.is_finalizing():  # then daemon threads stand still
                thread.join()


def _work(tasks: queue.SimpleQueue[Any], function: Any) -> None:
    while (call := tasks.get()) is not None:
        function(call[0])


def declared(module: ir.Operation) -> dict[str, Any]:
    """What compiled code says of itself: the module's ``espalier.<name>`` attributes, without the prefix."""
    attributes = module.attributes
    numbers = {name: ir.IntegerAttr(attributes[f"espalier.{name}"]).value for name in SIZES
               if f"espalier.{name}" in attributes}
    lists = {name: [ir.StringAttr(text).value for text in ir.ArrayAttr(attributes[f"espalier.{name}"])]
             for name in ("arguments", "input_types", "output_types", "labels", "messages")
             if f"espalier.{name}" in attributes}
    return {**numbers, **lists}


def _compile(code: bytes, manifest: Mapping[str, Any]) -> tuple[Any, Any, list[str]]:
    """The engine that owns the compiled code, its entry, and the order of its buffers."""
    context = ir.Context()
    context.enable_multithreading(False)
    try:
        with context, ir.Location.unknown():
            module = ir.Module.parse(code)
            says = declared(module.operation)
            check_declared(says, manifest)
            engine = bindings("execution_engine").ExecutionEngine(module, opt_level=OPTIMIZATION)
            entry = engine.raw_lookup(SYMBOL)
            if not entry:
                raise RuntimeError(f"no function {SYMBOL}")
            return engine, ctypes.CFUNCTYPE(None, ctypes.c_void_p)(entry), says["arguments"]
    except (ir.MLIRError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise EspalierError(f"the model's code does not load ({reason}); compile it again") from error
