// RUN: %espalier-opt --pass-pipeline='builtin.module(sparse-set-target{lanes=8},sparse-lower-scatters)' %s | FileCheck %s

// Whole rows are added one after the other; their last vector is masked.
// CHECK-LABEL: func @rows
// CHECK: scf.parallel
// CHECK: scf.for
// CHECK: memref.load {{.*}} : memref<9x1xi64>
// CHECK: scf.for
// CHECK: arith.addf {{.*}} : vector<8xf32>
// CHECK: vector.maskedstore
// CHECK-NOT: tm_tensor
func.func @rows(%x: memref<9x1x20xf32>, %at: memref<9x1xi64>, %y: memref<50x20xf32>) {
  tm_tensor.scatter {dimension_map = array<i64: 0>} unique_indices(false)
      ins(%x, %at : memref<9x1x20xf32>, memref<9x1xi64>) outs(%y : memref<50x20xf32>) {
  ^bb0(%new: f32, %old: f32):
    %0 = arith.addf %old, %new : f32
    tm_tensor.yield %0 : f32
  }
  return
}

// Columns, and single elements, are no rows.
// CHECK-LABEL: func @columns
// CHECK-COUNT-2: tm_tensor.scatter
func.func @columns(%x: memref<9x50x16xf32>, %at: memref<9x1xi64>, %y: memref<50x20xf32>,
                   %one: memref<9xf32>, %z: memref<50xf32>) {
  tm_tensor.scatter {dimension_map = array<i64: 1>} unique_indices(false)
      ins(%x, %at : memref<9x50x16xf32>, memref<9x1xi64>) outs(%y : memref<50x20xf32>) {
  ^bb0(%new: f32, %old: f32):
    tm_tensor.yield %new : f32
  }
  tm_tensor.scatter {dimension_map = array<i64: 0>} unique_indices(false)
      ins(%one, %at : memref<9xf32>, memref<9x1xi64>) outs(%z : memref<50xf32>) {
  ^bb0(%new: f32, %old: f32):
    tm_tensor.yield %new : f32
  }
  return
}
