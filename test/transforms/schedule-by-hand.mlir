// RUN: %espalier-opt --sparse-set-target="lanes=16" --sparse-prepare %s | FileCheck %s

// What a hand-written schedule says is obeyed; the rest is filled in.
// CHECK-LABEL: @obeyed
// CHECK: schedule = #sparse.schedule<{by_chunk = false, channel_block = 4 : i64, chunks = 2 : i64, filters_per_group = 2 : i64, grid = [2, 8], micro_kernel = "kernel_classes", prefetch = false, storage = "dense_kernels", tile = [1, 1, 1]}>

func.func @obeyed(%x: tensor<1x8x6x6xf32>) -> tensor<1x8x6x6xf32> {
  %w = arith.constant dense<1.0> : tensor<8x8x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{filters_per_group = 2, channel_block = 4, chunks = 2, grid = [2, 8], tile = [1, 1, 1]}>, record = #sparse.record<{}>}
      : (tensor<1x8x6x6xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x6x6xf32>
  return %y : tensor<1x8x6x6xf32>
}
