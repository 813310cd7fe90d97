// RUN: %espalier-opt --sparse-detect-schemes --split-input-file --verify-diagnostics %s

func.func @nan(%x: tensor<1x2xf32>) -> tensor<1x1xf32> {
  %w = arith.constant dense<[[1.0, 0x7FC00000]]> : tensor<1x2xf32>
  // expected-error @below {{'sparse.linear' expected finite weights, found NaN; repair the weights before compiling}}
  %0 = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xf32>, tensor<1x2xf32>) -> tensor<1x1xf32>
  return %0 : tensor<1x1xf32>
}

// -----

func.func @infinity(%x: tensor<1x2xf32>) -> tensor<1x1xf32> {
  %w = arith.constant dense<[[0xFF800000, 1.0]]> : tensor<1x2xf32>
  // expected-error @below {{'sparse.linear' expected finite weights, found infinity}}
  %0 = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xf32>, tensor<1x2xf32>) -> tensor<1x1xf32>
  return %0 : tensor<1x1xf32>
}

// -----

func.func @runtime(%x: tensor<1x1x2x2xf32>, %w: tensor<1x1x1x1xf32>) -> tensor<1x1x2x2xf32> {
  // expected-error @below {{'sparse.conv' expected a constant weight, found a weight computed at run time}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.undetected, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x1x2x2xf32>, tensor<1x1x1x1xf32>) -> tensor<1x1x2x2xf32>
  return %y : tensor<1x1x2x2xf32>
}
