"""The figures of one core, by two loops that MLIR compiles as it compiles layers.

    peak:    for i in 0 .. n:  acc_k = fma(a, a, acc_k)      sums that are all in registers
    stream:  for i in 0 .. n / 8:  acc_k = acc_k + buffer[8 i + k]
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...errors import EspalierError
from ...pipelines.parser import parse_pipeline
from ...pipelines.runner import Runner
from ...pipelines.target import Target
from ...sparse_dialect.devices.calibration import Calibration, checked
from ...sparse_dialect.ir.mlir import bindings, ir

MOST_SUMS, LOADS = 24, 8  # independent ones: more than latency times units
OTHERS = 4  # registers that hold no sum
LINE = 16  # f32 in a cache line
LEVELS = (16, 256, 1024, 8192, 131072)  # KiB that are read again and again
FROM_MEMORY = str(LEVELS[-1])
PASSES = ("convert-scf-to-cf", "convert-vector-to-llvm", "expand-strided-metadata", "finalize-memref-to-llvm",
          "convert-to-llvm", "reconcile-unrealized-casts")
MOST_GFLOPS, MOST_GIGABYTES = 200.0, 100.0  # what lengths of loops are chosen for
LOOP_S, REPEATS = 0.002, 150  # a measurement, shorter than a time slice, and how often: the fastest counts
Loop = Callable[[int, int, np.ndarray, np.ndarray], None]


class _Memref(ctypes.Structure):
    """A rank-1 memref's descriptor."""

    _fields_ = (("allocated", ctypes.c_void_p), ("aligned", ctypes.c_void_p), ("offset", ctypes.c_int64),
                ("size", ctypes.c_int64), ("stride", ctypes.c_int64))


def calibrated(target: Target, progress: Callable[[str, int, int], None]) -> Calibration:
    """Measures this machine, for whose vectors ``target`` stands: under a minute."""
    peak, stream = _compiled(loops_text(target), "peak", "stream")
    sums = np.zeros(sums_of(target) * target.lanes, np.float32)
    ones = _ones(target.lanes)
    progress("calibrating", 0, 1 + len(LEVELS))
    turns = peak_turns(target)
    seconds = _fastest(lambda: peak(turns, 1, ones, sums))
    gflops = checked(2e-9 * turns * len(sums) / seconds, "multiply-adds")
    levels = {}
    for number, kib in enumerate(LEVELS):
        progress("calibrating", 1 + number, 1 + len(LEVELS))
        buffer = _ones(kib << 8)
        lines = len(buffer) // target.lanes
        again = max(1, int(LOOP_S * MOST_GIGABYTES * 1e9 / buffer.nbytes))
        seconds = _fastest(partial(stream, lines, again, buffer, sums))
        levels[str(kib)] = checked(1e-9 * buffer.nbytes * again / seconds, f"reads of {kib} KiB")
    progress("calibrating", 1 + len(LEVELS), 1 + len(LEVELS))
    return Calibration(gflops, levels[FROM_MEMORY], levels)


def _ones(count: int) -> np.ndarray:
    """f32 [count], where a vector begins at a cache line."""
    values = np.ones(count + LINE, np.float32)
    begin = -values.ctypes.data // values.itemsize % LINE
    return values[begin : begin + count]


def _fastest(work: Callable[[], None], repeats: int = REPEATS) -> float:
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best


def sums_of(target: Target) -> int:
    """Sums of the first loop: as many as hide latencies, and stay in registers."""
    return min(MOST_SUMS, target.device.costs.registers - OTHERS)


def peak_turns(target: Target) -> int:
    """Turns of the first loop in a measurement."""
    return int(LOOP_S * MOST_GFLOPS * 1e9 / (2 * sums_of(target) * target.lanes))


def lowered(text: str) -> ir.Module:
    """``text`` in the LLVM dialect; needs a context."""
    module = ir.Module.parse(text)
    Runner(parse_pipeline(f"builtin.module({','.join(PASSES)})"), verify=False).run(module.operation)
    return module


