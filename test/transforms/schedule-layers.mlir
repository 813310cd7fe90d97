// RUN: %espalier-opt --sparse-schedule-layers --split-input-file %s | FileCheck %s
// RUN: %espalier-opt --sparse-schedule-layers=kernel=dense --split-input-file %s | FileCheck %s --check-prefix=DENSE
// RUN: %espalier-opt --sparse-schedule-layers=kernel=sparse --split-input-file %s | FileCheck %s --check-prefix=SPARSE

// A third of the multiply-adds is worth sparse code; filters do not share loads.

// CHECK-LABEL: func.func @pays
// CHECK: detected = "pattern"
// CHECK-SAME: reason = "sparse: 33.3% of the multiply-adds, pays below {{[0-9.]+}}%"
// CHECK-SAME: schedule = #sparse.schedule<{channel_block = 2 : i64, filters_per_group = 1 : i64,
// CHECK-SAME: micro_kernel = "kernel_classes", storage = "fkw"}>
// CHECK-SAME: scheme = #sparse.pattern<
// DENSE-LABEL: func.func @pays
// DENSE: detected = "pattern", reason = "dense: asked for"}>
// DENSE-SAME: channel_block = 2 : i64, filters_per_group = 2 : i64, micro_kernel = "kernel_classes", storage = "dense_kernels"
// DENSE-SAME: scheme = #sparse.dense
// SPARSE-LABEL: func.func @pays
// SPARSE: reason = "sparse: asked for"
func.func @pays(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x2x2xf32> {
  %w = arith.constant dense<[
    [[[1.0, 2.0, 0.0], [3.0, 4.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]],
    [[[0.0, 1.0, 2.0], [0.0, 3.0, 4.0], [0.0, 0.0, 0.0]], [[5.0, 0.0, 0.0], [6.0, 7.0, 0.0], [0.0, 0.0, 0.0]]]
  ]> : tensor<2x2x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.pattern<[3, 3], [[0, 1, 3, 4], [1, 2, 4, 5]]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2x4x4xf32>, tensor<2x2x3x3xf32>) -> tensor<1x2x2x2xf32>
  return %y : tensor<1x2x2x2xf32>
}

// -----

// 17 of 18 weights are left: dense is faster, and the reason keeps why detection found nothing better.

// CHECK-LABEL: func.func @does_not_pay
// CHECK: detected = "unstructured"
// CHECK-SAME: reason = "dense: 94.4% of the multiply-adds, pays below {{[0-9.]+}}% (no kernel is cut)"}>, {{.*}}scheme = #sparse.dense
// DENSE-LABEL: func.func @does_not_pay
// DENSE: reason = "dense: asked for (no kernel is cut)"
// SPARSE-LABEL: func.func @does_not_pay
// SPARSE: reason = "sparse: asked for (no kernel is cut)"{{.*}}storage = "fkw"{{.*}}scheme = #sparse.unstructured
func.func @does_not_pay(%x: tensor<1x1x4x4xf32>) -> tensor<1x2x2x2xf32> {
  %w = arith.constant dense<[[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]],
                             [[[1.0, 2.0, 3.0], [4.0, 0.0, 6.0], [7.0, 8.0, 9.0]]]]> : tensor<2x1x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.unstructured,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{reason = "no kernel is cut"}>} : (tensor<1x1x4x4xf32>, tensor<2x1x3x3xf32>) -> tensor<1x2x2x2xf32>
  return %y : tensor<1x2x2x2xf32>
}

// -----

// Nothing is zero: no option makes it sparse.

// CHECK-LABEL: func.func @dense
// CHECK: detected = "dense"
// CHECK-SAME: reason = "dense: no weight is zero"}>, {{.*}}scheme = #sparse.dense
// SPARSE-LABEL: func.func @dense
// SPARSE: reason = "dense: no weight is zero"{{.*}}storage = "dense_rows"
func.func @dense(%x: tensor<1x2xf32>) -> tensor<1x2xf32> {
  %w = arith.constant dense<1.0> : tensor<2x2xf32>
  %0 = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2xf32>, tensor<2x2xf32>) -> tensor<1x2xf32>
  return %0 : tensor<1x2xf32>
}

// -----

// Pairs of 1x1 filters share loads; 128 channels are cut into blocks of 64. Linear layers have no such fields, and
// small ones run dense.

// CHECK-LABEL: func.func @pointwise_and_matrix
// CHECK: "sparse.conv"{{.*}}channel_block = 64 : i64, filters_per_group = 2 : i64, {{.*}}storage = "fkw"
// CHECK: "sparse.linear"
// CHECK-SAME: schedule = #sparse.schedule<{micro_kernel = "dense_rows", storage = "dense_rows"}>
// SPARSE-LABEL: func.func @pointwise_and_matrix
// SPARSE: "sparse.linear"
// SPARSE-SAME: schedule = #sparse.schedule<{micro_kernel = "sell", storage = "sell"}>
func.func @pointwise_and_matrix(%x: tensor<1x128x16x16xf32>, %v: tensor<1x3xf32>)
    -> (tensor<1x2x16x16xf32>, tensor<1x2xf32>) {
  %zero = arith.constant dense<0.0> : tensor<2x128x1x1xf32>
  %m = arith.constant dense<[[1.0, 0.0, 0.0], [0.0, 0.0, 3.0]]> : tensor<2x3xf32>
  %y = "sparse.conv"(%x, %zero) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.connectivity<[1, 1]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x128x16x16xf32>, tensor<2x128x1x1xf32>) -> tensor<1x2x16x16xf32>
  %0 = "sparse.linear"(%v, %m) {activation = "none", scheme = #sparse.unstructured,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x3xf32>, tensor<2x3xf32>) -> tensor<1x2xf32>
  return %y, %0 : tensor<1x2x16x16xf32>, tensor<1x2xf32>
}

