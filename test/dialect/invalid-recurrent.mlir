// Every complaint about recurrent ops.
// RUN: %espalier-opt %s --split-input-file --verify-diagnostics

func.func @weight(%g: tensor<5x1x12xf32>, %h: tensor<1x4xf32>, %w: tensor<11x4xf32>) {
  // expected-error @below {{'sparse.gru' op expected a weight of [3 H, H], found [11, 4]}}
  %0 = "sparse.gru"(%g, %h, %w) {direction = "forward", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<5x1x12xf32>, tensor<1x4xf32>, tensor<11x4xf32>) -> tensor<5x1x4xf32>
  return
}

// -----

func.func @gates(%g: tensor<5x1x13xf32>, %h: tensor<1x4xf32>, %w: tensor<12x4xf32>) {
  // expected-error @below {{'sparse.gru' op expected gates of [T, N, 12], found [5, 1, 13]}}
  %0 = "sparse.gru"(%g, %h, %w) {direction = "forward", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<5x1x13xf32>, tensor<1x4xf32>, tensor<12x4xf32>) -> tensor<5x1x4xf32>
  return
}

// -----

func.func @state(%g: tensor<5x1x16xf32>, %h: tensor<1x4xf32>, %c: tensor<2x4xf32>, %w: tensor<16x4xf32>) {
  // expected-error @below {{'sparse.lstm' op expected cell of [1, 4], found [2, 4]}}
  %0:2 = "sparse.lstm"(%g, %h, %c, %w) {direction = "forward", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<5x1x16xf32>, tensor<1x4xf32>, tensor<2x4xf32>, tensor<16x4xf32>)
      -> (tensor<5x1x4xf32>, tensor<1x4xf32>)
  return
}

// -----

func.func @output(%g: tensor<?x1x12xf32>, %h: tensor<1x4xf32>, %w: tensor<12x4xf32>) {
  // expected-error-re @below {{'sparse.gru' op expected an output of [{{-[0-9]+}}, 1, 4], found [5, 1, 4]}}
  %0 = "sparse.gru"(%g, %h, %w) {direction = "forward", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<?x1x12xf32>, tensor<1x4xf32>, tensor<12x4xf32>) -> tensor<5x1x4xf32>
  return
}

// -----

func.func @bias(%g: tensor<5x1x12xf32>, %h: tensor<1x4xf32>, %w: tensor<12x4xf32>, %b: tensor<4xf32>) {
  // expected-error @below {{'sparse.gru' op expected a bias of [12], found [4]}}
  %0 = "sparse.gru"(%g, %h, %w, %b) {direction = "forward", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 1, 1>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<5x1x12xf32>, tensor<1x4xf32>, tensor<12x4xf32>, tensor<4xf32>) -> tensor<5x1x4xf32>
  return
}

// -----

func.func @direction(%g: tensor<5x1x12xf32>, %h: tensor<1x4xf32>, %w: tensor<12x4xf32>) {
  // expected-error @below {{'sparse.gru' op expected direction to be one of forward, reverse, found 'both'}}
  %0 = "sparse.gru"(%g, %h, %w) {direction = "both", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<5x1x12xf32>, tensor<1x4xf32>, tensor<12x4xf32>) -> tensor<5x1x4xf32>
  return
}

// -----

// Only the number of steps may be free.

func.func @free_batch(%g: tensor<5x?x12xf32>, %h: tensor<?x4xf32>, %w: tensor<12x4xf32>) {
  // expected-error @below {{'sparse.gru' op expected tensors of static shape, found tensor<5x?x12xf32>}}
  %0 = "sparse.gru"(%g, %h, %w) {direction = "forward", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<5x?x12xf32>, tensor<?x4xf32>, tensor<12x4xf32>) -> tensor<5x?x4xf32>
  return
}

// -----

func.func @storage(%g: tensor<?x1x6xf32>, %h: tensor<1x2xf32>, %w: tensor<1x2x3x16xf32>) {
  // expected-error @below {{'sparse.packed_gru' op expected one storage name for each of 1 storage operands, found ['base', 'weight']}}
  %y = "sparse.packed_gru"(%g, %h, %w) {packing = {storage = "dense_rows", lanes = 16, vectors = 3, gates = 3},
      storage_names = ["base", "weight"], weight_shape = [6, 2],
      direction = "forward", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<?x1x6xf32>, tensor<1x2xf32>, tensor<1x2x3x16xf32>) -> tensor<?x1x2xf32>
  return
}
