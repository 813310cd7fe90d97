// RUN: %espalier-opt --sparse-schedule-tiles --sparse-lower-to-vector --split-input-file --verify-diagnostics %s

func.func @no_layout(%x: tensor<1x1x6x6xf32>) -> tensor<1x1x6x6xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1x1xf32>
  // expected-error @below {{'sparse.packed_conv' expected a lane grid, found a row-major layout; run sparse-assign-layouts first}}
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x6x6xf32>, tensor<1x1x1xf32>) -> tensor<1x1x6x6xf32>
  return %y : tensor<1x1x6x6xf32>
}

// -----

func.func @four_dimensions(%x: tensor<1x1x2x2x2x2xf32>) -> tensor<1x1x2x2x2x2xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1x1xf32>
  // expected-error @below {{'sparse.packed_conv' expected a convolution of one to three dimensions, found one of 4; leave it in linalg}}
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1, 1, 1],
      strides = [1, 1, 1, 1], padding_low = [0, 0, 0, 0], padding_high = [0, 0, 0, 0], dilations = [1, 1, 1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense,
      pool = [1, 1, 1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x2x2x2x2xf32>, tensor<1x1x1xf32>) -> tensor<1x1x2x2x2x2xf32>
  return %y : tensor<1x1x2x2x2x2xf32>
}

// -----

func.func @runtime_bias(%x: tensor<1x2xf32>, %b: tensor<3xf32>) -> tensor<1x3xf32> {
  %w = arith.constant dense<1.0> : tensor<1x2x4x4xf32>
  // expected-error @below {{'sparse.packed_linear' expected a constant bias, found a bias computed at run time}}
  %y = "sparse.packed_linear"(%x, %b, %w) {packing = {storage = "dense_rows", lanes = 4, vectors = 4, gates = 1},
      storage_names = ["weight"], weight_shape = [3, 2], activation = "none",
      scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2xf32>, tensor<3xf32>, tensor<1x2x4x4xf32>) -> tensor<1x3xf32>
  return %y : tensor<1x3xf32>
}
