// RUN: %espalier-opt --sparse-place-parts --split-input-file %s | FileCheck %s

// Rows and their margins, and columns around them: the rows are written where they will lie.
// CHECK-LABEL: func @padded
// CHECK-NOT: memref.alloc
// CHECK: %[[ROWS:.*]] = memref.subview %arg1[1, 1] [4, 4]
// CHECK: memref.copy %arg0, %[[ROWS]]
// CHECK: memref.copy %{{.*}}, %{{.*}} : memref<6x1xf32, strided<[6, 1], offset: 2>> to memref<6x1xf32, strided<[6, 1]>>
// CHECK-NOT: memref.copy
func.func @padded(%x: memref<4x4xf32>, %y: memref<6x6xf32>) {
  %a = memref.alloc() : memref<6x4xf32>
  %0 = memref.subview %a[1, 0] [4, 4] [1, 1] : memref<6x4xf32> to memref<4x4xf32, strided<[4, 1], offset: 4>>
  memref.copy %x, %0 : memref<4x4xf32> to memref<4x4xf32, strided<[4, 1], offset: 4>>
  %1 = memref.subview %y[0, 1] [6, 4] [1, 1] : memref<6x6xf32> to memref<6x4xf32, strided<[6, 1], offset: 1>>
  memref.copy %a, %1 : memref<6x4xf32> to memref<6x4xf32, strided<[6, 1], offset: 1>>
  %2 = memref.subview %a[0, 1] [6, 1] [1, 1] : memref<6x4xf32> to memref<6x1xf32, strided<[4, 1], offset: 1>>
  %3 = memref.subview %y[0, 0] [6, 1] [1, 1] : memref<6x6xf32> to memref<6x1xf32, strided<[6, 1]>>
  memref.copy %2, %3 : memref<6x1xf32, strided<[4, 1], offset: 1>> to memref<6x1xf32, strided<[6, 1]>>
  return
}

// -----

// The place is written meanwhile, by what overlaps it: the buffer stays.
// CHECK-LABEL: func @overlapping
// CHECK: memref.alloc
func.func @overlapping(%x: memref<4x4xf32>, %z: memref<4x1xf32>, %y: memref<4x6xf32>) {
  %a = memref.alloc() : memref<4x4xf32>
  memref.copy %x, %a : memref<4x4xf32> to memref<4x4xf32>
  %1 = memref.subview %y[0, 1] [4, 4] [1, 1] : memref<4x6xf32> to memref<4x4xf32, strided<[6, 1], offset: 1>>
  memref.copy %a, %1 : memref<4x4xf32> to memref<4x4xf32, strided<[6, 1], offset: 1>>
  %2 = memref.subview %y[0, 4] [4, 1] [1, 1] : memref<4x6xf32> to memref<4x1xf32, strided<[6, 1], offset: 4>>
  memref.copy %z, %2 : memref<4x1xf32> to memref<4x1xf32, strided<[6, 1], offset: 4>>
  %3 = memref.subview %a[0, 3] [4, 1] [1, 1] : memref<4x4xf32> to memref<4x1xf32, strided<[4, 1], offset: 3>>
  %4 = memref.subview %y[0, 5] [4, 1] [1, 1] : memref<4x6xf32> to memref<4x1xf32, strided<[6, 1], offset: 5>>
  memref.copy %3, %4 : memref<4x1xf32, strided<[4, 1], offset: 3>> to memref<4x1xf32, strided<[6, 1], offset: 5>>
  return
}

// -----

// Written again behind the copy, and read by another operation: the buffers stay.
// CHECK-LABEL: func @changed
// CHECK-COUNT-2: memref.alloc
func.func @changed(%x: memref<4xf32>, %y: memref<8xf32>) {
  %a = memref.alloc() : memref<4xf32>
  %b = memref.alloc() : memref<4xf32>
  memref.copy %x, %a : memref<4xf32> to memref<4xf32>
  %0 = memref.subview %y[0] [4] [1] : memref<8xf32> to memref<4xf32, strided<[1]>>
  memref.copy %a, %0 : memref<4xf32> to memref<4xf32, strided<[1]>>
  memref.copy %x, %a : memref<4xf32> to memref<4xf32>
  memref.copy %x, %b : memref<4xf32> to memref<4xf32>
  linalg.generic {indexing_maps = [affine_map<(i) -> (i)>], iterator_types = ["parallel"]} outs(%b : memref<4xf32>) {
  ^bb0(%in: f32):
    %n = arith.negf %in : f32
    linalg.yield %n : f32
  }
  %1 = memref.subview %y[4] [4] [1] : memref<8xf32> to memref<4xf32, strided<[1], offset: 4>>
  memref.copy %b, %1 : memref<4xf32> to memref<4xf32, strided<[1], offset: 4>>
  return
}
