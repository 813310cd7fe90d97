// RUN: %espalier-opt --sparse-detect-schemes --split-input-file %s | FileCheck %s
// RUN: %espalier-opt --sparse-detect-schemes --sparse-detect-schemes --split-input-file %s | FileCheck %s

// Two patterns. Kernel (1, 1) has a kept weight that happens to be zero: the first pattern covers it.

// CHECK-LABEL: func.func @pattern
// CHECK: "sparse.conv"
// CHECK-SAME: reason = "{{.*}}not connectivity: kernel (0, 0) keeps 4 of 9 entries"
// CHECK-SAME: scheme = #sparse.pattern<[3, 3], {{\[\[}}0, 1, 3, 4], [1, 2, 4, 5]]>
func.func @pattern(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x2x2xf32> {
  %w = arith.constant dense<[
    [[[1.0, 2.0, 0.0], [3.0, 4.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]],
    [[[0.0, 1.0, 2.0], [0.0, 3.0, 4.0], [0.0, 0.0, 0.0]], [[5.0, 0.0, 0.0], [6.0, 7.0, 0.0], [0.0, 0.0, 0.0]]]
  ]> : tensor<2x2x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.undetected, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x4x4xf32>, tensor<2x2x3x3xf32>) -> tensor<1x2x2x2xf32>
  return %y : tensor<1x2x2x2xf32>
}

// -----

// Whole kernels are cut; zeros inside a kept one are kept.

// CHECK-LABEL: func.func @connectivity
// CHECK: "sparse.conv"
// CHECK-SAME: reason = "not kgs: no groups of 2 x 2 or more kernels keep the same places; not bcr: no blocks of 2 x 2 or more cut whole rows and columns; not structured: no filter and no channel is cut whole"}>, schedule = #sparse.schedule<{}>, scheme = #sparse.connectivity<[1, 3]>
func.func @connectivity(%x: tensor<1x2x3x3xf32>) -> tensor<1x2x3x1xf32> {
  %w = arith.constant dense<[[[[1.0, 2.0, 3.0]], [[0.0, 0.0, 0.0]]], [[[4.0, 5.0, 6.0]], [[7.0, 8.0, 9.0]]]]>
    : tensor<2x2x1x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.undetected, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x3x3xf32>, tensor<2x2x1x3xf32>) -> tensor<1x2x3x1xf32>
  return %y : tensor<1x2x3x1xf32>
}

// -----

// One place of one kernel is zero: not connectivity (nothing is cut), not a pattern (other kernels are full).

// CHECK-LABEL: func.func @irregular
// CHECK: "sparse.conv"
// CHECK-SAME: reason = "{{.*}}; not connectivity: no kernel is cut; not pattern: its kernels keep all 3 places{{.*}}"
// CHECK-SAME: scheme = #sparse.unstructured
func.func @irregular(%x: tensor<1x1x3x3xf32>) -> tensor<1x2x3x1xf32> {
  %w = arith.constant dense<[[[[1.0, 2.0, 3.0]]], [[[4.0, 0.0, 6.0]]]]> : tensor<2x1x1x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.undetected, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x1x3x3xf32>, tensor<2x1x1x3xf32>) -> tensor<1x2x3x1xf32>
  return %y : tensor<1x2x3x1xf32>
}

// -----

// Matrices have no kernels: unstructured or dense. A minus zero is a zero.

// CHECK-LABEL: func.func @matrices
// CHECK: "sparse.linear"
// CHECK-SAME: reason = "{{.*}}; not connectivity: a matrix has no kernels; not pattern: a matrix has no kernels; not n_m: {{.*}}"
// CHECK-SAME: scheme = #sparse.unstructured
// CHECK: "sparse.linear"
// CHECK-SAME: not unstructured: no weight is zero"}>, {{.*}}scheme = #sparse.dense
// CHECK: "sparse.linear"
// CHECK-SAME: not n_m: no weight is left"}>, {{.*}}scheme = #sparse.empty
func.func @matrices(%x: tensor<1x2xf32>) -> (tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>) {
  %u = arith.constant dense<[[1.0, -0.0], [0.0, 2.0]]> : tensor<2x2xf32>
  %v = arith.constant dense<1.0> : tensor<2x2xf32>
  %w = arith.constant dense<0.0> : tensor<2x2xf32>
  %0 = "sparse.linear"(%x, %u) {activation = "none", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xf32>, tensor<2x2xf32>) -> tensor<1x2xf32>
  %1 = "sparse.linear"(%x, %v) {activation = "none", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xf32>, tensor<2x2xf32>) -> tensor<1x2xf32>
  %2 = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xf32>, tensor<2x2xf32>) -> tensor<1x2xf32>
  return %0, %1, %2 : tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>
}

// -----

// A group of 4 x 2 kernels at place 1 alone; a matrix of which one whole column is kept.

