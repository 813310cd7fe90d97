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

// -----

// A result is allocated in its own shape; what writes it sees another.
// CHECK-LABEL: func @reshaped
// CHECK: %[[Y:.*]] = memref.alloc() : memref<3x2xf32>
// CHECK: %[[FLAT:.*]] = memref.collapse_shape %[[Y]]
// CHECK: %[[X:.*]] = memref.expand_shape %[[FLAT]]
// CHECK-SAME: into memref<2x3xf32>
// CHECK: memref.copy %{{.*}}, %[[X]]
// CHECK: return %[[Y]] : memref<3x2xf32>
func.func @reshaped(%a: memref<2x3xf32>) -> memref<3x2xf32> {
  %x = memref.alloc() : memref<2x3xf32>
  memref.copy %a, %x : memref<2x3xf32> to memref<2x3xf32>
  %flat = memref.collapse_shape %x [[0, 1]] : memref<2x3xf32> into memref<6xf32>
  %y = memref.expand_shape %flat [[0, 1]] output_shape [3, 2] : memref<6xf32> into memref<3x2xf32>
  return %y : memref<3x2xf32>
}

// -----

// An argument's shape is the caller's; a part of a buffer is no reshape.
// CHECK-LABEL: func @others
// CHECK: memref.collapse_shape %{{.*}} : memref<2x3xf32> into memref<6xf32>
// CHECK: memref.alloc() : memref<2x4xf32>
// CHECK: memref.subview
func.func @others(%a: memref<2x3xf32>) -> (memref<6xf32>, memref<2x3xf32, strided<[4, 1]>>) {
  %flat = memref.collapse_shape %a [[0, 1]] : memref<2x3xf32> into memref<6xf32>
  %x = memref.alloc() : memref<2x4xf32>
  %part = memref.subview %x[0, 0] [2, 3] [1, 1] : memref<2x4xf32> to memref<2x3xf32, strided<[4, 1]>>
  return %flat, %part : memref<6xf32>, memref<2x3xf32, strided<[4, 1]>>
}

// -----

// One view that is returned twice is allocated in its shape once.
// CHECK-LABEL: func @again
// CHECK: %[[Z:.*]] = memref.alloc() : memref<6xf32>
// CHECK: %[[COPY:.*]] = memref.alloc() : memref<6xf32>
// CHECK: memref.copy %[[Z]], %[[COPY]]
// CHECK: return %[[Z]], %[[COPY]]
func.func @again(%a: memref<2x3xf32>) -> (memref<6xf32>, memref<6xf32>) {
  %y = memref.alloc() : memref<2x3xf32>
  memref.copy %a, %y : memref<2x3xf32> to memref<2x3xf32>
  %z = memref.collapse_shape %y [[0, 1]] : memref<2x3xf32> into memref<6xf32>
  return %z, %z : memref<6xf32>, memref<6xf32>
}

// -----

// Two shapes of one buffer: one of them stays a view, which is copied to its argument later.
// CHECK-LABEL: func @shapes
// CHECK: memref.alloc()
// CHECK-NOT: memref.alloc()
// CHECK: return %{{.*}}, %{{.*}} : memref<6xf32>, memref<3x2xf32>
func.func @shapes(%a: memref<2x3xf32>) -> (memref<6xf32>, memref<3x2xf32>) {
  %y = memref.alloc() : memref<2x3xf32>
  memref.copy %a, %y : memref<2x3xf32> to memref<2x3xf32>
  %z = memref.collapse_shape %y [[0, 1]] : memref<2x3xf32> into memref<6xf32>
  %w = memref.expand_shape %z [[0, 1]] output_shape [3, 2] : memref<6xf32> into memref<3x2xf32>
  return %z, %w : memref<6xf32>, memref<3x2xf32>
}
