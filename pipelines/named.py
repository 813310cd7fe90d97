"""Named pipelines: each a tuple of pipeline elements, composed from others.

The names stand wherever a pass name may stand on ``builtin.module`` and are replaced by their elements.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Named:
    """A documented list of pipeline elements on ``builtin.module``."""

    doc: str
    elements: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.elements)


PREPARE = ("sparse-raise-linalg", "sparse-detect-schemes", "sparse-select-kernels", "sparse-reorder-filters",
           "sparse-compress-weights", "sparse-assign-layouts")
TO_VECTOR = (*PREPARE, "sparse-lower-to-vector", "sparse-eliminate-redundant-loads")
TO_LOOPS = (*TO_VECTOR,
            "one-shot-bufferize{bufferize-function-boundaries=true "
            "function-boundary-type-conversion=identity-layout-map}",
            "func.func(convert-linalg-to-loops)", "sparse-plan-memory")
TO_LLVM = (*TO_LOOPS, "convert-vector-to-scf", "convert-scf-to-cf", "expand-strided-metadata", "lower-affine",
           "convert-vector-to-llvm", "finalize-memref-to-llvm", "convert-to-llvm",
           "reconcile-unrealized-casts", "canonicalize", "cse")

PIPELINES = {
    "sparse-prepare": Named("linalg to packed sparse ops with layouts, on tensors", PREPARE),
    "sparse-to-vector": Named("sparse-prepare, then vector code with redundant loads removed", TO_VECTOR),
    "sparse-to-loops": Named("sparse-to-vector, then buffers, loops and one arena", TO_LOOPS),
    "sparse-to-llvm": Named("the whole way to the LLVM dialect for the host CPU", TO_LLVM),
}
