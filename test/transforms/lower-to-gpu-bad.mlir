// RUN: %espalier-opt --sparse-to-gpu --split-input-file --verify-diagnostics %s

// What has no GPU kernel is an error with its place: nothing falls back to the CPU.
func.func @main(%x: tensor<1x2x8x8xf32>) -> tensor<1x2x8x8xf32> {
  // expected-error @below {{'linalg.generic' expected a convolution, a linear or recurrent layer, a pool, or elementwise operations on f32, found 'math.erf' in its body; there is no GPU kernel for it; compile for a CPU}}
  %y = math.erf %x : tensor<1x2x8x8xf32>
  return %y : tensor<1x2x8x8xf32>
}

// -----

func.func @main(%x: tensor<2x8xf32>) -> tensor<2x1xf32> {
  %zero = arith.constant dense<0.0> : tensor<2x1xf32>
  // expected-error @below {{elementwise operations on f32, found a reduction, several results, or a result in another order}}
  %y = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, 0)>],
                       iterator_types = ["parallel", "reduction"]} ins(%x : tensor<2x8xf32>) outs(%zero : tensor<2x1xf32>) {
  ^bb0(%a: f32, %b: f32):
    %sum = arith.addf %a, %b : f32
    linalg.yield %sum : f32
  } -> tensor<2x1xf32>
  return %y : tensor<2x1xf32>
}

// -----

func.func @main(%x: tensor<1x2x8xf32>) -> tensor<2x2x8xf32> {
  // expected-error @below {{'tensor.concat' expected a concatenation of channels, found another; compile for a CPU}}
  %y = tensor.concat dim(0) %x, %x : (tensor<1x2x8xf32>, tensor<1x2x8xf32>) -> tensor<2x2x8xf32>
  return %y : tensor<2x2x8xf32>
}

// -----

func.func @main(%x: tensor<1x2x8xf32>) -> tensor<1x2x4xf32> {
  // expected-error @below {{'tensor.extract_slice' expected a slice of channels}}
  %y = tensor.extract_slice %x[0, 0, 0] [1, 2, 4] [1, 1, 1] : tensor<1x2x8xf32> to tensor<1x2x4xf32>
  return %y : tensor<1x2x4xf32>
}

// -----

// expected-error @below {{'func.func' expected f32 tensors of two to 5 dimensions of fixed sizes, found tensor<2x8xf64>}}
func.func @main(%x: tensor<2x8xf64>) -> tensor<2x8xf64> {
  return %x : tensor<2x8xf64>
}

// -----

func.func @main(%x: tensor<1x2x8x8xf32>) -> tensor<1x2x8x8xf32> {
  %w = arith.constant dense<0.5> : tensor<2x2x3x3xf32>
  // expected-error @below {{'sparse.packed_conv' expected a tile of rows, and columns in fours, with (rows - 1) x stride of at most 14, found [2, 6]}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1 : i64, activation = "relu", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{tile = [2, 6]}>, record = #sparse.record<{}>}
      : (tensor<1x2x8x8xf32>, tensor<2x2x3x3xf32>) -> tensor<1x2x8x8xf32>
  return %y : tensor<1x2x8x8xf32>
}
