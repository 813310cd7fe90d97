// RUN: %espalier-opt --sparse-set-target="lanes=4 core=cortex-a76" --sparse-schedule-tiles --sparse-lower-to-vector --split-input-file %s | FileCheck %s

// Where every lane holds pixels, four vectors of them are interleaved to four lines (ST4), and dealt out again (LD4).

// CHECK-LABEL: func.func private @unlift_1
// CHECK: vector.load {{.*}} vector<16xf32>
// CHECK: vector.shuffle {{.*}} [0, 4, 8, 12]
// CHECK-COUNT-4: vector.store {{.*}} vector<4xf32>
// CHECK-LABEL: func.func private @lift_0
// CHECK-COUNT-4: vector.load {{.*}} vector<4xf32>
// CHECK: vector.shuffle {{.*}} [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]
// CHECK: vector.store {{.*}} vector<16xf32>
// CHECK-LABEL: func.func @interleaved
// CHECK: call @lift_0
// CHECK: call @unlift_1
func.func @interleaved(%x: tensor<1x2x8x8xf32>) -> tensor<1x2x8x8xf32> {
  %l = "sparse.lift"(%x) {layout = #sparse.lanes<[2, 2], [8, 8]>} : (tensor<1x2x8x8xf32>) -> tensor<1x2x17x4xf32>
  %u = "sparse.unlift"(%l) {layout = #sparse.lanes<[2, 2], [8, 8]>} : (tensor<1x2x17x4xf32>) -> tensor<1x2x8x8xf32>
  return %u : tensor<1x2x8x8xf32>
}

// -----

// Lanes that reach beyond the image: a 1x1 max pool, and a gather.

// CHECK-LABEL: func.func @waste
// CHECK: call @max_
// CHECK: call @unlift_
func.func @waste(%x: tensor<1x2x7x8xf32>) -> tensor<1x2x7x8xf32> {
  %l = "sparse.lift"(%x) {layout = #sparse.lanes<[2, 2], [7, 8]>} : (tensor<1x2x7x8xf32>) -> tensor<1x2x17x4xf32>
  %u = "sparse.unlift"(%l) {layout = #sparse.lanes<[2, 2], [7, 8]>} : (tensor<1x2x17x4xf32>) -> tensor<1x2x7x8xf32>
  return %u : tensor<1x2x7x8xf32>
}

// -----

// Lines that will lie in a concatenation are written there.

// CHECK-LABEL: func.func @joined
// CHECK: %[[WHOLE:.*]] = memref.alloc() {alignment = 64 : i64} : memref<1x4x17x4xf32>
// CHECK: memref.subview %[[WHOLE]][0, 0, 0, 0]
// CHECK: call @lift_{{.*}} memref<1x2x17x4xf32, strided<[272, 68, 4, 1]>>
// CHECK: memref.subview %[[WHOLE]][0, 2, 0, 0]
// CHECK: call @lift_{{.*}} memref<1x2x17x4xf32, strided<[272, 68, 4, 1], offset: 136>>
func.func @joined(%x: tensor<1x2x8x8xf32>, %y: tensor<1x2x8x8xf32>) -> tensor<1x4x17x4xf32> {
  %l = "sparse.lift"(%x) {layout = #sparse.lanes<[2, 2], [8, 8]>} : (tensor<1x2x8x8xf32>) -> tensor<1x2x17x4xf32>
  %m = "sparse.lift"(%y) {layout = #sparse.lanes<[2, 2], [8, 8]>} : (tensor<1x2x8x8xf32>) -> tensor<1x2x17x4xf32>
  %c = tensor.concat dim(1) %l, %m : (tensor<1x2x17x4xf32>, tensor<1x2x17x4xf32>) -> tensor<1x4x17x4xf32>
  return %c : tensor<1x4x17x4xf32>
}
