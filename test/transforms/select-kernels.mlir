// RUN: %espalier-opt --sparse-select-kernels --split-input-file %s | FileCheck %s
// RUN: %espalier-opt --sparse-select-kernels=kernel=dense --split-input-file %s | FileCheck %s --check-prefix=DENSE
// RUN: %espalier-opt --sparse-select-kernels=kernel=sparse --split-input-file %s | FileCheck %s --check-prefix=SPARSE
// RUN: %espalier-opt --sparse-select-kernels="kernel=dense longest-sum=9" --split-input-file %s \
// RUN:   | FileCheck %s --check-prefix=SHORT
// RUN: %espalier-opt --sparse-select-kernels="kernel=sparse longest-sum=9" --split-input-file %s \
// RUN:   | FileCheck %s --check-prefix=FEW

// A third of the multiply-adds is worth sparse code; filters do not share loads. Sums of at most nine products are one
// channel of the dense kernel, or both of the sparse one.

// CHECK-LABEL: func.func @pays
// CHECK: detected = "pattern", {{.*}}filters_per_group = 1 : i64, groups = 1 : i64, kernel = "sparse"
// CHECK-SAME: reason = "sparse: 33.3% of the multiply-adds, pays below {{[0-9.]+}}%"
// CHECK-SAME: scheme = #sparse.pattern<
// DENSE-LABEL: func.func @pays
// SHORT-LABEL: func.func @pays
// SHORT: "sparse.conv"{{.*}} channel_block = 1 : i64
// FEW-LABEL: func.func @pays
// FEW: "sparse.conv"{{.*}} channel_block = 2 : i64
// DENSE: channel_block = 2 : i64, detected = "pattern", {{.*}}filters_per_group = 2 : i64, {{.*}}kernel = "dense"
// DENSE-SAME: reason = "dense: asked for", scheme = #sparse.dense
// SPARSE-LABEL: func.func @pays
// SPARSE: kernel = "sparse", {{.*}}reason = "sparse: asked for"
func.func @pays(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x2x2xf32> {
  %w = arith.constant dense<[
    [[[1.0, 2.0, 0.0], [3.0, 4.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]],
    [[[0.0, 1.0, 2.0], [0.0, 3.0, 4.0], [0.0, 0.0, 0.0]], [[5.0, 0.0, 0.0], [6.0, 7.0, 0.0], [0.0, 0.0, 0.0]]]
  ]> : tensor<2x2x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.pattern<[3, 3], [[0, 1, 3, 4], [1, 2, 4, 5]]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (tensor<1x2x4x4xf32>, tensor<2x2x3x3xf32>) -> tensor<1x2x2x2xf32>
  return %y : tensor<1x2x2x2xf32>
}

// -----

// 17 of 18 weights are left: dense is faster, and the reason keeps why detection found nothing better.

// CHECK-LABEL: func.func @does_not_pay
// CHECK: detected = "unstructured", {{.*}}kernel = "dense"
// CHECK-SAME: reason = "dense: 94.4% of the multiply-adds, pays below {{[0-9.]+}}% (no kernel is cut)", scheme = #sparse.dense
// DENSE-LABEL: func.func @does_not_pay
// DENSE: reason = "dense: asked for (no kernel is cut)"
// SPARSE-LABEL: func.func @does_not_pay
// SPARSE: kernel = "sparse", {{.*}}reason = "sparse: asked for (no kernel is cut)", scheme = #sparse.unstructured
func.func @does_not_pay(%x: tensor<1x1x4x4xf32>) -> tensor<1x2x2x2xf32> {
  %w = arith.constant dense<[[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]],
                             [[[1.0, 2.0, 3.0], [4.0, 0.0, 6.0], [7.0, 8.0, 9.0]]]]> : tensor<2x1x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.unstructured, reason = "no kernel is cut",
      operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (tensor<1x1x4x4xf32>, tensor<2x1x3x3xf32>) -> tensor<1x2x2x2xf32>
  return %y : tensor<1x2x2x2xf32>
}

// -----

// Nothing is zero: no option makes it sparse.

// CHECK-LABEL: func.func @dense
// CHECK: detected = "dense", kernel = "dense"
// CHECK-SAME: reason = "dense: no weight is zero", scheme = #sparse.dense
// SPARSE-LABEL: func.func @dense
// SPARSE: kernel = "dense", {{.*}}reason = "dense: no weight is zero"
func.func @dense(%x: tensor<1x2xf32>) -> tensor<1x2xf32> {
  %w = arith.constant dense<1.0> : tensor<2x2xf32>
  %0 = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<1x2xf32>, tensor<2x2xf32>) -> tensor<1x2xf32>
  return %0 : tensor<1x2xf32>
}

