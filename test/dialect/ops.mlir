// Every op and attribute parses, verifies, prints and parses again, in text and bytecode.
// RUN: %espalier-opt %s | %espalier-opt | FileCheck %s
// RUN: %espalier-opt %s --mlir-print-op-generic | %espalier-opt | FileCheck %s
// RUN: %espalier-opt %s --emit-bytecode -o %t.mlirbc && %espalier-opt %t.mlirbc | FileCheck %s

// CHECK-LABEL: @conv
// CHECK: "sparse.conv"(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) {activation = "relu", dilations = [1, 1], groups = 1 : i64
// CHECK-SAME: operandSegmentSizes = array<i32: 1, 1, 1, 1>
// CHECK-SAME: scheme = #sparse.pattern<[3, 3], {{\[\[}}0, 1, 3, 4], [1, 2, 4, 5]]>
func.func @conv(%x: tensor<1x2x8x8xf32>, %w: tensor<4x2x3x3xf32>, %b: tensor<4xf32>,
                %r: tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32> {
  %0 = "sparse.conv"(%x, %w, %b, %r) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1],
      dilations = [1, 1], groups = 1, activation = "relu", scheme = #sparse.pattern<[3, 3], [[0, 1, 3, 4], [1, 2, 4, 5]]>,
      operandSegmentSizes = array<i32: 1, 1, 1, 1>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x8x8xf32>, tensor<4x2x3x3xf32>, tensor<4xf32>, tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  return %0 : tensor<1x4x8x8xf32>
}

// A 1-D convolution and a grouped, strided, dilated 3-D one.
// CHECK-LABEL: @ranks
// CHECK: scheme = #sparse.undetected
// CHECK: scheme = #sparse.connectivity<[3, 3, 3]>
func.func @ranks(%x: tensor<2x4x9xf32>, %w: tensor<4x4x3xf32>, %v: tensor<1x4x9x9x9xf32>,
                 %u: tensor<6x2x3x3x3xf32>) -> (tensor<2x4x7xf32>, tensor<1x6x3x3x3xf32>) {
  %0 = "sparse.conv"(%x, %w) {strides = [1], padding_low = [0], padding_high = [0], dilations = [1], groups = 1,
      activation = "none", scheme = #sparse.undetected, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<2x4x9xf32>, tensor<4x4x3xf32>) -> tensor<2x4x7xf32>
  %1 = "sparse.conv"(%v, %u) {strides = [2, 2, 2], padding_low = [0, 0, 0], padding_high = [0, 0, 0],
      dilations = [2, 2, 2], groups = 2, activation = "relu6", scheme = #sparse.connectivity<[3, 3, 3]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x4x9x9x9xf32>, tensor<6x2x3x3x3xf32>) -> tensor<1x6x3x3x3xf32>
  return %0, %1 : tensor<2x4x7xf32>, tensor<1x6x3x3x3xf32>
}

// CHECK-LABEL: @linear
// CHECK: "sparse.linear"(%{{.*}}, %{{.*}}, %{{.*}}) {{.*}}scheme = #sparse.unstructured
// CHECK: "sparse.linear"(%{{.*}}, %{{.*}}) {{.*}}scheme = #sparse.dense
func.func @linear(%x: tensor<3x5xf32>, %w: tensor<7x5xf32>, %b: tensor<7xf32>) -> (tensor<3x7xf32>, tensor<3x7xf32>) {
  %0 = "sparse.linear"(%x, %w, %b) {activation = "none", scheme = #sparse.unstructured,
      operandSegmentSizes = array<i32: 1, 1, 1>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<3x5xf32>, tensor<7x5xf32>, tensor<7xf32>) -> tensor<3x7xf32>
  %1 = "sparse.linear"(%x, %w) {activation = "relu", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<3x5xf32>, tensor<7x5xf32>) -> tensor<3x7xf32>
  return %0, %1 : tensor<3x7xf32>, tensor<3x7xf32>
}

// CHECK-LABEL: @shared_columns
// CHECK: "sparse.linear"{{.*}}scheme = #sparse.bcr<4 : i64, 16 : i64>
// CHECK: "sparse.conv"{{.*}}scheme = #sparse.kgs<8 : i64, 4 : i64, [3, 3, 3]>
func.func @shared_columns(%x: tensor<3x5xf32>, %w: tensor<7x5xf32>, %v: tensor<1x4x9x9x9xf32>, %u: tensor<6x4x3x3x3xf32>)
    -> (tensor<3x7xf32>, tensor<1x6x7x7x7xf32>) {
  %0 = "sparse.linear"(%x, %w) {activation = "relu", scheme = #sparse.bcr<4, 16>,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<3x5xf32>, tensor<7x5xf32>) -> tensor<3x7xf32>
  %1 = "sparse.conv"(%v, %u) {strides = [1, 1, 1], padding_low = [0, 0, 0], padding_high = [0, 0, 0],
      dilations = [1, 1, 1], groups = 1, activation = "none", scheme = #sparse.kgs<8, 4, [3, 3, 3]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x4x9x9x9xf32>, tensor<6x4x3x3x3xf32>) -> tensor<1x6x7x7x7xf32>
  return %0, %1 : tensor<3x7xf32>, tensor<1x6x7x7x7xf32>
}

// CHECK-LABEL: @layouts
// CHECK: "sparse.lift"(%{{.*}}) {layout = #sparse.lanes<[4, 4], [8, 8]>}
// CHECK: "sparse.unlift"
// CHECK: "sparse.pool"(%{{.*}}) {input_layout = #sparse.plain
func.func @layouts(%x: tensor<1x2x8x8xf32>) -> tensor<1x2x4x4xf32> {
  %0 = "sparse.lift"(%x) {layout = #sparse.lanes<[4, 4], [8, 8]>} : (tensor<1x2x8x8xf32>) -> tensor<1x2x4x16xf32>
  %1 = "sparse.unlift"(%0) {layout = #sparse.lanes<[4, 4], [8, 8]>} : (tensor<1x2x4x16xf32>) -> tensor<1x2x8x8xf32>
  %2 = "sparse.pool"(%1) {kind = "max", kernel = [2, 2], strides = [2, 2], padding_low = [0, 0],
      padding_high = [0, 0], input_layout = #sparse.plain, output_layout = #sparse.plain,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x8x8xf32>) -> tensor<1x2x4x4xf32>
  return %2 : tensor<1x2x4x4xf32>
}

// CHECK-LABEL: @packed
// CHECK: "sparse.packed_linear"
// CHECK-SAME: storage_names = ["indptr", "reorder", "columns", "weight"]
func.func @packed(%x: tensor<1x4xf32>, %p: tensor<3xi32>, %r: tensor<2xi32>, %c: tensor<2xi32>, %w: tensor<2xf32>) -> tensor<1x2xf32> {
  %0 = "sparse.packed_linear"(%x, %p, %r, %c, %w) {packing = {storage = "csr"},
      storage_names = ["indptr", "reorder", "columns", "weight"], weight_shape = [2, 4],
      activation = "none", scheme = #sparse.unstructured,
      operandSegmentSizes = array<i32: 1, 0, 1, 1, 1, 1, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x4xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xf32>) -> tensor<1x2xf32>
  return %0 : tensor<1x2xf32>
}
