// RUN: %espalier-opt --sparse-set-target=lanes=4 --sparse-compress-weights --split-input-file %s | FileCheck %s

// PatDNN's example of FKW, with one place a pattern for brevity: filters {1:2, 3:1}, {0:2, 2:1}, {1:2, 2:2, 3:2} and
// {1:2, 3:2} (channel:pattern), stored as 0, 1, 3, 2.

// CHECK-LABEL: func.func @fkw
// CHECK-NOT: tensor<4x4x1x2xf32>
// CHECK-DAG: %[[O:.*]] = arith.constant dense<[0, 2, 4, 6, 9]> : tensor<5xi32>
// CHECK-DAG: %[[R:.*]] = arith.constant dense<[0, 1, 3, 2]> : tensor<4xi32>
// CHECK-DAG: %[[S:.*]] = arith.constant dense<{{\[\[}}0, 1, 2], [0, 1, 2], [0, 0, 2], [0, 0, 3]]> : tensor<4x3xi16>
// CHECK-DAG: %[[I:.*]] = arith.constant dense<[3, 1, 2, 0, 1, 3, 1, 2, 3]> : tensor<9xi16>
// CHECK-DAG: %[[W:.*]] = arith.constant dense<[2.0{{.*}}, 1.0{{.*}}, 4.0{{.*}}, 3.0{{.*}}, 8.0{{.*}}, 9.0{{.*}}, 5.0{{.*}}, 6.0{{.*}}, 7.0{{.*}}]> : tensor<9xf32>
// CHECK: "sparse.packed_conv"(%arg0, %[[O]], %[[R]], %[[S]], %[[I]], %[[W]])
// CHECK-SAME: input_layout = #sparse.plain
// CHECK-SAME: output_layout = #sparse.plain
// CHECK-SAME: pool = [1, 1], record = #sparse.record<{dense_bytes = 128 : i64, index_bytes = 78 : i64, layer = "c",
// CHECK-SAME: nonzeros = 9 : i64, packed_bytes = 114 : i64, reason = "because", stored = 9 : i64}>
// CHECK-SAME: schedule = #sparse.schedule<{filters_per_group = 1 : i64}>, scheme = #sparse.pattern<
// CHECK-SAME: storage_names = ["offset", "reorder", "stride", "index", "weight"]
// CHECK-SAME: weight_shape = [4, 4, 1, 2]
func.func @fkw(%x: tensor<1x4x2x2xf32>) -> tensor<1x4x2x1xf32> {
  %w = arith.constant dense<[[[[0.0, 0.0]], [[0.0, 1.0]], [[0.0, 0.0]], [[2.0, 0.0]]],
                             [[[0.0, 3.0]], [[0.0, 0.0]], [[4.0, 0.0]], [[0.0, 0.0]]],
                             [[[0.0, 0.0]], [[0.0, 5.0]], [[0.0, 6.0]], [[0.0, 7.0]]],
                             [[[0.0, 0.0]], [[0.0, 8.0]], [[0.0, 0.0]], [[0.0, 9.0]]]]> : tensor<4x4x1x2xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.pattern<[1, 2], [[0], [1]]>, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{filter_order = [0, 1, 3, 2]}>, record = #sparse.record<{layer = "c", reason = "because"}>}
      : (tensor<1x4x2x2xf32>, tensor<4x4x1x2xf32>) -> tensor<1x4x2x1xf32>
  return %y : tensor<1x4x2x1xf32>
}

// -----

// Two blocks of one channel: every block has rows of its own (the longest filter first), channels count inside it.

