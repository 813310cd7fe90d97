// RUN: %espalier-opt --sparse-reorder-filters --split-input-file %s | FileCheck %s --check-prefixes=CHECK,BOTH
// RUN: %espalier-opt --sparse-reorder-filters=by-similarity=false --split-input-file %s \
// RUN:   | FileCheck %s --check-prefixes=LENGTH,BOTH

// PatDNN's figure: six filters of lengths 2, 3, 4, 2, 3, 4 become groups {0, 3}, {1, 4} and {2, 5}.

// BOTH-LABEL: func.func @figure
// BOTH: filter_order = array<i32: 0, 3, 1, 4, 2, 5>
// BOTH-SAME: kernel = "sparse"
func.func @figure(%x: tensor<1x6x2x2xf32>) -> tensor<1x6x2x2xf32> {
  %w = arith.constant dense<[[[[1.0]], [[0.0]], [[0.0]], [[1.0]], [[0.0]], [[0.0]]],
                             [[[0.0]], [[1.0]], [[1.0]], [[0.0]], [[1.0]], [[0.0]]],
                             [[[1.0]], [[1.0]], [[0.0]], [[1.0]], [[0.0]], [[1.0]]],
                             [[[1.0]], [[0.0]], [[1.0]], [[0.0]], [[0.0]], [[0.0]]],
                             [[[0.0]], [[1.0]], [[0.0]], [[1.0]], [[0.0]], [[1.0]]],
                             [[[0.0]], [[1.0]], [[1.0]], [[0.0]], [[1.0]], [[1.0]]]]> : tensor<6x6x1x1xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", kernel = "sparse", scheme = #sparse.connectivity<[1, 1]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (tensor<1x6x2x2xf32>, tensor<6x6x1x1xf32>) -> tensor<1x6x2x2xf32>
  return %y : tensor<1x6x2x2xf32>
}

// -----

// Four filters of one length: 0 and 3 keep the same channels, so do 1 and 2.

// CHECK-LABEL: func.func @similar
// CHECK: filter_order = array<i32: 0, 3, 1, 2>
// LENGTH-LABEL: func.func @similar
// LENGTH: filter_order = array<i32: 0, 1, 2, 3>
func.func @similar(%x: tensor<1x4x2x2xf32>) -> tensor<1x4x2x2xf32> {
  %w = arith.constant dense<[[[[1.0]], [[1.0]], [[0.0]], [[0.0]]],
                             [[[0.0]], [[0.0]], [[1.0]], [[1.0]]],
                             [[[0.0]], [[0.0]], [[2.0]], [[2.0]]],
                             [[[2.0]], [[2.0]], [[0.0]], [[0.0]]]]> : tensor<4x4x1x1xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", kernel = "sparse", scheme = #sparse.connectivity<[1, 1]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (tensor<1x4x2x2xf32>, tensor<4x4x1x1xf32>) -> tensor<1x4x2x2xf32>
  return %y : tensor<1x4x2x2xf32>
}

// -----

// What gets no order: dense layers (their storage keeps it), grouped convolutions (filters belong to their channels),
// unstructured ones, and linear layers.

// BOTH-LABEL: func.func @unordered
// BOTH-NOT: filter_order
// BOTH: return
func.func @unordered(%x: tensor<1x2x2x2xf32>, %v: tensor<1x2xf32>)
    -> (tensor<1x2x2x2xf32>, tensor<1x2x2x2xf32>, tensor<1x2x2x2xf32>, tensor<1x2xf32>) {
  %w = arith.constant dense<[[[[1.0]], [[2.0]]], [[[1.0]], [[0.0]]]]> : tensor<2x2x1x1xf32>
  %g = arith.constant dense<[[[[1.0]]], [[[0.0]]]]> : tensor<2x1x1x1xf32>
  %m = arith.constant dense<[[1.0, 2.0], [0.0, 1.0]]> : tensor<2x2xf32>
  %0 = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", kernel = "dense", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (tensor<1x2x2x2xf32>, tensor<2x2x1x1xf32>) -> tensor<1x2x2x2xf32>
  %1 = "sparse.conv"(%x, %g) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 2, activation = "none", kernel = "sparse", scheme = #sparse.connectivity<[1, 1]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (tensor<1x2x2x2xf32>, tensor<2x1x1x1xf32>) -> tensor<1x2x2x2xf32>
  %2 = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", kernel = "sparse", scheme = #sparse.unstructured,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (tensor<1x2x2x2xf32>, tensor<2x2x1x1xf32>) -> tensor<1x2x2x2xf32>
  %3 = "sparse.linear"(%v, %m) {activation = "none", kernel = "sparse", scheme = #sparse.unstructured,
      operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<1x2xf32>, tensor<2x2xf32>) -> tensor<1x2xf32>
  return %0, %1, %2, %3 : tensor<1x2x2x2xf32>, tensor<1x2x2x2xf32>, tensor<1x2x2x2xf32>, tensor<1x2xf32>
}
