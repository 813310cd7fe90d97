// RUN: %espalier-opt --sparse-expand-math %s | FileCheck %s --enable-var-scope

// CHECK-LABEL: func @vector
// CHECK-NOT: math.{{tanh|exp|erf|log}}
// CHECK: vector.fma {{.*}} : vector<16xf32>
// CHECK: return
func.func @vector(%x: vector<16xf32>) -> vector<16xf32> {
  %0 = math.tanh %x : vector<16xf32>
  %1 = math.exp %0 : vector<16xf32>
  %2 = math.erf %1 : vector<16xf32>
  %3 = math.log1p %2 : vector<16xf32>
  return %3 : vector<16xf32>
}

// A scalar is a vector of one.
// CHECK-LABEL: func @scalar
// CHECK: vector.fma {{.*}} : vector<1xf32>
// CHECK: return %{{.*}} : f32
func.func @scalar(%x: f32) -> f32 {
  %0 = math.exp %x : f32
  return %0 : f32
}

// CHECK-LABEL: func @powers
// CHECK-SAME: (%[[X:.*]]: f32)
// CHECK: %[[SQUARE:.*]] = arith.mulf %[[X]], %[[X]]
// CHECK: %[[FOURTH:.*]] = arith.mulf %[[SQUARE]], %[[SQUARE]]
// CHECK: %[[FIFTH:.*]] = arith.mulf %[[FOURTH]], %[[X]]
// CHECK: math.sqrt %[[FIFTH]]
// CHECK: arith.divf
func.func @powers(%x: f32) -> f32 {
  %c5 = arith.constant 5 : i64
  %c-half = arith.constant -0.5 : f32
  %0 = math.fpowi %x, %c5 : f32, i64
  %1 = math.powf %0, %c-half : f32
  return %1 : f32
}

// What is not known stays.
// CHECK-LABEL: func @others
// CHECK: math.exp %{{.*}} : f64
// CHECK: math.powf %{{.*}}, %{{.*}} : f32
// CHECK: math.sin
func.func @others(%x: f64, %y: f32) -> (f64, f32) {
  %0 = math.exp %x : f64
  %1 = math.powf %y, %y : f32
  %2 = math.sin %1 : f32
  return %0, %2 : f64, f32
}

// Vectors that a loop divides by one number are multiplied by its reciprocal in two parts, where that is a usual
// number; a number that the loop itself computes, or whose reciprocal is exact, is left alone. A constant's
// reciprocal is known.
// CHECK-LABEL: func @one_number
// CHECK: %[[N:.*]] = arith.addf
// CHECK: %[[R:.*]] = arith.divf %{{.*}}, %[[N]] : f32
// CHECK: %[[FIRST:.*]] = arith.bitcast %{{.*}} : i32 to f32
// CHECK: %[[SECOND:.*]] = arith.mulf %{{.*}}, %[[R]] : f32
// CHECK: scf.for
// CHECK: scf.if
// CHECK: %[[HIGH:.*]] = vector.broadcast %[[FIRST]]
// CHECK: %[[LOW:.*]] = vector.broadcast %[[SECOND]]
// CHECK: %[[REST:.*]] = arith.mulf %[[X:.*]], %[[LOW]]
// CHECK: vector.fma %[[X]], %[[HIGH]], %[[REST]]
// CHECK: else
// CHECK: arith.divf {{.*}} : vector<16xf32>
// CHECK-LABEL: func @constant
// CHECK-NOT: arith.divf
// CHECK: vector.fma
// CHECK: return
// CHECK-LABEL: func @own_number
// CHECK-NOT: scf.if
// CHECK: return
func.func @one_number(%x: memref<64xf32>, %a: f32) {
  %c0 = arith.constant 0 : index
  %c16 = arith.constant 16 : index
  %c64 = arith.constant 64 : index
  %n = arith.addf %a, %a : f32
  scf.for %at = %c0 to %c64 step %c16 {
    %0 = vector.load %x[%at] : memref<64xf32>, vector<16xf32>
    %d = vector.broadcast %n : f32 to vector<16xf32>
    %1 = arith.divf %0, %d : vector<16xf32>
    vector.store %1, %x[%at] : memref<64xf32>, vector<16xf32>
  }
  return
}
func.func @constant(%x: vector<16xf32>) -> vector<16xf32> {
  %three = arith.constant dense<3.0> : vector<16xf32>
  %0 = arith.divf %x, %three : vector<16xf32>
  return %0 : vector<16xf32>
}
func.func @own_number(%x: memref<64xf32>) {
  %c0 = arith.constant 0 : index
  %c16 = arith.constant 16 : index
  %c64 = arith.constant 64 : index
  %four = arith.constant 4.0 : f32
  scf.for %at = %c0 to %c64 step %c16 {
    %n = memref.load %x[%at] : memref<64xf32>
    %0 = vector.load %x[%at] : memref<64xf32>, vector<16xf32>
    %d = vector.broadcast %n : f32 to vector<16xf32>
    %1 = arith.divf %0, %d : vector<16xf32>
    %e = vector.broadcast %four : f32 to vector<16xf32>
    %2 = arith.divf %1, %e : vector<16xf32>
    vector.store %2, %x[%at] : memref<64xf32>, vector<16xf32>
  }
  return
}
