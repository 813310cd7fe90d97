// RUN: %espalier-opt --sparse-to-gpu --split-input-file %s | FileCheck %s

// What the schedule says about the tile is obeyed: two rows of one vector, for two filters.
// CHECK: espalier.facts
// CHECK-SAME: mapping = "2x4 pixels x 2 filters"
func.func @main(%x: tensor<1x2x8x8xf32>) -> tensor<1x2x8x8xf32> {
  %w = arith.constant dense<0.5> : tensor<2x2x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1 : i64, activation = "relu", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{tile = [2, 4]}>, record = #sparse.record<{}>}
      : (tensor<1x2x8x8xf32>, tensor<2x2x3x3xf32>) -> tensor<1x2x8x8xf32>
  return %y : tensor<1x2x8x8xf32>
}

// -----

// Filters of a thread and threads of a workgroup, too.
// CHECK: workgroup_size = [128, 1, 1]
// CHECK: espalier.facts
// CHECK-SAME: mapping = "1x4 pixels x 1 filters"
func.func @main(%x: tensor<1x2x8x8xf32>) -> tensor<1x2x8x8xf32> {
  %w = arith.constant dense<0.5> : tensor<2x2x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1 : i64, activation = "relu", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{tile = [1, 4], filters = 1 : i64, threads = 128 : i64}>, record = #sparse.record<{}>}
      : (tensor<1x2x8x8xf32>, tensor<2x2x3x3xf32>) -> tensor<1x2x8x8xf32>
  return %y : tensor<1x2x8x8xf32>
}

// -----

// Workgroups go through the places of a filter, or through the filters of a place.
// CHECK: func.func @main
// CHECK: blocks in (%c16, %c2, %c1)
func.func @main(%x: tensor<1x2x64x64xf32>) -> tensor<1x2x64x64xf32> {
  %w = arith.constant dense<0.5> : tensor<2x2x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1 : i64, activation = "relu", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{tile = [1, 4], filters = 1 : i64}>, record = #sparse.record<{}>}
      : (tensor<1x2x64x64xf32>, tensor<2x2x3x3xf32>) -> tensor<1x2x64x64xf32>
  return %y : tensor<1x2x64x64xf32>
}

// -----

// CHECK: func.func @main
// CHECK: blocks in (%c2, %c16, %c1)
func.func @main(%x: tensor<1x2x64x64xf32>) -> tensor<1x2x64x64xf32> {
  %w = arith.constant dense<0.5> : tensor<2x2x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1 : i64, activation = "relu", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{tile = [1, 4], filters = 1 : i64, filters_first = true}>, record = #sparse.record<{}>}
      : (tensor<1x2x64x64xf32>, tensor<2x2x3x3xf32>) -> tensor<1x2x64x64xf32>
  return %y : tensor<1x2x64x64xf32>
}
