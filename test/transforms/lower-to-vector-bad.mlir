// RUN: %espalier-opt --sparse-lower-to-vector --split-input-file --verify-diagnostics %s

func.func @no_layout(%x: tensor<1x1x6x6xf32>) -> tensor<1x1x6x6xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1x1xf32>
  // expected-error @below {{'sparse.packed_conv' expected a lane grid, found a row-major layout; run sparse-assign-layouts first}}
  %y = "sparse.packed_conv"(%x, %w) {storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, kernel = "dense", filters_per_group = 1, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x1x6x6xf32>, tensor<1x1x1xf32>) -> tensor<1x1x6x6xf32>
  return %y : tensor<1x1x6x6xf32>
}

// -----

func.func @four_dimensions(%x: tensor<1x1x2x2x2x2xf32>) -> tensor<1x1x2x2x2x2xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1x1xf32>
  // expected-error @below {{'sparse.packed_conv' expected a convolution of one to three dimensions, found one of 4; leave it in linalg}}
  %y = "sparse.packed_conv"(%x, %w) {storage_names = ["weight"], weight_shape = [1, 1, 1, 1, 1, 1],
      strides = [1, 1, 1, 1], padding_low = [0, 0, 0, 0], padding_high = [0, 0, 0, 0], dilations = [1, 1, 1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, kernel = "dense", filters_per_group = 1,
      pool = [1, 1, 1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x1x2x2x2x2xf32>, tensor<1x1x1xf32>) -> tensor<1x1x2x2x2x2xf32>
  return %y : tensor<1x1x2x2x2x2xf32>
}

// -----

func.func @runtime_bias(%x: tensor<1x2xf32>, %b: tensor<3xf32>) -> tensor<1x3xf32> {
  %w = arith.constant dense<1.0> : tensor<1x2x4x4xf32>
  // expected-error @below {{'sparse.packed_linear' expected a constant bias, found a bias computed at run time}}
  %y = "sparse.packed_linear"(%x, %b, %w) {storage_names = ["weight"], weight_shape = [3, 2], activation = "none",
      scheme = #sparse.dense, kernel = "dense", operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x2xf32>, tensor<3xf32>, tensor<1x2x4x4xf32>) -> tensor<1x3xf32>
  return %y : tensor<1x3xf32>
}

// -----

// Arrays of slices without what says how to read them.

func.func @slices(%x: tensor<1x8xf32>) -> tensor<1x4xf32> {
  %edges = arith.constant dense<[0, 1]> : tensor<2xi32>
  %place = arith.constant dense<0> : tensor<1x16xi8>
  %advance = arith.constant dense<0> : tensor<1xi8>
  %w = arith.constant dense<0.0> : tensor<1x4x16xf32>
  // expected-error @below {{'sparse.packed_linear' expected an attribute 'slices', found none; pack it with sparse-compress-weights}}
  %y = "sparse.packed_linear"(%x, %edges, %edges, %place, %advance, %place, %w) {
      storage_names = ["edges", "start", "place", "advance", "index", "weight"],
      weight_shape = [4, 8], activation = "none", scheme = #sparse.unstructured, kernel = "sparse",
      operandSegmentSizes = array<i32: 1, 0, 1, 1, 1, 1, 1, 1, 0, 0>}
      : (tensor<1x8xf32>, tensor<2xi32>, tensor<2xi32>, tensor<1x16xi8>, tensor<1xi8>, tensor<1x16xi8>,
         tensor<1x4x16xf32>) -> tensor<1x4xf32>
  return %y : tensor<1x4xf32>
}

// -----

// Kernel groups in FKW's arrays.

func.func @columns(%x: tensor<1x1x6x6xf32>) -> tensor<1x1x6x6xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1x1xf32>
  // expected-error @below {{'sparse.packed_conv' expected the arrays start, reorder, gap, weight, found weight; pack it with sparse-compress-weights}}
  %y = "sparse.packed_conv"(%x, %w) {storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.kgs<8 : i64, 4 : i64, [1, 1]>, kernel = "sparse", filters_per_group = 1, pool = [1, 1],
      input_layout = #sparse.lanes<[4, 4], [6, 6]>, output_layout = #sparse.lanes<[4, 4], [6, 6]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x1x6x6xf32>, tensor<1x1x1xf32>) -> tensor<1x1x6x6xf32>
  return %y : tensor<1x1x6x6xf32>
}

// -----

// Kernels of depth 2, packed as if they had one slice.

func.func @slices(%x: tensor<1x1x2x6x6xf32>) -> tensor<1x1x1x6x6xf32> {
  %s = arith.constant dense<[0, 2]> : tensor<2xi32>
  %r = arith.constant dense<0> : tensor<1xi16>
  %g = arith.constant dense<[0, 1]> : tensor<2xi8>
  %w = arith.constant dense<1.0> : tensor<2x1x1xf32>
  // expected-error @below {{'sparse.packed_conv' expected the arrays start, reorder, gap, weight, before, found start, reorder, gap, weight; pack it with sparse-compress-weights}}
  %y = "sparse.packed_conv"(%x, %s, %r, %g, %w) {storage_names = ["start", "reorder", "gap", "weight"],
      weight_shape = [1, 1, 2, 1, 1], strides = [1, 1, 1], padding_low = [0, 0, 0], padding_high = [0, 0, 0],
      dilations = [1, 1, 1], groups = 1, activation = "none",
      scheme = #sparse.kgs<1 : i64, 1 : i64, [2, 1, 1]>, kernel = "sparse", filters_per_group = 1,
      pool = [1, 1, 1], input_layout = #sparse.lanes<[4, 4], [2, 6, 6]>, output_layout = #sparse.lanes<[4, 4], [1, 6, 6]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0>}
      : (tensor<1x1x2x6x6xf32>, tensor<2xi32>, tensor<1xi16>, tensor<2xi8>, tensor<2x1x1xf32>) -> tensor<1x1x1x6x6xf32>
  return %y : tensor<1x1x1x6x6xf32>
}
