"""The exported entry on tensors whose sizes a run decides."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from espalier.entry import digest_of
from espalier.errors import EspalierError
from espalier.pipelines.named import LLVM
from espalier.pipelines.parser import parse_pipeline
from espalier.pipelines.runner import Runner
from espalier.runtime.executors.jit import JitExecutor
from espalier.sparse_dialect.ir.mlir import ir

MANIFEST: dict[str, Any] = {
    "inputs": [{"name": "x", "shape": [-1, -1], "dtype": "float32"}],
    "outputs": [{"name": "y", "shape": [-1, -1], "dtype": "float32"}], "labels": [], "messages": [],
    "sizes": {"arena": 0, "scratch": 0, "stamps": 0, "weights": 4}}

# y[j][i] = x[i][j] + the weight, for x of free height and width
WEIGHT = np.array([0.5], np.float32)
TRANSPOSE = f"""
module attributes {{espalier.inputs = 1 : i64, espalier.weights = 4 : i64,
                    espalier.digest = "{digest_of(WEIGHT.data.cast('B'))}"}} {{""" + """
  func.func @transpose(%x: memref<?x?xf32>, %scratch: memref<?xi8>, %y: memref<?x?xf32>,
      %weights: memref<?xi8>, %failures: memref<?xi32>, %turn: memref<?xi64>, %stamps: memref<?xi64>,
      %thread: index, %threads: index, %arena: memref<?xi8>) {
    %0 = arith.constant 0 : index
    %1 = arith.constant 1 : index
    %view = memref.view %weights[%0][] : memref<?xi8> to memref<1xf32>
    %w = memref.load %view[%0] : memref<1xf32>
    %height = memref.dim %x, %0 : memref<?x?xf32>
    %width = memref.dim %x, %1 : memref<?x?xf32>
    scf.for %i = %0 to %height step %1 {
      scf.for %j = %0 to %width step %1 {
        %v = memref.load %x[%i, %j] : memref<?x?xf32>
        %sum = arith.addf %v, %w : f32
        memref.store %sum, %y[%j, %i] : memref<?x?xf32>
      }
    }
    return
  }
}
"""


def lowered(text: str) -> bytes:
    with ir.Context() as context, ir.Location.unknown():
        context.enable_multithreading(False)
        module = ir.Module.parse(text)
        Runner(parse_pipeline(f"builtin.module({','.join(LLVM)})")).run(module.operation)
        stream = io.BytesIO()
        module.operation.write_bytecode(stream)
        return stream.getvalue()


def test_free_sizes() -> None:
    executor = JitExecutor(lowered(TRANSPOSE), WEIGHT.view(np.uint8), MANIFEST)
    for height, width in ((2, 5), (7, 1), (0, 3)):
        x = np.random.default_rng(height).standard_normal((height, width)).astype(np.float32)
        y = np.full((width, height), np.nan, np.float32)
        executor.run([x], [y], 1)
        np.testing.assert_array_equal(y, x.T + WEIGHT)


def test_no_entry() -> None:
    code = lowered(TRANSPOSE.replace("@transpose", "@main")).replace(b"espalier_entry", b"espalier_other")
    with pytest.raises(EspalierError, match=r"does not load \(.*\); compile it again"):
        JitExecutor(code, np.zeros(4, np.uint8), MANIFEST)


def test_weights_shorter_than_the_code_needs() -> None:
    with pytest.raises(EspalierError, match="expected 4 bytes of weights, found 3; compile it again"):
        JitExecutor(lowered(TRANSPOSE), np.zeros(3, np.uint8), MANIFEST)