// CHECK-LABEL: func.func @blocks
// CHECK-DAG: dense<[0, 1, 2, 3, 3]> : tensor<5xi32>
// CHECK-DAG: dense<[1, 0, 1, 0]> : tensor<4xi32>
// CHECK-DAG: dense<0> : tensor<3xi16>
// CHECK: "sparse.packed_conv"
// CHECK-SAME: channel_block = 1 : i64
func.func @blocks(%x: tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32> {
  %w = arith.constant dense<[[[[1.0]], [[0.0]]], [[[2.0]], [[3.0]]]]> : tensor<2x2x1x1xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.connectivity<[1, 1]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{channel_block = 1 : i64}>, record = #sparse.record<{}>} : (tensor<1x2x2x2xf32>, tensor<2x2x1x1xf32>) -> tensor<1x2x2x2xf32>
  return %y : tensor<1x2x2x2xf32>
}

// -----

// Pairs of filters: channel 0 is stored once for both; `start` says where each row's weights begin.

// CHECK-LABEL: func.func @pairs
// CHECK-DAG: dense<{{\[\[}}0, 0, 1, 2]]> : tensor<1x4xi16>
// CHECK-DAG: dense<[1, 0]> : tensor<2xi16>
// CHECK-DAG: dense<[3.0{{.*}}, 1.0{{.*}}, 2.0{{.*}}]> : tensor<3xf32>
// CHECK: "sparse.packed_conv"
// CHECK-SAME: filters_per_group = 2 : i64
// CHECK-SAME: storage_names = ["offset", "reorder", "stride", "index", "weight", "start"]
func.func @pairs(%x: tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32> {
  %w = arith.constant dense<[[[[1.0]], [[0.0]]], [[[2.0]], [[3.0]]]]> : tensor<2x2x1x1xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.connectivity<[1, 1]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 2 : i64}>, record = #sparse.record<{}>} : (tensor<1x2x2x2xf32>, tensor<2x2x1x1xf32>) -> tensor<1x2x2x2xf32>
  return %y : tensor<1x2x2x2xf32>
}

// -----

// Dense: [F / group, C, places * group], a group's filters innermost. Bias and residual stay.

// CHECK-LABEL: func.func @dense
// CHECK: arith.constant dense<{{\[\[\[}}1.0{{.*}}, 5.0{{.*}}, 2.0{{.*}}, 6.0{{.*}}], [3.0{{.*}}, 7.0{{.*}}, 4.0{{.*}}, 8.0{{.*}} : tensor<1x2x4xf32>
// CHECK: "sparse.packed_conv"(%arg0, %arg2, %arg1, %{{[a-z0-9_]+}})
// CHECK-SAME: operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0>
// CHECK-SAME: storage_names = ["weight"]
func.func @dense(%x: tensor<1x2x2x2xf32>, %r: tensor<1x2x2x1xf32>, %b: tensor<2xf32>) -> tensor<1x2x2x1xf32> {
  %w = arith.constant dense<[[[[1.0, 2.0]], [[3.0, 4.0]]], [[[5.0, 6.0]], [[7.0, 8.0]]]]> : tensor<2x2x1x2xf32>
  %y = "sparse.conv"(%x, %w, %b, %r) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0],
      dilations = [1, 1], groups = 1, activation = "relu", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 1, 1>,
        schedule = #sparse.schedule<{filters_per_group = 2 : i64}>, record = #sparse.record<{}>}
      : (tensor<1x2x2x2xf32>, tensor<2x2x1x2xf32>, tensor<2xf32>, tensor<1x2x2x1xf32>) -> tensor<1x2x2x1xf32>
  return %y : tensor<1x2x2x1xf32>
}

// -----

// Grouped: dense filters keep the channels of their own group, as absolute indices. A depthwise one stays [F, 1, places].

// CHECK-LABEL: func.func @grouped
// CHECK: dense<[0, 1, 0, 1, 2, 3, 2, 3]> : tensor<8xi16>
// CHECK: dense<{{.*}}> : tensor<4x1x2xf32>
// CHECK: storage_names = ["weight"]
func.func @grouped(%x: tensor<1x4x2x2xf32>) -> (tensor<1x4x2x2xf32>, tensor<1x4x2x1xf32>) {
  %w = arith.constant dense<1.0> : tensor<4x2x1x1xf32>
  %d = arith.constant dense<1.0> : tensor<4x1x1x2xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 2, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<4x2x1x1xf32>) -> tensor<1x4x2x2xf32>
  %z = "sparse.conv"(%x, %d) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 4, activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<4x1x1x2xf32>) -> tensor<1x4x2x1xf32>
  return %y, %z : tensor<1x4x2x2xf32>, tensor<1x4x2x1xf32>
}

// -----

// Matrices without a structure: every row is a lane, the longest first; dense rows four vectors at a time. The weight
// that another op reads stays.