// -----

// Pairs of 1x1 filters share loads; 128 channels are cut into blocks of 64. Linear layers have no such attributes.

// CHECK-LABEL: func.func @pointwise_and_matrix
// CHECK: "sparse.conv"{{.*}}channel_block = 64 : i64, {{.*}}filters_per_group = 2 : i64, {{.*}}kernel = "sparse"
// CHECK: "sparse.linear"
// CHECK-NOT: filters_per_group
// CHECK-SAME: kernel = "sparse"
func.func @pointwise_and_matrix(%x: tensor<1x128x16x16xf32>, %v: tensor<1x3xf32>)
    -> (tensor<1x2x16x16xf32>, tensor<1x2xf32>) {
  %zero = arith.constant dense<0.0> : tensor<2x128x1x1xf32>
  %m = arith.constant dense<[[1.0, 0.0, 0.0], [0.0, 0.0, 3.0]]> : tensor<2x3xf32>
  %y = "sparse.conv"(%x, %zero) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.connectivity<[1, 1]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (tensor<1x128x16x16xf32>, tensor<2x128x1x1xf32>) -> tensor<1x2x16x16xf32>
  %0 = "sparse.linear"(%v, %m) {activation = "none", scheme = #sparse.unstructured,
      operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<1x3xf32>, tensor<2x3xf32>) -> tensor<1x2xf32>
  return %y, %0 : tensor<1x2x16x16xf32>, tensor<1x2xf32>
}

// -----

// A depthwise filter has one kernel: there is nothing to skip, whatever is asked for.

