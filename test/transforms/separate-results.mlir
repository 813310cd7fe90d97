// RUN: %espalier-opt --sparse-separate-results --split-input-file %s | FileCheck %s

// CHECK-LABEL: func @twice
// CHECK: %[[Y:.*]] = memref.alloc
// CHECK: %[[COPY:.*]] = memref.alloc
// CHECK: memref.copy %[[Y]], %[[COPY]]
// CHECK: return %[[Y]], %[[COPY]]
func.func @twice() -> (memref<2x3xf32>, memref<2x3xf32>) {
  %y = memref.alloc() : memref<2x3xf32>
  return %y, %y : memref<2x3xf32>, memref<2x3xf32>
}

// -----

// Different buffers, and numbers, are returned as they are.
// CHECK-LABEL: func @apart
// CHECK-NOT: memref.copy
func.func @apart(%i: index) -> (memref<2xf32>, memref<2xf32>, index, index) {
  %x = memref.alloc() : memref<2xf32>
  %y = memref.alloc() : memref<2xf32>
  return %x, %y, %i, %i : memref<2xf32>, memref<2xf32>, index, index
}
