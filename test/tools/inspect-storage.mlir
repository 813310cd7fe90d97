// RUN: espalier inspect --storage %s | FileCheck %s
// RUN: not espalier inspect --storage %s.none 2>&1 | FileCheck %s --check-prefix=NONE

// CHECK: name scheme storage bytes of them index dense
// CHECK: layer0 unstructured sell (runs)
// CHECK: bcrc
// CHECK: csr
// NONE: inspect-storage.mlir.none

func.func @main(%x: tensor<1x4xf32>) -> tensor<1x4xf32> {
  %w = arith.constant dense<[[1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 3.0, 0.0], [0.0, 0.0, 0.0, 4.0], [5.0, 0.0, 0.0, 0.0]]> : tensor<4x4xf32>
  %y = "sparse.linear"(%x, %w) {activation = "none", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 0>,
      schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x4xf32>, tensor<4x4xf32>) -> tensor<1x4xf32>
  return %y : tensor<1x4xf32>
}