// CHECK-LABEL: func.func @depthwise
// CHECK: detected = "connectivity", {{.*}}filters_per_group = 1 : i64, groups = 2 : i64, kernel = "dense"
// CHECK-SAME: reason = "dense: depthwise, a filter has one kernel", scheme = #sparse.dense
// SPARSE-LABEL: func.func @depthwise
// SPARSE: kernel = "dense"
func.func @depthwise(%x: tensor<1x2x3x3xf32>) -> tensor<1x2x1x1xf32> {
  %w = arith.constant dense<[[[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]],
                             [[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]]> : tensor<2x1x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 2, activation = "none", scheme = #sparse.connectivity<[3, 3]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (tensor<1x2x3x3xf32>, tensor<2x1x3x3xf32>) -> tensor<1x2x1x1xf32>
  return %y : tensor<1x2x1x1xf32>
}

// -----

// Filters that share columns: the groups that the kernel will run, whatever else is chosen.

// CHECK-LABEL: func.func @kgs
// CHECK: channel_block = 2 : i64, detected = "kgs", {{.*}}filters_per_group = 2 : i64, {{.*}}kernel = "sparse"
// CHECK-SAME: reason = "sparse: 33.3% of the multiply-adds, pays below {{[0-9.]+}}%"
// CHECK-SAME: scheme = #sparse.kgs<2 : i64, 2 : i64, [3]>
// DENSE-LABEL: func.func @kgs
// DENSE: detected = "kgs", {{.*}}filters_per_group = 4 : i64, {{.*}}kernel = "dense"
// DENSE-SAME: scheme = #sparse.dense
func.func @kgs(%x: tensor<1x2x4xf32>) -> tensor<1x8x2xf32> {
  %w = arith.constant dense<[[[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]], [[0.0, 3.0, 0.0], [0.0, 4.0, 0.0]],
                             [[5.0, 0.0, 6.0], [7.0, 0.0, 8.0]], [[9.0, 0.0, 1.0], [2.0, 0.0, 3.0]],
                             [[0.0, 4.0, 0.0], [0.0, 5.0, 0.0]], [[0.0, 6.0, 0.0], [0.0, 7.0, 0.0]],
                             [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]> : tensor<8x2x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1], padding_low = [0], padding_high = [0], dilations = [1],
      groups = 1, activation = "none", scheme = #sparse.kgs<2 : i64, 2 : i64, [3]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (tensor<1x2x4xf32>, tensor<8x2x3xf32>) -> tensor<1x8x2xf32>
  return %y : tensor<1x8x2xf32>
}

// -----

// CHECK-LABEL: func.func @block
// CHECK: detected = "bcr", {{.*}}filters_per_group = 2 : i64, {{.*}}kernel = "sparse"
// CHECK-SAME: reason = "sparse: 50.0% of the multiply-adds, pays below {{[0-9.]+}}%"
// CHECK-SAME: scheme = #sparse.bcr<2 : i64, 2 : i64>
func.func @block(%x: tensor<1x4x2x2xf32>) -> tensor<1x4x2x2xf32> {
  %w = arith.constant dense<[[[[1.0]], [[0.0]], [[2.0]], [[0.0]]], [[[0.0]], [[5.0]], [[0.0]], [[6.0]]],
                             [[[3.0]], [[0.0]], [[4.0]], [[0.0]]], [[[0.0]], [[7.0]], [[0.0]], [[8.0]]]]> : tensor<4x4x1x1xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.bcr<2 : i64, 2 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (tensor<1x4x2x2xf32>, tensor<4x4x1x1xf32>) -> tensor<1x4x2x2xf32>
  return %y : tensor<1x4x2x2xf32>
}

// -----

// Blocks of which three of four columns stay: not worth it in a convolution, and worth it in a matrix, where bytes count.

// CHECK-LABEL: func.func @full_blocks
// CHECK: "sparse.conv"
// CHECK-SAME: detected = "bcr", {{.*}}kernel = "dense"
// CHECK-SAME: reason = "dense: 75.0% of the multiply-adds, pays below {{[0-9.]+}}%", scheme = #sparse.dense
// CHECK: "sparse.linear"
// CHECK-SAME: detected = "bcr", kernel = "sparse"
// SPARSE-LABEL: func.func @full_blocks
// SPARSE: kernel = "sparse", {{.*}}reason = "sparse: asked for", scheme = #sparse.bcr<
func.func @full_blocks(%x: tensor<1x4x2x2xf32>, %v: tensor<1x4xf32>) -> (tensor<1x2x2x2xf32>, tensor<1x2xf32>) {
  %w = arith.constant dense<[[[[1.0]], [[0.0]], [[2.0]], [[3.0]]], [[[5.0]], [[0.0]], [[4.0]], [[6.0]]]]> : tensor<2x4x1x1xf32>
  %m = arith.constant dense<[[1.0, 0.0, 2.0, 3.0], [5.0, 0.0, 4.0, 6.0]]> : tensor<2x4xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "none", scheme = #sparse.bcr<2 : i64, 4 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (tensor<1x4x2x2xf32>, tensor<2x4x1x1xf32>) -> tensor<1x2x2x2xf32>
  %z = "sparse.linear"(%v, %m) {activation = "none", scheme = #sparse.bcr<2 : i64, 4 : i64>,
      operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<1x4xf32>, tensor<2x4xf32>) -> tensor<1x2xf32>
  return %y, %z : tensor<1x2x2x2xf32>, tensor<1x2xf32>
}
