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

// What was copied only to be sorted is sorted where it is; what is read again later is copied.
// CHECK-LABEL: func @copied
// CHECK: memref.copy %arg0
// CHECK-NOT: memref.copy
// CHECK: call @espalier_sort_
// CHECK: memref.copy
func.func @copied(%x: memref<3x40xf32>, %places: memref<3x40xi64>, %y: memref<3x40xf32>) {
  %a = memref.alloc() : memref<3x40xf32>
  memref.copy %x, %a : memref<3x40xf32> to memref<3x40xf32>
  %b = memref.alloc() : memref<3x40xf32>
  memref.copy %a, %b : memref<3x40xf32> to memref<3x40xf32>
  tm_tensor.sort dimension(1) outs(%b, %places : memref<3x40xf32>, memref<3x40xi64>) {
  ^bb0(%p: f32, %q: f32, %i: i64, %j: i64):
    %0 = arith.cmpf ole, %p, %q : f32
    tm_tensor.yield %0 : i1
  }
  memref.copy %b, %y : memref<3x40xf32> to memref<3x40xf32>
  return
}

// CHECK-LABEL: func @read_again
// CHECK-COUNT-2: memref.copy
// CHECK: call @espalier_sort_
func.func @read_again(%x: memref<3x40xf32>, %places: memref<3x40xi64>, %y: memref<3x40xf32>) {
  %a = memref.alloc() : memref<3x40xf32>
  memref.copy %x, %a : memref<3x40xf32> to memref<3x40xf32>
  %b = memref.alloc() : memref<3x40xf32>
  memref.copy %a, %b : memref<3x40xf32> to memref<3x40xf32>
  tm_tensor.sort dimension(1) outs(%b, %places : memref<3x40xf32>, memref<3x40xi64>) {
  ^bb0(%p: f32, %q: f32, %i: i64, %j: i64):
    %0 = arith.cmpf ole, %p, %q : f32
    tm_tensor.yield %0 : i1
  }
  memref.copy %a, %y : memref<3x40xf32> to memref<3x40xf32>
  return
}
