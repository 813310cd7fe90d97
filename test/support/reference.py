"""Runs linalg on tensors by plain loops, and sparse ops by the reference: the oracle of single passes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from espalier.pipelines.parser import parse_pipeline
from espalier.pipelines.runner import Runner
from espalier.sparse_dialect.dialect import register_dialect
from espalier.sparse_dialect.ir.constants import dtype_of
from espalier.sparse_dialect.ir.mlir import bindings, ir
from espalier.sparse_dialect.lowering.reference.lower_to_reference import LowerToReferencePass
from espalier.sparse_dialect.passes import PassContext

ExecutionEngine = bindings("execution_engine").ExecutionEngine
runtime = bindings("runtime")

LOOPS = (
    "builtin.module(canonicalize,cse,one-shot-bufferize{bufferize-function-boundaries=true "
    "function-boundary-type-conversion=identity-layout-map},"
    "buffer-results-to-out-params{modify-public-functions=true hoist-static-allocs=true "
    "hoist-dynamic-allocs=true},"
    "func.func(convert-linalg-to-loops),sparse-expand-copies,convert-scf-to-cf,expand-strided-metadata,lower-affine,"
    "convert-math-to-llvm,convert-math-to-libm,finalize-memref-to-llvm,convert-to-llvm,"
    "reconcile-unrealized-casts)"
)


def after(text: str, pipeline: str) -> str:
    """The module ``text`` after ``pipeline``, as text."""
    with ir.Context() as context, ir.Location.unknown():
        register_dialect(context)
        module = ir.Module.parse(text)
        run_passes(module, pipeline)
        return str(module)


def run_passes(module: ir.Module, pipeline: str) -> None:
    """Runs a pipeline in place, verified after every pass."""
    if pipeline:
        Runner(parse_pipeline(f"builtin.module({pipeline})")).run(module.operation)
        module.operation.verify()


def computed(text: str, pipeline: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What function ``main`` of ``text`` gives after ``pipeline``, by the reference."""
    with ir.Context() as context, ir.Location.unknown():
        register_dialect(context)
        module = ir.Module.parse(text)
        run_passes(module, pipeline)
        LowerToReferencePass().run(module.operation, PassContext())
        module.operation.verify()
        assert "sparse." not in str(module).replace("dense_resource", "")
        return executed(module, inputs)


def executed(module: ir.Module, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What ``main`` of a module of linalg on tensors gives; sizes that are free are those of the inputs'
    first."""
    function = next(op for op in module.body.operations if op.operation.name == "func.func")
    function.operation.attributes["llvm.emit_c_interface"] = ir.UnitAttr.get()
    results = ir.FunctionType(ir.TypeAttr(function.operation.attributes["function_type"]).value).results
    outputs = []
    for type_ in map(ir.RankedTensorType, results):
        shape = [inputs[0].shape[0] if type_.is_dynamic_dim(at) else type_.get_dim_size(at)
                 for at in range(type_.rank)]
        outputs.append(np.full(shape, np.nan, dtype_of(type_.element_type)))
    Runner(parse_pipeline(LOOPS)).run(module.operation)
    engine = ExecutionEngine(module, opt_level=1)
    pointers = [ctypes.pointer(ctypes.pointer(runtime.get_ranked_memref_descriptor(array)))
                for array in [*map(np.ascontiguousarray, inputs), *outputs]]
    arguments = [ctypes.cast(pointer, ctypes.c_void_p) for pointer in pointers]
    engine.lookup("main")((ctypes.c_void_p * len(arguments))(*arguments))
    return outputs
