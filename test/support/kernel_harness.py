"""Runs one generated kernel: emits it, lowers it, compiles it with MLIR's JIT and calls it on numpy arrays.

Scratch starts as NaN, so a kernel that reads what it did not write shows it. Every array ends where a page
without access begins (behind less than 64 bytes, as kernels may assume aligned arrays); inside
``starting_at_pages`` it begins where such a page ends.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from espalier.sparse_dialect.devices.cores import CORES, Core
from espalier.sparse_dialect.devices.device import Device
from espalier.sparse_dialect.dialect.dialect import register_dialect
from espalier.sparse_dialect.dialect.schedules import TARGET, set_device
from espalier.sparse_dialect.geometry.layouts import LaneGrid, lift
from espalier.sparse_dialect.ir.constants import element_type
from espalier.sparse_dialect.ir.mlir import bindings, ir, passmanager
from espalier.sparse_dialect.lowering.cpu.emit.builder import func
from espalier.sparse_dialect.lowering.loads.eliminate_redundant_loads import EliminateRedundantLoadsPass
from espalier.sparse_dialect.lowering.loads.expand_gathers import ExpandGathersPass
from espalier.sparse_dialect.lowering.loads.schedule_loads import ScheduleLoadsPass
from espalier.sparse_dialect.passes import PassContext

from support.guarded import guarded, is_guarded

ExecutionEngine = bindings("execution_engine").ExecutionEngine
runtime = bindings("runtime")

LOWERING = (
    "builtin.module(canonicalize,cse,convert-vector-to-scf,convert-scf-to-cf,expand-strided-metadata,"
    "lower-affine,arith-expand,convert-vector-to-llvm,finalize-memref-to-llvm,convert-to-llvm,"
    "reconcile-unrealized-casts)"
)
ALIGNMENT = 64

Emit = Callable[[ir.Operation, str, list[ir.Type], Core], None]


_at_end = True


@contextmanager
def starting_at_pages() -> Iterator[None]:
    """Arrays made inside begin behind a page without access, instead of ending before one."""
    global _at_end
    _at_end = False
    try:
        yield
    finally:
        _at_end = True


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts at a multiple of 64 bytes, as kernels may assume, beside a page without access."""
    size = -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    raw = guarded([size], np.dtype(np.uint8), _at_end)
    copy = raw[: array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def unset(*shape: int, dtype: str = "float32") -> np.ndarray:
    """An aligned array of NaN."""
    return aligned(np.full(shape, np.nan, dtype))


def held_as(dtype: str, array: np.ndarray) -> np.ndarray:
    """Floats as ``dtype``, tables as they are; aligned."""
    return aligned(array.astype(dtype) if array.dtype.kind == "f" else array)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Seeded normal f32 numbers, aligned, no exact zeros."""
    return aligned(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def poisoned(x: np.ndarray, grid: LaneGrid) -> np.ndarray:
    """``x`` on a lane grid, NaN in the lanes that hold no pixel: kernels must not let them reach one."""
    holds = lift(np.ones(x.shape, np.float32), grid)
    return aligned(np.where(holds > 0, lift(x, grid), np.float32(np.nan)))


class Compiled:
    """One kernel on its arrays; ``run(begin, end)`` does units of its work. ``loads``: what LRE counted.

    Code shaped for an Arm core runs here too: only its speed is another core's."""

    def __init__(
        self,
        emit: Emit,
        arrays: Sequence[np.ndarray],
        scratch_floats: int = 0,
        level: str = "filter",
        core: str = "avx512",
    ) -> None:
        self.arrays = [a if is_guarded(a) else aligned(a) for a in arrays]
        self.scratch = [unset(scratch_floats).view(np.uint8)] if scratch_floats else []
        context = PassContext()
        with ir.Context(), ir.Location.unknown():
            module = ir.Module.create()
            index, dynamic = ir.IndexType.get(), ir.ShapedType.get_dynamic_size()
            types = [ir.MemRefType.get(a.shape, element_type(a.dtype)) for a in self.arrays]
            types += [ir.MemRefType.get([dynamic], element_type(a.dtype)) for a in self.scratch]
            types += [index, index]
            emit(module.operation, "kernel", types, CORES[core])
            with ir.InsertionPoint(module.body):
                main = func.FuncOp("main", (types, []))
                main.attributes["llvm.emit_c_interface"] = ir.UnitAttr.get()
            entry = main.add_entry_block()
            with ir.InsertionPoint(entry):
                func.CallOp([], "kernel", list(entry.arguments))
                func.ReturnOp([])
            register_dialect(module.context)
            set_device(module.operation, Device(core))
            for load_pass in (EliminateRedundantLoadsPass(level), ScheduleLoadsPass(), ExpandGathersPass()):
                load_pass.run(module.operation, context)
            del module.operation.attributes[TARGET]  # upstream's engine knows no such dialect
            module.operation.verify()
            passmanager.PassManager.parse(LOWERING).run(module.operation)
            self._engine = ExecutionEngine(module, opt_level=2)
        self.loads = context.statistics
        self._main = self._engine.lookup("main")
        self._memrefs = [
            ctypes.pointer(ctypes.pointer(runtime.get_ranked_memref_descriptor(a)))
            for a in [*self.arrays, *self.scratch]
        ]

    def run(self, begin: int, end: int) -> None:
        """Does the units [begin, end)."""
        for array in self.scratch:
            array[:] = 0xFF  # NaN, as floats of any width
        bounds = [ctypes.pointer(ctypes.c_int64(bound)) for bound in (begin, end)]
        arguments = [ctypes.cast(pointer, ctypes.c_void_p) for pointer in [*self._memrefs, *bounds]]
        self._main((ctypes.c_void_p * len(arguments))(*arguments))


def close(got: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Asserts equality up to ``tolerance`` of the largest expected magnitude; NaN is never close."""
    scale = float(np.abs(expected).max()) or 1.0
    error = float(np.abs(got - expected).max()) / scale
    assert error <= tolerance, f"relative error {error:.2e}"
