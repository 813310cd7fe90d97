// RUN: %espalier-opt --sparse-record-assertions --split-input-file %s | FileCheck %s

// The code goes on: places are in range by then (sparse-guard-indices).
// CHECK: module attributes {espalier.messages = ["too small", "too large"]}
// CHECK-LABEL: func @lookup
// CHECK-SAME: %[[FAILURES:[a-z0-9]+]]: memref<?xi32>)
// CHECK: scf.parallel
// CHECK: %[[LOW:.*]] = arith.cmpi sge
// CHECK: scf.if %[[LOW]] {
// CHECK: } else {
// CHECK:   %[[ONE:.*]] = arith.constant 1 : i32
// CHECK:   memref.store %[[ONE]], %[[FAILURES]]
// CHECK: }
// CHECK: %[[HIGH:.*]] = arith.cmpi slt
// CHECK: scf.if %[[HIGH]] {
// CHECK: } else {
// CHECK:   memref.store {{.*}}, %[[FAILURES]]
// CHECK: }
// CHECK: memref.load
// CHECK: memref.store
// CHECK-NOT: cf.assert
func.func @lookup(%table: memref<5xf32>, %places: memref<4xindex>, %out: memref<4xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %c5 = arith.constant 5 : index
  scf.parallel (%i) = (%c0) to (%c4) step (%c1) {
    %place = memref.load %places[%i] : memref<4xindex>
    %low = arith.cmpi sge, %place, %c0 : index
    cf.assert %low, "too small"
    %high = arith.cmpi slt, %place, %c5 : index
    cf.assert %high, "too large"
    %x = memref.load %table[%place] : memref<5xf32>
    memref.store %x, %out[%i] : memref<4xf32>
    scf.reduce
  }
  return
}

// -----

// Outside of loops, too.
// CHECK-LABEL: func @outside
// CHECK: scf.if
// CHECK: } else {
// CHECK:   memref.store
// CHECK: }
// CHECK-NEXT: memref.store
// CHECK-NEXT: return
func.func @outside(%ok: i1, %out: memref<f32>) {
  %one = arith.constant 1.0 : f32
  cf.assert %ok, "no"
  memref.store %one, %out[] : memref<f32>
  return
}

// -----

// Without assertions there is nothing to branch on.
// CHECK: module attributes {espalier.messages = []}
// CHECK-LABEL: func @none
// CHECK-NOT: scf.if
func.func @none(%out: memref<f32>) {
  %one = arith.constant 1.0 : f32
  memref.store %one, %out[] : memref<f32>
  return
}