// CHECK-LABEL: func.func @linear
// CHECK: %[[M:.*]] = arith.constant {{.*}} : tensor<2x3xf32>
// CHECK-DAG: dense<[0, 2, 2, 2, 2]> : tensor<5xi32>
// CHECK-DAG: dense<{{\[\[}}1, 0, 2, 3], [4, 5, 6, 7], {{.*}}> : tensor<4x4xi8>
// CHECK-DAG: dense<{{\[\[}}1, 0, 0, 0], [2, 0, 0, 0]]> : tensor<2x4xi8>
// CHECK-DAG: dense<{{\[\[\[}}2.0{{.*}}, 1.0{{.*}}, 0.0{{.*}}, 0.0{{.*}}]], {{\[\[}}3.0{{.*}}, 0.0{{.*}}> : tensor<2x1x4xf32>
// CHECK: "sparse.packed_linear"
// CHECK-SAME: packing = {by_lane = false, gates = 1 : i64, group = 1 : i64, lanes = 4 : i64, rows = 16 : i64, storage = "sell", window = 256 : i64}
// CHECK-SAME: storage_names = ["edges", "start", "place", "advance", "index", "weight"], weight_shape = [2, 3]
// CHECK: tensor<1x3x4x4xf32>
// CHECK: "sparse.packed_linear"
// CHECK-SAME: storage_names = ["weight"], weight_shape = [2, 3]
// CHECK: return %{{.*}}, %{{.*}}, %[[M]]
func.func @linear(%x: tensor<1x3xf32>) -> (tensor<1x2xf32>, tensor<1x2xf32>, tensor<2x3xf32>) {
  %w = arith.constant dense<[[1.0, 0.0, 0.0], [0.0, 2.0, 3.0]]> : tensor<2x3xf32>
  %v = arith.constant dense<1.0> : tensor<2x3xf32>
  %y = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.unstructured,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x3xf32>, tensor<2x3xf32>) -> tensor<1x2xf32>
  %z = "sparse.linear"(%x, %v) {activation = "relu", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x3xf32>, tensor<2x3xf32>) -> tensor<1x2xf32>
  return %y, %z, %w : tensor<1x2xf32>, tensor<1x2xf32>, tensor<2x3xf32>
}

// -----

// Rows that share columns: pairs of them are lanes.

// CHECK-LABEL: func.func @groups
// CHECK: dense<{{\[\[}}0, 0, 0, 0], [2, 0, 0, 0]]> : tensor<2x4xi8>
// CHECK: dense<{{\[\[\[}}1.0{{.*}}], [3.0{{.*}}]], {{\[\[}}2.0{{.*}}], [4.0{{.*}}]]]> : tensor<2x2x4xf32>
// CHECK: "sparse.packed_linear"
// CHECK-SAME: packing = {by_lane = false, gates = 1 : i64, group = 2 : i64
// CHECK-SAME: weight_shape = [2, 4]
func.func @groups(%x: tensor<1x4xf32>) -> tensor<1x2xf32> {
  %w = arith.constant dense<[[1.0, 0.0, 2.0, 0.0], [3.0, 0.0, 4.0, 0.0]]> : tensor<2x4xf32>
  %y = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.bcr<2 : i64, 4 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x4xf32>, tensor<2x4xf32>) -> tensor<1x2xf32>
  return %y : tensor<1x2xf32>
}

// -----

// Kernel groups: a byte for each place that a pair of filters keeps, and 2 x 2 weights, channels before filters. The
// longest pair comes first, the empty one last.

// CHECK-LABEL: func.func @kgs
// CHECK-DAG: %[[O:.*]] = arith.constant dense<[0, 2, 3, 4, 4]> : tensor<5xi32>
// CHECK-DAG: %[[R:.*]] = arith.constant dense<[2, 3, 0, 1, 4, 5, 6, 7]> : tensor<8xi16>
// CHECK-DAG: %[[G:.*]] = arith.constant dense<[0, 2, 1, 1]> : tensor<4xi8>
// CHECK-DAG: %[[W:.*]] = arith.constant dense<{{\[\[\[}}5.0{{.*}}, 9.0{{.*}}], [7.0{{.*}}, 2.0{{.*}} : tensor<4x2x2xf32>
// CHECK: "sparse.packed_conv"(%arg0, %[[O]], %[[R]], %[[G]], %[[W]])
// CHECK-SAME: record = #sparse.record<{dense_bytes = 192 : i64, index_bytes = 40 : i64, nonzeros = 16 : i64, packed_bytes = 104 : i64, stored = 16 : i64}>
// CHECK-SAME: filters_per_group = 2 : i64
// CHECK-SAME: storage_names = ["start", "reorder", "gap", "weight"]
func.func @kgs(%x: tensor<1x2x4xf32>) -> tensor<1x8x2xf32> {
  %w = arith.constant dense<[[[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]], [[0.0, 3.0, 0.0], [0.0, 4.0, 0.0]],
                             [[5.0, 0.0, 6.0], [7.0, 0.0, 8.0]], [[9.0, 0.0, 1.0], [2.0, 0.0, 3.0]],
                             [[0.0, 4.0, 0.0], [0.0, 5.0, 0.0]], [[0.0, 6.0, 0.0], [0.0, 7.0, 0.0]],
                             [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]> : tensor<8x2x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1], padding_low = [0], padding_high = [0], dilations = [1],
      groups = 1, activation = "none", scheme = #sparse.kgs<2 : i64, 2 : i64, [3]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2x4xf32>, tensor<8x2x3xf32>) -> tensor<1x8x2xf32>
  return %y : tensor<1x8x2xf32>
}

