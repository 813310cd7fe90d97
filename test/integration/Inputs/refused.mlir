func.func @main(%x: tensor<1x8x6x6xf32>) -> tensor<1x8x6x6xf32> {
  %w = arith.constant dense<1.0> : tensor<8x8x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{micro_kernel = "sell"}>, record = #sparse.record<{}>}
      : (tensor<1x8x6x6xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x6x6xf32>
  return %y : tensor<1x8x6x6xf32>
}