// CHECK-LABEL: func.func @shared_columns
// CHECK: "sparse.conv"
// CHECK-SAME: record = #sparse.record<{}>, schedule = #sparse.schedule<{}>, scheme = #sparse.kgs<4 : i64, 2 : i64, [3]>
// CHECK: "sparse.linear"
// CHECK-SAME: reason = "not kgs: a matrix has no kernels; bcr fits, but is slower"}>, schedule = #sparse.schedule<{}>, scheme = #sparse.structured}
func.func @shared_columns(%x: tensor<1x2x4xf32>, %v: tensor<1x4xf32>) -> (tensor<1x4x2xf32>, tensor<1x4xf32>) {
  %g = arith.constant dense<[[[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]], [[0.0, 3.0, 0.0], [0.0, 4.0, 0.0]],
                             [[0.0, 5.0, 0.0], [0.0, 6.0, 0.0]], [[0.0, 7.0, 0.0], [0.0, 8.0, 0.0]]]> : tensor<4x2x3xf32>
  %b = arith.constant dense<[[0.0, 1.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0]]>
    : tensor<4x4xf32>
  %0 = "sparse.conv"(%x, %g) {strides = [1], padding_low = [0], padding_high = [0], dilations = [1],
      groups = 1, activation = "none", scheme = #sparse.undetected, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x4xf32>, tensor<4x2x3xf32>) -> tensor<1x4x2xf32>
  %1 = "sparse.linear"(%v, %b) {activation = "none", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x4xf32>, tensor<4x4xf32>) -> tensor<1x4xf32>
  return %0, %1 : tensor<1x4x2xf32>, tensor<1x4xf32>
}

// -----

// What carries a scheme keeps it, whatever its weight.

// CHECK-LABEL: func.func @known
// CHECK: "sparse.linear"
// CHECK-NOT: reason
// CHECK-SAME: scheme = #sparse.dense
func.func @known(%x: tensor<1x2xf32>, %w: tensor<2x2xf32>) -> tensor<1x2xf32> {
  %0 = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xf32>, tensor<2x2xf32>) -> tensor<1x2xf32>
  return %0 : tensor<1x2xf32>
}

// -----

// A group whose kernels differ in one place of eight; blocks of which one column is cut in one row only. A few such
// weights among many do not matter: these are too many.

// CHECK-LABEL: func.func @nearly_shared
// CHECK: "sparse.conv"
// CHECK-SAME: reason = "{{.*}}not kgs: no groups of 2 x 2 or more kernels keep the same places; {{.*}}"
// CHECK-SAME: scheme = #sparse.pattern<
// CHECK: "sparse.linear"
// CHECK-SAME: reason = "{{.*}}not kgs: a matrix has no kernels; not bcr: no blocks of 2 x 2 or more cut whole rows and columns; {{.*}}"
// CHECK-SAME: scheme = #sparse.unstructured
func.func @nearly_shared(%x: tensor<1x2x4xf32>, %v: tensor<1x4xf32>) -> (tensor<1x4x2xf32>, tensor<1x2xf32>) {
  %g = arith.constant dense<[[[0.0, 1.0, 0.0], [0.0, 2.0, 3.0]], [[0.0, 3.0, 0.0], [4.0, 4.0, 0.0]],
                             [[0.0, 5.0, 0.0], [0.0, 6.0, 6.0]], [[7.0, 7.0, 0.0], [0.0, 8.0, 0.0]]]> : tensor<4x2x3xf32>
  %b = arith.constant dense<[[0.0, 1.0, 2.0, 0.0], [3.0, 4.0, 0.0, 5.0]]> : tensor<2x4xf32>
  %0 = "sparse.conv"(%x, %g) {strides = [1], padding_low = [0], padding_high = [0], dilations = [1],
      groups = 1, activation = "none", scheme = #sparse.undetected, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x4xf32>, tensor<4x2x3xf32>) -> tensor<1x4x2xf32>
  %1 = "sparse.linear"(%v, %b) {activation = "none", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x4xf32>, tensor<2x4xf32>) -> tensor<1x2xf32>
  return %0, %1 : tensor<1x4x2xf32>, tensor<1x2xf32>
}

// -----

// Kernels of 3-D convolutions; three filters and three channels, which groups of two do not divide.

// CHECK-LABEL: func.func @volume
// CHECK: scheme = #sparse.kgs<2 : i64, 3 : i64, [1, 2, 1]>
func.func @volume(%x: tensor<1x3x1x2x1xf32>) -> tensor<1x3x1x1x1xf32> {
  %w = arith.constant dense<[[[[[1.0], [0.0]]], [[[2.0], [0.0]]], [[[3.0], [0.0]]]],
                             [[[[4.0], [0.0]]], [[[5.0], [0.0]]], [[[6.0], [0.0]]]],
                             [[[[0.0], [7.0]]], [[[0.0], [8.0]]], [[[0.0], [9.0]]]]]> : tensor<3x3x1x2x1xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1, 1], padding_low = [0, 0, 0], padding_high = [0, 0, 0],
      dilations = [1, 1, 1], groups = 1, activation = "none", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x3x1x2x1xf32>, tensor<3x3x1x2x1xf32>) -> tensor<1x3x1x1x1xf32>
  return %y : tensor<1x3x1x1x1xf32>
}