// -----

// Blocks of a convolution: BCRC's groups of rows, each column's byte once for both rows.

// CHECK-LABEL: func.func @block
// CHECK-DAG: dense<[0, 2, 4]> : tensor<3xi32>
// CHECK-DAG: dense<[0, 2, 1, 3]> : tensor<4xi16>
// CHECK-DAG: dense<[0, 2, 1, 2]> : tensor<4xi8>
// CHECK-DAG: dense<{{\[\[\[}}1.0{{.*}}, 3.0{{.*}}]], {{\[\[}}2.0{{.*}}, 4.0{{.*}}]], {{\[\[}}5.0{{.*}}, 7.0{{.*}} : tensor<4x1x2xf32>
// CHECK: "sparse.packed_conv"
// CHECK-SAME: filters_per_group = 2 : i64
func.func @block(%x: tensor<1x4x2x2xf32>) -> tensor<1x4x2x2xf32> {
  %w = arith.constant dense<[[[[1.0]], [[0.0]], [[2.0]], [[0.0]]], [[[0.0]], [[5.0]], [[0.0]], [[6.0]]],
                             [[[3.0]], [[0.0]], [[4.0]], [[0.0]]], [[[0.0]], [[7.0]], [[0.0]], [[8.0]]]]> : tensor<4x4x1x1xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.bcr<2 : i64, 2 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x4x2x2xf32>, tensor<4x4x1x1xf32>) -> tensor<1x4x2x2xf32>
  return %y : tensor<1x4x2x2xf32>
}

// -----

// The order and the groups that the reorder pass wrote are kept.

// CHECK-LABEL: func.func @ordered
// CHECK-DAG: dense<[1, 3, 0, 2]> : tensor<4xi16>
// CHECK-DAG: dense<[1, 2, 0, 2]> : tensor<4xi8>
func.func @ordered(%x: tensor<1x4x2x2xf32>) -> tensor<1x4x2x2xf32> {
  %w = arith.constant dense<[[[[1.0]], [[0.0]], [[2.0]], [[0.0]]], [[[0.0]], [[5.0]], [[0.0]], [[6.0]]],
                             [[[3.0]], [[0.0]], [[4.0]], [[0.0]]], [[[0.0]], [[7.0]], [[0.0]], [[8.0]]]]> : tensor<4x4x1x1xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.bcr<2 : i64, 2 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{filter_order = [1, 3, 0, 2], filters_per_group = 2 : i64}>, record = #sparse.record<{}>} : (tensor<1x4x2x2xf32>, tensor<4x4x1x1xf32>) -> tensor<1x4x2x2xf32>
  return %y : tensor<1x4x2x2xf32>
}

// -----

// A number of inputs that only the run knows is taken for many: vectors run along them, and a lane's weights lie together.

// CHECK-LABEL: func.func @many
// CHECK: "sparse.packed_linear"
// CHECK-SAME: packing = {by_lane = true, gates = 1 : i64, group = 4 : i64, lanes = 4 : i64, rows = 16 : i64, storage = "sell", window = 256 : i64}
func.func @many(%x: tensor<?x2xf32>) -> tensor<?x4xf32> {
  %w = arith.constant dense<[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]]> : tensor<4x2xf32>
  %y = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.bcr<4 : i64, 2 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<?x2xf32>, tensor<4x2xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
