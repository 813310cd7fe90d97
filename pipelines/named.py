"""Named pipelines: each a tuple of pipeline elements, composed from others.

The names stand wherever a pass name may stand on ``builtin.module`` and are replaced by their elements.
"""

from __future__ import annotations

from dataclasses import dataclass

from .upstream import HAS_TORCH_PASSES


@dataclass(frozen=True)
class Named:
    """A documented list of pipeline elements on ``builtin.module``."""

    doc: str
    elements: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.elements)


PREPARE = ("sparse-split-crops", "inline", "symbol-dce", "sparse-fold-empty", "sparse-guard-indices",
           "convert-elementwise-to-linalg", "sparse-guard-divisions",
           "sparse-raise-linalg{lone-means=false}", "sparse-lower-to-reference{uncovered=true}",
           "sparse-detect-schemes", "sparse-look-up-schedules", "sparse-schedule-layers",
           "sparse-reorder-filters", "sparse-compress-weights", "sparse-assign-layouts",
           "sparse-halve-precision", "sparse-fuse-depthwise", "sparse-look-up-schedules",
           "sparse-schedule-tiles")
VECTOR = ("sparse-lower-to-vector", "sparse-eliminate-redundant-loads", "sparse-schedule-loads",
          "sparse-expand-gathers")
# torch-mlir bufferizes and lowers its own scans, sorts and scatters; a program without them stays as it is.
TM_BUFFERIZE = ("func.func(tm-tensor-bufferize)", "sparse-adopt-buffers") if HAS_TORCH_PASSES else ()
TM_LOOPS = ("func.func(tm-tensor-to-loops)",) if HAS_TORCH_PASSES else ()
# Nothing may come between bufferizations: CSE would join the moments at which buffers are read.
BUFFERS = ("sparse-protect-inputs", "sparse-fuse-elementwise", *TM_BUFFERIZE,
           "one-shot-bufferize{allow-unknown-ops=false bufferize-function-boundaries=true "
           "function-boundary-type-conversion=identity-layout-map}",
           "sparse-separate-results",
           "buffer-results-to-out-params{hoist-static-allocs=true hoist-dynamic-allocs=true "
           "modify-public-functions=true}",
           "func.func(buffer-hoisting,buffer-loop-hoisting,linalg-generalize-named-ops)",
           "sparse-place-parts", "sparse-lower-sorts", "sparse-lower-scatters", "sparse-vectorize-loops",
           "func.func(convert-linalg-to-parallel-loops)", "sparse-expand-math", *TM_LOOPS, "canonicalize",
           "cse", "sparse-externalize-constants")
ARENA = ("sparse-expand-copies", "sparse-record-assertions", "sparse-distribute-work", "sparse-plan-memory",
         "sparse-outline-loops")
# Locations go at last: they name files of the machine that compiles, and labels are made of them by then.
KERNELS = ("canonicalize", "cse", "convert-scf-to-cf", "convert-vector-to-llvm",
           "expand-strided-metadata", "lower-affine", "convert-math-to-llvm", "convert-math-to-libm",
           "finalize-memref-to-llvm", "convert-to-llvm", "reconcile-unrealized-casts", "canonicalize", "cse",
           "sparse-check-code", "strip-debuginfo")
LLVM = ("sparse-export-entry", *KERNELS)
# Instead of BUFFERS and ARENA, for IREE.
DISPATCHES = ("sparse-outline-dispatches", "canonicalize", "cse")
# No schedule-layers and no assign-layouts: those ask the CPU's kernels.
PREPARE_GPU = ("inline", "symbol-dce", "sparse-fold-empty", "sparse-split-crops", "sparse-guard-indices",
               "convert-elementwise-to-linalg", "sparse-guard-divisions", "sparse-raise-linalg",
               "sparse-detect-schemes", "sparse-schedule-gpu-layers", "sparse-reorder-filters",
               "sparse-compress-weights",
               "func.func(linalg-generalize-named-ops,linalg-fuse-elementwise-ops)")
SPIRV = ("sparse-lower-to-spirv",)
GPU = ("sparse-fix-steps", "sparse-lower-to-gpu", "sparse-eliminate-redundant-loads", "canonicalize",
       "sparse-plan-memory{alignment=256}")

PIPELINES = {
    "sparse-prepare": Named("linalg to packed sparse ops with layouts, on tensors", PREPARE),
    "sparse-to-reference": Named("sparse-prepare, then every sparse op as plain linalg: slow, and what other "
                                 "lowerings are compared with", (*PREPARE, "sparse-lower-to-reference")),
    "sparse-to-vector": Named("sparse-prepare, then vector code with redundant loads removed",
                              (*PREPARE, *VECTOR)),
    "sparse-to-loops": Named("sparse-to-vector, then buffers, loops and one arena",
                             (*PREPARE, *VECTOR, *BUFFERS, *ARENA)),
    "sparse-to-dispatches": Named("sparse-to-vector, then a dispatch of IREE's for each layer that has a "
                                  "kernel; the others stay on tensors", (*PREPARE, *VECTOR, *DISPATCHES)),
    "sparse-to-gpu": Named("linalg to kernels in gpu, memref, vector, arith and scf, and their launches",
                           (*PREPARE_GPU, *GPU)),
    "sparse-to-spirv": Named("the whole way to SPIR-V words and their launches: what espalier compile "
                             "--target vulkan runs", (*PREPARE_GPU, *GPU, *SPIRV)),
    "sparse-to-llvm": Named("the whole way to the LLVM dialect: what espalier compile runs",
                            (*PREPARE, *VECTOR, *BUFFERS, *ARENA, *LLVM)),
}
