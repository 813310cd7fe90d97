// Every verifier's complaint, at its location, with what was expected and what was found.
// RUN: %espalier-opt %s --split-input-file --verify-diagnostics

func.func @no_segments(%x: tensor<1x2xf32>, %w: tensor<3x2xf32>) {
  // expected-error @below {{'sparse.linear' op requires attribute 'operandSegmentSizes'}}
  %0 = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.dense,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2xf32>, tensor<3x2xf32>) -> tensor<1x3xf32>
  return
}

// -----

func.func @segments(%x: tensor<1x2xf32>, %w: tensor<3x2xf32>) {
  // expected-error @below {{expected operandSegmentSizes that add up to 2 operands, found [1, 1, 1]}}
  %0 = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 1>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xf32>, tensor<3x2xf32>) -> tensor<1x3xf32>
  return
}

// -----

func.func @missing(%x: tensor<1x2xf32>, %w: tensor<3x2xf32>) {
  // expected-error @below {{requires attribute 'activation'}}
  %0 = "sparse.linear"(%x, %w) {scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2xf32>, tensor<3x2xf32>) -> tensor<1x3xf32>
  return
}

// -----

func.func @kind(%x: tensor<1x2xf32>, %w: tensor<3x2xf32>) {
  // expected-error @below {{expected attribute 'activation' to be a string, found 3 : i64}}
  %0 = "sparse.linear"(%x, %w) {activation = 3, scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2xf32>, tensor<3x2xf32>) -> tensor<1x3xf32>
  return
}

// -----

func.func @choice(%x: tensor<1x2xf32>, %w: tensor<3x2xf32>) {
  // expected-error @below {{expected activation to be one of none, relu, relu6, hardswish, silu, found 'tanh'}}
  %0 = "sparse.linear"(%x, %w) {activation = "tanh", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xf32>, tensor<3x2xf32>) -> tensor<1x3xf32>
  return
}

// -----

func.func @scheme(%x: tensor<1x2xf32>, %w: tensor<3x2xf32>) {
  // expected-error @below {{expected a sparse dialect scheme, found "dense"}}
  %0 = "sparse.linear"(%x, %w) {activation = "none", scheme = "dense",
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xf32>, tensor<3x2xf32>) -> tensor<1x3xf32>
  return
}

// -----

func.func @linear_shapes(%x: tensor<1x2xf32>, %w: tensor<3x4xf32>) {
  // expected-error @below {{expected input [N, K] and weight [M, K], found [1, 2] and [3, 4]}}
  %0 = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xf32>, tensor<3x4xf32>) -> tensor<1x3xf32>
  return
}

// -----

func.func @dynamic(%x: tensor<1x?xf32>, %w: tensor<3x2xf32>) {
  // expected-error @below {{expected tensors of static shape, found tensor<1x?xf32>}}
  %0 = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x?xf32>, tensor<3x2xf32>) -> tensor<?x3xf32>
  return
}

// -----

func.func @conv_output(%x: tensor<1x2x8x8xf32>, %w: tensor<4x2x3x3xf32>) {
  // expected-error @below {{expected an output of shape [1, 4, 6, 6], found [1, 4, 8, 8]}}
  %0 = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x8x8xf32>, tensor<4x2x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @conv_groups(%x: tensor<1x2x8x8xf32>, %w: tensor<4x2x3x3xf32>) {
  // expected-error @below {{expected channels x groups = 2 input channels}}
  %0 = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 2, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x8x8xf32>, tensor<4x2x3x3xf32>) -> tensor<1x4x6x6xf32>
  return
}

// -----

func.func @conv_rank(%x: tensor<1x2xf32>, %w: tensor<4x2xf32>) {
  // expected-error @below {{expected an input of rank 3 or more, found rank 2}}
  %0 = "sparse.conv"(%x, %w) {strides = [], padding_low = [], padding_high = [], dilations = [],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2xf32>, tensor<4x2xf32>) -> tensor<1x4xf32>
  return
}

// -----

func.func @conv_strides(%x: tensor<1x2x8xf32>, %w: tensor<4x2x3xf32>) {
  // expected-error @below {{expected 1 strides, found 2}}
  %0 = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0], padding_high = [0], dilations = [1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x8xf32>, tensor<4x2x3xf32>) -> tensor<1x4x6xf32>
  return
}

// -----

