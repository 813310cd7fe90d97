// RUN: %espalier-opt --sparse-expand-copies --split-input-file %s | FileCheck %s

// CHECK-LABEL: func @strided
// CHECK-SAME: (%[[A:.*]]: memref<2x3xf32>, %[[B:.*]]: memref<2x3xf32, strided<[9, 3]>>)
// CHECK: scf.parallel (%[[I:.*]], %[[J:.*]]) = ({{.*}}) to ({{.*}})
// CHECK: %[[V:.*]] = memref.load %[[A]][%[[I]], %[[J]]]
// CHECK: memref.store %[[V]], %[[B]][%[[I]], %[[J]]]
// CHECK-NOT: memref.copy
func.func @strided(%a: memref<2x3xf32>, %b: memref<2x3xf32, strided<[9, 3]>>) {
  memref.copy %a, %b : memref<2x3xf32> to memref<2x3xf32, strided<[9, 3]>>
  return
}

// -----

// Inside a loop, of a size that is known when it runs.
// CHECK-LABEL: func @dynamic
// CHECK: scf.for
// CHECK: memref.dim
// CHECK: scf.parallel
// CHECK-NOT: memref.copy
func.func @dynamic(%a: memref<?xf32>, %b: memref<?xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    memref.copy %a, %b : memref<?xf32> to memref<?xf32>
  }
  return
}

// -----

// A scalar needs no loop.
// CHECK-LABEL: func @scalar
// CHECK-NOT: scf.parallel
// CHECK: memref.load
// CHECK-NEXT: memref.store
func.func @scalar(%a: memref<f32>, %b: memref<f32>) {
  memref.copy %a, %b : memref<f32> to memref<f32>
  return
}

// -----

// Buffers of unknown rank are left alone.
// CHECK-LABEL: func @unranked
// CHECK: memref.copy
func.func @unranked(%a: memref<*xf32>, %b: memref<*xf32>) {
  memref.copy %a, %b : memref<*xf32> to memref<*xf32>
  return
}
