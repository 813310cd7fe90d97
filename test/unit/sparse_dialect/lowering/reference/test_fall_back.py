"""Layers that no micro-kernel covers run by the reference, and the report says why."""

from __future__ import annotations

from pathlib import Path

import espalier
import numpy as np
import pytest
from espalier.sparse_dialect.lowering.reference.lower_to_reference import LowerToReferencePass

FOUR = """
func.func @main(%x: tensor<1x2x3x3x3x3xf32>) -> tensor<1x3x2x2x2x2xf32> {
  %w = arith.constant dense<0.5> : tensor<3x2x2x2x2x2xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1, 1, 1], padding_low = [0, 0, 0, 0], padding_high = [0, 0, 0, 0],
      dilations = [1, 1, 1, 1], groups = 1, activation = "relu", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x3x3x3x3xf32>, tensor<3x2x2x2x2x2xf32>) -> tensor<1x3x2x2x2x2xf32>
  return %y : tensor<1x3x2x2x2x2xf32>
}
"""
RUN_TIME = """
func.func @main(%x: tensor<2x3xf32>, %w: tensor<4x3xf32>, %b: tensor<4xf32>) -> tensor<2x4xf32> {
  %y = "sparse.linear"(%x, WEIGHT, %b) {activation = "none", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 1>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<2x3xf32>, tensor<4x3xf32>, tensor<4xf32>) -> tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}
"""


def compiled(text: str, path: Path) -> espalier.CompiledModel:
    path.write_text(text)
    return espalier.compile(str(path))


def test_a_convolution_of_four_dimensions(tmp_path: Path) -> None:
    model = compiled(FOUR, tmp_path / "four.mlir")
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 3, 3, 3)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2, 2, 2), (2, 3, 4, 5))
    expected = np.maximum(0.5 * windows.sum(axis=(1, 6, 7, 8, 9)), 0)[:, None].repeat(3, axis=1)
    np.testing.assert_allclose(np.asarray(model(x)), expected, atol=1e-5)
    (layer,) = model.layers
    assert layer.kernel == "reference"
    assert layer.reason == "reference: no kernel for a convolution of 4 dimensions"


@pytest.mark.parametrize("what", ["weight", "bias"])
def test_weights_and_biases_that_are_computed_at_run_time(tmp_path: Path, what: str) -> None:
    text = RUN_TIME.replace("WEIGHT", "%w" if what == "weight" else "%c")
    text = text.replace("  %y", "  %c = arith.constant dense<0.5> : tensor<4x3xf32>\n  %y", 1)
    model = compiled(text, tmp_path / "linear.mlir")
    random = np.random.default_rng(0)
    x, w, b = (random.standard_normal(shape).astype(np.float32) for shape in ((2, 3), (4, 3), (4,)))
    expected = x @ (w if what == "weight" else np.full((4, 3), 0.5, np.float32)).T + b
    np.testing.assert_allclose(np.asarray(model(x, w, b)), expected, atol=1e-5)
    (layer,) = model.layers
    assert layer.reason == f"reference: no kernel for a {what} computed at run time"


def test_layers_are_chosen_by_one_rule() -> None:
    with pytest.raises(espalier.EspalierError, match=r"give either uncovered, .* or beyond"):
        LowerToReferencePass(uncovered=True, beyond=1)
