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