func.func @conv_zero_stride(%x: tensor<1x2x8xf32>, %w: tensor<4x2x3xf32>) {
  // expected-error @below {{expected positive strides and dilations, found [0] and [1]}}
  %0 = "sparse.conv"(%x, %w) {strides = [0], padding_low = [0], padding_high = [0], dilations = [1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x8xf32>, tensor<4x2x3xf32>) -> tensor<1x4x6xf32>
  return
}

// -----

func.func @malformed(%x: tensor<1x2x8xf32>, %w: tensor<4x2x3xf32>) {
  // expected-error @below {{'sparse.conv' op is malformed: }}
  %0 = "sparse.conv"(%x, %w) {strides = ["one"], padding_low = [0], padding_high = [0], dilations = [1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x8xf32>, tensor<4x2x3xf32>) -> tensor<1x4x6xf32>
  return
}

// -----

func.func @conv_bias(%x: tensor<1x2x8xf32>, %w: tensor<4x2x3xf32>, %b: tensor<2xf32>) {
  // expected-error @below {{expected a bias of shape [4], found [2]}}
  %0 = "sparse.conv"(%x, %w, %b) {strides = [1], padding_low = [0], padding_high = [0], dilations = [1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x8xf32>, tensor<4x2x3xf32>, tensor<2xf32>) -> tensor<1x4x6xf32>
  return
}

// -----

func.func @pool(%x: tensor<1x2x8x8xf32>) {
  // expected-error @below {{expected kind to be one of max, average, found 'min'}}
  %0 = "sparse.pool"(%x) {kind = "min", kernel = [2, 2], strides = [2, 2], padding_low = [0, 0],
      padding_high = [0, 0], input_layout = #sparse.plain, output_layout = #sparse.plain,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x8x8xf32>) -> tensor<1x2x4x4xf32>
  return
}

// -----

func.func @lift(%x: tensor<1x2x8x8xf32>) {
  // expected-error @below {{expected an image of size [7, 7], found [1, 2, 8, 8]}}
  %0 = "sparse.lift"(%x) {layout = #sparse.lanes<[4, 4], [7, 7]>} : (tensor<1x2x8x8xf32>) -> tensor<1x2x4x16xf32>
  return
}

// -----

func.func @packed(%x: tensor<1x4xf32>, %p: tensor<3xi32>) {
  // expected-error @below {{expected one storage name for each of 1 storage operands, found ['indptr', 'columns']}}
  %0 = "sparse.packed_linear"(%x, %p) {packing = {storage = "csr"},
      storage_names = ["indptr", "columns"], weight_shape = [2, 4],
      activation = "none", scheme = #sparse.unstructured,
      operandSegmentSizes = array<i32: 1, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x4xf32>, tensor<3xi32>) -> tensor<1x2xf32>
  return
}

// -----

func.func @no_rows(%x: tensor<1x2xf32>, %w: tensor<3x2xf32>) {
  // expected-error @below {{expected a scheme that is possible, found #sparse.bcr<0 : i64, 16 : i64>: a block has at least 1 x 1 weights, found 0 x 16}}
  %0 = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.bcr<0, 16>,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xf32>, tensor<3x2xf32>) -> tensor<1x3xf32>
  return
}

// -----

func.func @other_kernel(%x: tensor<1x2x8xf32>, %w: tensor<4x2x3xf32>) {
  // expected-error @below {{expected a scheme for kernels of [3], found #sparse.kgs<8 : i64, 4 : i64, [3, 3]>}}
  %0 = "sparse.conv"(%x, %w) {strides = [1], padding_low = [0], padding_high = [0], dilations = [1],
      groups = 1, activation = "none", scheme = #sparse.kgs<8, 4, [3, 3]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2x8xf32>, tensor<4x2x3xf32>) -> tensor<1x4x6xf32>
  return
}

// -----

// expected-error @below {{expected 2 type arguments, but had 1}}
func.func private @attribute() attributes {scheme = #sparse.pattern<[3, 3]>}

// -----

// expected-error @below {{unregistered operation 'sparse.nothing'}}
"sparse.nothing"() : () -> ()

// -----

func.func @bfloat(%x: tensor<1x2xbf16>, %w: tensor<3x2xbf16>) {
  // expected-error @below {{'sparse.linear' op expected tensors of f16, f32, f64, i1, i8, i16, i32 or i64, found tensor<1x2xbf16>}}
  %0 = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xbf16>, tensor<3x2xbf16>) -> tensor<1x3xbf16>
  return
}
