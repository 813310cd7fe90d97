// RUN: %espalier-opt --sparse-lower-sorts %s | FileCheck %s

// CHECK: func.func private @espalier_sort_1(
// CHECK: arith.shrui
// Few places are read: they are kept in order while the row goes by.
// CHECK: func.func private @espalier_sort_0(
// CHECK-NOT: arith.shrui
// CHECK-LABEL: func.func @topk
// CHECK: %[[KEYS:.*]] = memref.alloc() : memref<20xi32>
// CHECK: scf.parallel
// CHECK: memref.reinterpret_cast %[[KEYS]]
// CHECK: call @espalier_sort_0(
// CHECK-NOT: tm_tensor.sort
func.func @topk() -> memref<4x5xf32, strided<[100, 1]>> {
  %values = memref.alloc() : memref<4x100xf32>
  %places = memref.alloc() : memref<4x100xi64>
  tm_tensor.sort dimension(1) outs(%values, %places : memref<4x100xf32>, memref<4x100xi64>) {
  ^bb0(%a: f32, %b: f32, %c: i64, %d: i64):
    %larger = arith.cmpf oge, %a, %b : f32
    tm_tensor.yield %larger : i1
  }
  %first = memref.subview %values[0, 0] [4, 5] [1, 1]
    : memref<4x100xf32> to memref<4x5xf32, strided<[100, 1]>>
  return %first : memref<4x5xf32, strided<[100, 1]>>
}

// All places are read: keys and where they come from go through memory once a digit.
// CHECK-LABEL: func.func @columns
// CHECK: memref.alloc() : memref<40000xi32>
// CHECK: scf.parallel
// CHECK: call @espalier_sort_1(
func.func @columns(%values: memref<100x200xf32>, %places: memref<100x200xi64>) {
  tm_tensor.sort dimension(0) outs(%values, %places : memref<100x200xf32>, memref<100x200xi64>) {
  ^bb0(%a: f32, %b: f32, %c: i64, %d: i64):
    %smaller = arith.cmpf ole, %a, %b : f32
    tm_tensor.yield %smaller : i1
  }
  return
}
