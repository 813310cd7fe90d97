// RUN: %espalier-opt --sparse-compress-weights --split-input-file --verify-diagnostics %s

func.func @undetected(%x: tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1x1x1xf32>
  // expected-error @below {{'sparse.conv' expected a sparsity scheme, found #sparse.undetected; run sparse-detect-schemes first}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.undetected, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x1x2x2xf32>, tensor<1x1x1x1xf32>) -> tensor<1x1x2x2xf32>
  return %y : tensor<1x1x2x2xf32>
}

// -----

func.func @runtime(%x: tensor<1x1x2x2xf32>, %w: tensor<1x1x1x1xf32>) -> tensor<1x1x2x2xf32> {
  // expected-error @below {{'sparse.conv' expected a constant weight, found a weight computed at run time; fold it into a constant first}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.connectivity<[1, 1]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x1x2x2xf32>, tensor<1x1x1x1xf32>) -> tensor<1x1x2x2xf32>
  return %y : tensor<1x1x2x2xf32>
}

// -----

// A filter of a group of two is missing.

func.func @missing(%x: tensor<1x4x2x2xf32>) -> tensor<1x4x2x2xf32> {
  %w = arith.constant dense<[[[[1.0]], [[0.0]], [[2.0]], [[0.0]]], [[[0.0]], [[5.0]], [[0.0]], [[6.0]]],
                             [[[3.0]], [[0.0]], [[4.0]], [[0.0]]], [[[0.0]], [[7.0]], [[0.0]], [[8.0]]]]> : tensor<4x4x1x1xf32>
  // expected-error @below {{'sparse.conv' op has an impossible schedule: expected a filter_order of all 4 filters, found [0, 2, 1]}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.bcr<2 : i64, 2 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{filter_order = [0, 2, 1], filters_per_group = 2 : i64}>, record = #sparse.record<{}>} : (tensor<1x4x2x2xf32>, tensor<4x4x1x1xf32>) -> tensor<1x4x2x2xf32>
  return %y : tensor<1x4x2x2xf32>
}

// -----

func.func @another(%x: tensor<1x4x2x2xf32>) -> tensor<1x4x2x2xf32> {
  %w = arith.constant dense<[[[[1.0]], [[0.0]], [[2.0]], [[0.0]]], [[[0.0]], [[5.0]], [[0.0]], [[6.0]]],
                             [[[3.0]], [[0.0]], [[4.0]], [[0.0]]], [[[0.0]], [[7.0]], [[0.0]], [[8.0]]]]> : tensor<4x4x1x1xf32>
  // expected-error @below {{'sparse.conv' op has an impossible schedule: expected a filter_order of all 4 filters, found [0, 2, 1, 1]}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.bcr<2 : i64, 2 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{filter_order = [0, 2, 1, 1], filters_per_group = 2 : i64}>, record = #sparse.record<{}>} : (tensor<1x4x2x2xf32>, tensor<4x4x1x1xf32>) -> tensor<1x4x2x2xf32>
  return %y : tensor<1x4x2x2xf32>
}