def _compiled(text: str, *names: str) -> list[Loop]:
    """The functions of ``text`` that take a count, how often to count, and two f32 arrays."""
    context = ir.Context()
    context.enable_multithreading(False)
    try:
        with context, ir.Location.unknown():
            engine: Any = bindings("execution_engine").ExecutionEngine(lowered(text), opt_level=3)
            addresses = [engine.raw_lookup(f"_mlir_ciface_{name}") for name in names]
    except (ir.MLIRError, RuntimeError) as error:
        raise EspalierError(f"the loops that calibrate do not compile here: {error}") from error
    return [_callable(address, engine) for address in addresses]


def _callable(address: int, engine: Any) -> Loop:
    """The function at ``address``, which ``engine`` keeps."""
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)  # takes pointers to its arguments

    def call(count: int, again: int, data: np.ndarray, sums: np.ndarray, _kept: Any = engine) -> None:
        views = [_Memref(array.ctypes.data, array.ctypes.data, 0, array.size, 1) for array in (data, sums)]
        pointers = [ctypes.c_void_p(ctypes.addressof(view)) for view in views]
        values = [ctypes.c_int64(count), ctypes.c_int64(again), *pointers]
        function((ctypes.c_void_p * len(values))(*map(ctypes.addressof, values)))

    return call


def loops_text(target: Target) -> str:
    """Both loops, for vectors of ``target``."""
    return _peak_text(target.lanes, sums_of(target)) + _stream_text(target.lanes)


def _loop(name: str, lanes: int, sums: int, step: int, body: list[str], before: str = "") -> str:
    """A function that loops over ``body``, which makes %n0, %n1, ... of %s0, %s1, ... at place %i."""
    vector = f"vector<{lanes}xf32>"
    types = ", ".join([vector] * sums)
    carried = ", ".join(f"%o{k} = %zero" for k in range(sums))
    inner = ", ".join(f"%s{k} = %o{k}" for k in range(sums))
    stores = "\n".join(f"%at{k} = arith.constant {k * lanes} : index\n"
                       f"vector.store %r#{k}, %sums[%at{k}] : memref<?xf32>, {vector}" for k in range(sums))
    return f"""
func.func @{name}(%count: index, %again: index, %data: memref<?xf32>, %sums: memref<?xf32>)
    attributes {{llvm.emit_c_interface}} {{
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %step = arith.constant {step} : index
  %lanes = arith.constant {lanes} : index
  %zero = arith.constant dense<0.0> : {vector}
  {before}
  %r:{sums} = scf.for %turn = %c0 to %again step %c1 iter_args({carried}) -> ({types}) {{
    %t:{sums} = scf.for %i = %c0 to %count step %step iter_args({inner}) -> ({types}) {{
      {chr(10).join(body)}
      scf.yield {', '.join(f'%n{k}' for k in range(sums))} : {types}
    }}
    scf.yield {', '.join(f'%t#{k}' for k in range(sums))} : {types}
  }}
  {stores}
  return
}}"""


def _peak_text(lanes: int, sums: int) -> str:
    vector = f"vector<{lanes}xf32>"
    body = [f"%n{k} = vector.fma %a, %a, %s{k} : {vector}" for k in range(sums)]
    return _loop("peak", lanes, sums, 1, body, f"%a = vector.load %data[%c0] : memref<?xf32>, {vector}")


def _stream_text(lanes: int) -> str:
    vector, body = f"vector<{lanes}xf32>", []
    for k in range(LOADS):
        body += [f"%k{k} = arith.constant {k} : index", f"%l{k} = arith.addi %i, %k{k} : index",
                 f"%p{k} = arith.muli %l{k}, %lanes : index",
                 f"%v{k} = vector.load %data[%p{k}] : memref<?xf32>, {vector}",
                 f"%n{k} = arith.addf %s{k}, %v{k} : {vector}"]
    return _loop("stream", lanes, LOADS, LOADS, body)
