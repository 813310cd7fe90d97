// The recurrent ops parse, verify, print and parse again, in text and bytecode; the number of steps may be free.
// RUN: %espalier-opt %s | %espalier-opt | FileCheck %s
// RUN: %espalier-opt %s --emit-bytecode -o %t.mlirbc && %espalier-opt %t.mlirbc | FileCheck %s

// CHECK-LABEL: @gru
// CHECK: "sparse.linear"({{.*}} : (tensor<?x5xf32>, tensor<12x5xf32>) -> tensor<?x12xf32>
// CHECK: "sparse.gru"(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) {direction = "reverse"
// CHECK-SAME: scheme = #sparse.undetected
// CHECK-SAME: -> tensor<?x2x4xf32>
func.func @gru(%x: tensor<?x5xf32>, %u: tensor<12x5xf32>, %g: tensor<?x2x12xf32>, %h: tensor<2x4xf32>,
               %w: tensor<12x4xf32>, %b: tensor<12xf32>) -> (tensor<?x12xf32>, tensor<?x2x4xf32>) {
  %p = "sparse.linear"(%x, %u) {activation = "none", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<?x5xf32>, tensor<12x5xf32>) -> tensor<?x12xf32>
  %y = "sparse.gru"(%g, %h, %w, %b) {direction = "reverse", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 1, 1>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<?x2x12xf32>, tensor<2x4xf32>, tensor<12x4xf32>, tensor<12xf32>) -> tensor<?x2x4xf32>
  return %p, %y : tensor<?x12xf32>, tensor<?x2x4xf32>
}

// CHECK-LABEL: @lstm
// CHECK: %{{.*}}:2 = "sparse.lstm"(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) {direction = "forward"
// CHECK-SAME: scheme = #sparse.bcr<4 : i64, 16 : i64>
func.func @lstm(%g: tensor<9x1x16xf32>, %h: tensor<1x4xf32>, %w: tensor<16x4xf32>)
    -> (tensor<9x1x4xf32>, tensor<1x4xf32>) {
  %y, %c = "sparse.lstm"(%g, %h, %h, %w) {direction = "forward", scheme = #sparse.bcr<4, 16>,
      operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<9x1x16xf32>, tensor<1x4xf32>, tensor<1x4xf32>, tensor<16x4xf32>)
      -> (tensor<9x1x4xf32>, tensor<1x4xf32>)
  return %y, %c : tensor<9x1x4xf32>, tensor<1x4xf32>
}

// CHECK-LABEL: @packed
// CHECK: "sparse.packed_gru"({{.*}}) {direction = "forward"
func.func @packed(%g: tensor<?x1x6xf32>, %h: tensor<1x2xf32>, %w: tensor<1x2x3x16xf32>) -> tensor<?x1x2xf32> {
  %y = "sparse.packed_gru"(%g, %h, %w) {packing = {storage = "dense_rows", lanes = 16, vectors = 3, gates = 3},
      storage_names = ["weight"], weight_shape = [6, 2], direction = "forward",
      scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<?x1x6xf32>, tensor<1x2xf32>, tensor<1x2x3x16xf32>) -> tensor<?x1x2xf32>
  return %y : tensor<?x1x2xf32>
}
