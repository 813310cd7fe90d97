// RUN: %espalier-opt --sparse-set-target=precision=fp16 --sparse-halve-precision --split-input-file --verify-diagnostics %s

func.func @large_weight(%x: tensor<1x1x9x4xf32>) -> tensor<1x1x9x4xf32> {
  %w = arith.constant dense<-70000.0> : tensor<1x1x1xf32>
  // expected-error @+1 {{'sparse.packed_conv' expected weights up to 65504, all that f16 holds, found 70000; compile it in fp32}}
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1], padding_low = [0, 0],
      padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1],
      input_layout = #sparse.lanes<[2, 2], [6, 6]>, output_layout = #sparse.lanes<[2, 2], [6, 6]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{layer = "conv"}>}
      : (tensor<1x1x9x4xf32>, tensor<1x1x1xf32>) -> tensor<1x1x9x4xf32>
  return %y : tensor<1x1x9x4xf32>
}

// -----

func.func @unknown_weight(%x: tensor<1x1x9x4xf32>, %w: tensor<1x1x1xf32>) -> tensor<1x1x9x4xf32> {
  // expected-error @+1 {{'sparse.packed_conv' expected a constant weight}}
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1], padding_low = [0, 0],
      padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1],
      input_layout = #sparse.lanes<[2, 2], [6, 6]>, output_layout = #sparse.lanes<[2, 2], [6, 6]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{layer = "conv"}>}
      : (tensor<1x1x9x4xf32>, tensor<1x1x1xf32>) -> tensor<1x1x9x4xf32>
  return %y : tensor<1x1x9x4xf32>
}

// -----

func.func @reader_without_lanes(%x: tensor<1x1x6x6xf32>) -> tensor<36xf32> {
  %l = "sparse.lift"(%x) {layout = #sparse.lanes<[2, 2], [6, 6]>} : (tensor<1x1x6x6xf32>) -> tensor<1x1x9x4xf32>
  // expected-error @+1 {{'tensor.collapse_shape' expected f32 operands, found a tensor on a lane grid}}
  %y = tensor.collapse_shape %l [[0, 1, 2, 3]] : tensor<1x1x9x4xf32> into tensor<36xf32>
  return %y : tensor<36xf32>
}