// -----

// A depthwise filter has one kernel: there is nothing to skip, whatever is asked for.

// CHECK-LABEL: func.func @depthwise
// CHECK: detected = "connectivity"
// CHECK-SAME: reason = "dense: depthwise, a filter has one kernel"}>, {{.*}}scheme = #sparse.dense
// SPARSE-LABEL: func.func @depthwise
// SPARSE: micro_kernel = "depthwise", storage = "dense_kernels"
func.func @depthwise(%x: tensor<1x2x3x3xf32>) -> tensor<1x2x1x1xf32> {
  %w = arith.constant dense<[[[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]],
                             [[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]]> : tensor<2x1x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 2, activation = "none", scheme = #sparse.connectivity<[3, 3]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2x3x3xf32>, tensor<2x1x3x3xf32>) -> tensor<1x2x1x1xf32>
  return %y : tensor<1x2x1x1xf32>
}

// -----

// Filters that share columns: the groups that the kernel will run, whatever else is chosen.

// CHECK-LABEL: func.func @kgs
// CHECK: detected = "kgs"
// CHECK-SAME: reason = "sparse: 33.3% of the multiply-adds, pays below {{[0-9.]+}}%"
// CHECK-SAME: channel_block = 2 : i64, filters_per_group = 2 : i64, micro_kernel = "column_groups", storage = "column_groups"
// CHECK-SAME: scheme = #sparse.kgs<2 : i64, 2 : i64, [3]>
// DENSE-LABEL: func.func @kgs
// DENSE: detected = "kgs", {{.*}}filters_per_group = 4 : i64, {{.*}}storage = "dense_kernels"
// DENSE-SAME: scheme = #sparse.dense
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

// CHECK-LABEL: func.func @block
// CHECK: detected = "bcr"
// CHECK-SAME: reason = "sparse: 50.0% of the multiply-adds, pays below {{[0-9.]+}}%"
// CHECK-SAME: filters_per_group = 2 : i64, {{.*}}storage = "column_groups"
// CHECK-SAME: scheme = #sparse.bcr<2 : i64, 2 : i64>
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

// Blocks of which three of four columns stay: not worth it in a convolution, nor in a matrix that stays in cache.

// CHECK-LABEL: func.func @full_blocks
// CHECK: "sparse.conv"
// CHECK-SAME: detected = "bcr"
// CHECK-SAME: reason = "dense: 75.0% of the multiply-adds, pays below {{[0-9.]+}}%"}>, {{.*}}scheme = #sparse.dense
// CHECK: "sparse.linear"
// CHECK-SAME: detected = "bcr", {{.*}}storage = "dense_rows"
// SPARSE-LABEL: func.func @full_blocks
// SPARSE: reason = "sparse: asked for"{{.*}}scheme = #sparse.bcr<
func.func @full_blocks(%x: tensor<1x4x2x2xf32>, %v: tensor<1x4xf32>) -> (tensor<1x2x2x2xf32>, tensor<1x2xf32>) {
  %w = arith.constant dense<[[[[1.0]], [[0.0]], [[2.0]], [[3.0]]], [[[5.0]], [[0.0]], [[4.0]], [[6.0]]]]> : tensor<2x4x1x1xf32>
  %m = arith.constant dense<[[1.0, 0.0, 2.0, 3.0], [5.0, 0.0, 4.0, 6.0]]> : tensor<2x4xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.bcr<2 : i64, 4 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x4x2x2xf32>, tensor<2x4x1x1xf32>) -> tensor<1x2x2x2xf32>
  %z = "sparse.linear"(%v, %m) {activation = "none", scheme = #sparse.bcr<2 : i64, 4 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x4xf32>, tensor<2x4xf32>) -> tensor<1x2xf32>
  return %y, %z : tensor<1x2x2x2xf32>, tensor<1x2xf32>
}

// -----

// What a schedule says already is obeyed: dense storage though sparse code would pay, a block and a group.

// CHECK-LABEL: func.func @by_hand
// CHECK: reason = "dense: asked for"
// CHECK-SAME: schedule = #sparse.schedule<{channel_block = 1 : i64, filters_per_group = 1 : i64,
// CHECK-SAME: micro_kernel = "kernel_classes", storage = "dense_kernels"}>, scheme = #sparse.dense
func.func @by_hand(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x2x2xf32> {
  %w = arith.constant dense<[
    [[[1.0, 2.0, 0.0], [3.0, 4.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]],
    [[[0.0, 1.0, 2.0], [0.0, 3.0, 4.0], [0.0, 0.0, 0.0]], [[5.0, 0.0, 0.0], [6.0, 7.0, 0.0], [0.0, 0.0, 0.0]]]
  ]> : tensor<2x2x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.pattern<[3, 3], [[0, 1, 3, 4], [1, 2, 4, 5]]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>, record = #sparse.record<{}>,
      schedule = #sparse.schedule<{storage = "dense_kernels", channel_block = 1, filters_per_group = 1}>}
      : (tensor<1x2x4x4xf32>, tensor<2x2x3x3xf32>) -> tensor<1x2x2x2xf32>
  return %y : tensor<1x2x2x2xf32>
}
