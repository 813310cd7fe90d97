// RUN: %espalier-opt --sparse-reorder-filters --split-input-file %s | FileCheck %s --check-prefixes=CHECK,BOTH
// RUN: %espalier-opt --sparse-reorder-filters=by-similarity=false --split-input-file %s \
// RUN:   | FileCheck %s --check-prefixes=LENGTH,BOTH

// PatDNN's figure: six filters of lengths 2, 3, 4, 2, 3, 4 become groups {0, 3}, {1, 4} and {2, 5}.

// BOTH-LABEL: func.func @figure
// BOTH: filter_order = [0, 3, 1, 4, 2, 5]
func.func @figure(%x: tensor<1x6x2x2xf32>) -> tensor<1x6x2x2xf32> {
  %w = arith.constant dense<[[[[1.0]], [[0.0]], [[0.0]], [[1.0]], [[0.0]], [[0.0]]],
                             [[[0.0]], [[1.0]], [[1.0]], [[0.0]], [[1.0]], [[0.0]]],
                             [[[1.0]], [[1.0]], [[0.0]], [[1.0]], [[0.0]], [[1.0]]],
                             [[[1.0]], [[0.0]], [[1.0]], [[0.0]], [[0.0]], [[0.0]]],
                             [[[0.0]], [[1.0]], [[0.0]], [[1.0]], [[0.0]], [[1.0]]],
                             [[[0.0]], [[1.0]], [[1.0]], [[0.0]], [[1.0]], [[1.0]]]]> : tensor<6x6x1x1xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.connectivity<[1, 1]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x6x2x2xf32>, tensor<6x6x1x1xf32>) -> tensor<1x6x2x2xf32>
  return %y : tensor<1x6x2x2xf32>
}

// -----

// Four filters of one length: 0 and 3 keep the same channels, so do 1 and 2.

// CHECK-LABEL: func.func @similar
// CHECK: filter_order = [0, 3, 1, 2]
// LENGTH-LABEL: func.func @similar
// LENGTH: filter_order = [0, 1, 2, 3]
func.func @similar(%x: tensor<1x4x2x2xf32>) -> tensor<1x4x2x2xf32> {
  %w = arith.constant dense<[[[[1.0]], [[1.0]], [[0.0]], [[0.0]]],
                             [[[0.0]], [[0.0]], [[1.0]], [[1.0]]],
                             [[[0.0]], [[0.0]], [[2.0]], [[2.0]]],
                             [[[2.0]], [[2.0]], [[0.0]], [[0.0]]]]> : tensor<4x4x1x1xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.connectivity<[1, 1]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x4x2x2xf32>, tensor<4x4x1x1xf32>) -> tensor<1x4x2x2xf32>
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
      groups = 1, activation = "none", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2x2x2xf32>, tensor<2x2x1x1xf32>) -> tensor<1x2x2x2xf32>
  %1 = "sparse.conv"(%x, %g) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 2, activation = "none", scheme = #sparse.connectivity<[1, 1]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2x2x2xf32>, tensor<2x1x1x1xf32>) -> tensor<1x2x2x2xf32>
  %2 = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.unstructured,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2x2x2xf32>, tensor<2x2x1x1xf32>) -> tensor<1x2x2x2xf32>
  %3 = "sparse.linear"(%v, %m) {activation = "none", scheme = #sparse.unstructured,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xf32>, tensor<2x2xf32>) -> tensor<1x2xf32>
  return %0, %1, %2, %3 : tensor<1x2x2x2xf32>, tensor<1x2x2x2xf32>, tensor<1x2x2x2xf32>, tensor<1x2xf32>
}

// -----

// Filters that share columns come in groups, the longest first, whatever the option. Empty filters are a group too.

// BOTH-LABEL: func.func @kgs
// BOTH: filter_order = [2, 3, 0, 1, 4, 5, 6, 7], filters_per_group = 2 : i64
func.func @kgs(%x: tensor<1x2x4xf32>) -> tensor<1x8x2xf32> {
  %w = arith.constant dense<[[[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]], [[0.0, 3.0, 0.0], [0.0, 4.0, 0.0]],
                             [[5.0, 0.0, 6.0], [7.0, 0.0, 8.0]], [[9.0, 0.0, 1.0], [2.0, 0.0, 3.0]],
                             [[0.0, 4.0, 0.0], [0.0, 5.0, 0.0]], [[0.0, 6.0, 0.0], [0.0, 7.0, 0.0]],
                             [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]> : tensor<8x2x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1], padding_low = [0], padding_high = [0], dilations = [1],
      groups = 1, activation = "none", scheme = #sparse.kgs<2 : i64, 2 : i64, [3]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2x4xf32>, tensor<8x2x3xf32>) -> tensor<1x8x2xf32>
  return %y : tensor<1x8x2xf32>
}

// -----

// GRIM's matrix reorder: rows 0 and 2 keep one set of columns, 1 and 3 another.

// BOTH-LABEL: func.func @block
// BOTH: filter_order = [0, 2, 1, 3], filters_per_group = 2 : i64
func.func @block(%x: tensor<1x4x2x2xf32>) -> tensor<1x4x2x2xf32> {
  %w = arith.constant dense<[[[[1.0]], [[0.0]], [[2.0]], [[0.0]]], [[[0.0]], [[5.0]], [[0.0]], [[6.0]]],
                             [[[3.0]], [[0.0]], [[4.0]], [[0.0]]], [[[0.0]], [[7.0]], [[0.0]], [[8.0]]]]> : tensor<4x4x1x1xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.bcr<2 : i64, 2 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x4x2x2xf32>, tensor<4x4x1x1xf32>) -> tensor<1x4x2x2xf32>
  return %y : tensor<1x4x2x2xf32>
}

// -----

// Three filters in groups of two: the last group repeats its only filter. Filters of both groups of a grouped
// convolution never share a column.

// BOTH-LABEL: func.func @leftovers
// BOTH: filter_order = [0, 2, 1, 1], filters_per_group = 2 : i64
// BOTH: groups = 2 : i64{{.*}}filter_order = [0, 1, 2, 3], filters_per_group = 2 : i64
func.func @leftovers(%x: tensor<1x4x2x2xf32>) -> (tensor<1x3x2x2xf32>, tensor<1x4x2x2xf32>) {
  %w = arith.constant dense<[[[[1.0]], [[0.0]], [[2.0]], [[0.0]]], [[[0.0]], [[5.0]], [[0.0]], [[0.0]]],
                             [[[3.0]], [[0.0]], [[4.0]], [[0.0]]]]> : tensor<3x4x1x1xf32>
  %g = arith.constant dense<[[[[1.0]], [[0.0]]], [[[2.0]], [[0.0]]], [[[3.0]], [[0.0]]], [[[4.0]], [[0.0]]]]> : tensor<4x2x1x1xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.bcr<2 : i64, 2 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x4x2x2xf32>, tensor<3x4x1x1xf32>) -> tensor<1x3x2x2xf32>
  %z = "sparse.conv"(%x, %g) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 2, activation = "none", scheme = #sparse.bcr<2 : i64, 2 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x4x2x2xf32>, tensor<4x2x1x1xf32>) -> tensor<1x4x2x2xf32>
  return %y, %z : tensor<1x3x2x2xf32>, tensor<1x4x2x2xf32>
}
