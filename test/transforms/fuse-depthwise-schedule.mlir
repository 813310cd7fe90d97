// RUN: %espalier-opt --sparse-fuse-depthwise --split-input-file %s | FileCheck %s

// A schedule that says so fuses a tensor that is small, in the chunks that it asks for.

// CHECK-LABEL: func.func @pair
// CHECK: "sparse.packed_conv"
// CHECK-SAME: fused_into = "depthwise"
// CHECK-SAME: by_chunk = true, chunks = 2
// CHECK: "sparse.packed_conv"
// CHECK-SAME: micro_kernel = "fused_depthwise"
func.func @pair(%x: tensor<1x8x9x4xf32>) -> tensor<1x8x9x4xf32> {
  %w = arith.constant dense<1.0> : tensor<2x8x4xf32>
  %d = arith.constant dense<1.0> : tensor<8x1x9xf32>
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 4},
      storage_names = ["weight"], weight_shape = [8, 8, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1],
      input_layout = #sparse.lanes<[2, 2], [6, 6]>, output_layout = #sparse.lanes<[2, 2], [6, 6]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 4, by_chunk = true, chunks = 2}>, record = #sparse.record<{}>}
      : (tensor<1x8x9x4xf32>, tensor<2x8x4xf32>) -> tensor<1x8x9x4xf32>
  %z = "sparse.packed_conv"(%y, %d) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [8, 1, 3, 3], strides = [1, 1],
      padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1], groups = 8, activation = "none", scheme = #sparse.dense, pool = [1, 1],
      input_layout = #sparse.lanes<[2, 2], [6, 6]>, output_layout = #sparse.lanes<[2, 2], [6, 6]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{layer = "depthwise"}>}
      : (tensor<1x8x9x4xf32>, tensor<8x1x9xf32>) -> tensor<1x8x9x4xf32>
  return %z : tensor<1x8x9x4xf32>
}

// -----

// It was found for a network where that could be; here the value between the two is returned as well.

// CHECK-LABEL: func.func @two_readers
// CHECK: by_chunk = false
// CHECK-NOT: chunks =
// CHECK-NOT: fused_depthwise
func.func @two_readers(%x: tensor<1x8x9x4xf32>) -> (tensor<1x8x9x4xf32>, tensor<1x8x9x4xf32>) {
  %w = arith.constant dense<1.0> : tensor<2x8x4xf32>
  %d = arith.constant dense<1.0> : tensor<8x1x9xf32>
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 4},
      storage_names = ["weight"], weight_shape = [8, 8, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1],
      input_layout = #sparse.lanes<[2, 2], [6, 6]>, output_layout = #sparse.lanes<[2, 2], [6, 6]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 4, by_chunk = true, chunks = 2}>, record = #sparse.record<{}>}
      : (tensor<1x8x9x4xf32>, tensor<2x8x4xf32>) -> tensor<1x8x9x4xf32>
  %z = "sparse.packed_conv"(%y, %d) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [8, 1, 3, 3], strides = [1, 1],
      padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1], groups = 8, activation = "none", scheme = #sparse.dense, pool = [1, 1],
      input_layout = #sparse.lanes<[2, 2], [6, 6]>, output_layout = #sparse.lanes<[2, 2], [6, 6]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{layer = "depthwise"}>}
      : (tensor<1x8x9x4xf32>, tensor<8x1x9xf32>) -> tensor<1x8x9x4xf32>
  return %y, %z : tensor<1x8x9x4xf32>, tensor<1x8x9x4xf32>
}
