// RUN: %espalier-opt --sparse-set-target="lanes=16" --sparse-prepare --split-input-file --verify-diagnostics %s

func.func @lanes(%x: tensor<1x8x6x6xf32>) -> tensor<1x8x6x6xf32> {
  %w = arith.constant dense<1.0> : tensor<8x8x3x3xf32>
  // expected-error @below {{expected a schedule with a grid of 16 lanes, those of the target, found [2, 2]; correct or leave out grid}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{grid = [2, 2]}>, record = #sparse.record<{}>}
      : (tensor<1x8x6x6xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x6x6xf32>
  return %y : tensor<1x8x6x6xf32>
}

// -----

func.func @registers(%x: tensor<1x8x6x6xf32>) -> tensor<1x8x6x6xf32> {
  %w = arith.constant dense<1.0> : tensor<8x8x3x3xf32>
  // expected-error @below {{expected a schedule with a tile of at most 3 lines, what registers hold, found [1, 1, 6]; correct or leave out tile}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{filters_per_group = 8, tile = [1, 1, 6]}>, record = #sparse.record<{}>}
      : (tensor<1x8x6x6xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x6x6xf32>
  return %y : tensor<1x8x6x6xf32>
}

// -----

func.func @family(%x: tensor<1x8x6x6xf32>) -> tensor<1x8x6x6xf32> {
  %w = arith.constant dense<1.0> : tensor<8x8x3x3xf32>
  // expected-error @below {{expected a schedule with micro_kernel = "kernel_classes" for a layer of scheme dense, found "sell"; correct or leave out micro_kernel}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{micro_kernel = "sell"}>, record = #sparse.record<{}>}
      : (tensor<1x8x6x6xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x6x6xf32>
  return %y : tensor<1x8x6x6xf32>
}

// -----

func.func @prefetch(%x: tensor<1x8x6x6xf32>) -> tensor<1x8x6x6xf32> {
  %w = arith.constant dense<1.0> : tensor<8x8x3x3xf32>
  // expected-error @below {{expected a schedule without prefetch beside mixed kernels, which read packed lines, found prefetch = true; leave out prefetch or mixed}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.pattern<[3, 3], [[0, 1, 2, 3, 4, 5, 6, 7, 8]]>, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{storage = "fkw", mixed = true, prefetch = true}>, record = #sparse.record<{}>}
      : (tensor<1x8x6x6xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x6x6xf32>
  return %y : tensor<1x8x6x6xf32>
}
