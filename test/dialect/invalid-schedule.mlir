// RUN: %espalier-opt --split-input-file --verify-diagnostics %s
// Schedules and records that no layer can have.

func.func @unknown_family(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{expected micro_kernel to be one of kernel_classes, column_groups, depthwise, fused_depthwise, dense_rows, sell, recurrent, pools, found 'magic'}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{micro_kernel = "magic"}>, record = #sparse.record<{}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @unknown_storage(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{expected storage to be one of}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{storage = "csr"}>, record = #sparse.record<{}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @block(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{has an impossible schedule: expected a channel_block that divides 6, found 4}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{channel_block = 4}>, record = #sparse.record<{}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @order(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{has an impossible schedule: expected a filter_order of all 4 filters, found [0, 1, 1, 3]}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{filter_order = [0, 1, 1, 3]}>, record = #sparse.record<{}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @tile(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{has an impossible schedule: expected tile of 3 positive sizes, found [0, 4]}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{tile = [0, 4]}>, record = #sparse.record<{}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @grid(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{has an impossible schedule: expected grid of 2 positive sizes, found [4]}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{grid = [4]}>, record = #sparse.record<{}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @passes(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{has an impossible schedule: expected passes of 1 or more, found 0}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{passes = 0}>, record = #sparse.record<{}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @field(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{is malformed: expected fields of}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{tiles = [1, 4]}>, record = #sparse.record<{}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @kind(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{is malformed: expected tile to be an array of integers, found 4 : i64}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{tile = 4}>, record = #sparse.record<{}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @items(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{is malformed: expected tile to be an array of integers}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{tile = ["a"]}>, record = #sparse.record<{}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @truth(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{is malformed: expected by_chunk to be true or false, found 1 : i64}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{by_chunk = 1}>, record = #sparse.record<{}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @number(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{is malformed: expected passes to be an integer, found true}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{passes = true}>, record = #sparse.record<{}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @other(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{expected attribute 'schedule' to be #sparse.schedule<{...}>, found #sparse.record<{}>}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.record<{}>, record = #sparse.record<{}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

func.func @record(%x: tensor<1x6x8x8xf32>, %w: tensor<4x6x3x3xf32>) {
  // expected-error @below {{expected layer to be a string, found 3 : i64}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{}>, record = #sparse.record<{layer = 3}>}
      : (tensor<1x6x8x8xf32>, tensor<4x6x3x3xf32>) -> tensor<1x4x8x8xf32>
  return
}

// -----

// What the schedule says is what the weight is packed in.

func.func @packed_otherwise(%x: tensor<1x4xf32>, %w: tensor<1x4x4x4xf32>) {
  // expected-error @below {{expected a schedule with storage = dense_rows, as the weight is packed, found sell}}
  %y = "sparse.packed_linear"(%x, %w) {packing = {storage = "dense_rows", lanes = 4, vectors = 4, gates = 1},
      storage_names = ["weight"], weight_shape = [2, 4], activation = "none", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
      schedule = #sparse.schedule<{storage = "sell"}>, record = #sparse.record<{}>}
      : (tensor<1x4xf32>, tensor<1x4x4x4xf32>) -> tensor<1x2xf32>
  return
}

// -----

func.func @packed_in_others(%x: tensor<1x1x6x6xf32>, %w: tensor<1x1x2xf32>) {
  // expected-error @below {{expected a schedule with filters_per_group = 2, as the weight is packed, found 1}}
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 2},
      storage_names = ["weight"], weight_shape = [2, 1, 1, 1], strides = [1, 1], padding_low = [0, 0],
      padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", scheme = #sparse.dense,
      pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
      schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x6x6xf32>, tensor<1x1x2xf32>) -> tensor<1x2x6x6xf32>
  return
}
