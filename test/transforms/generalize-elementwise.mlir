// RUN: %espalier-opt --sparse-generalize-elementwise %s | FileCheck %s --enable-var-scope

// CHECK-LABEL: func @main
// CHECK-NOT: linalg.transpose
// CHECK: linalg.generic
// CHECK: linalg.matmul
func.func @main(%x: tensor<8x4xf32>, %y: tensor<8x8xf32>, %e: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = linalg.transpose ins(%x : tensor<8x4xf32>) outs(%e : tensor<4x8xf32>) permutation = [1, 0]
  %1 = linalg.matmul ins(%0, %y : tensor<4x8xf32>, tensor<8x8xf32>) outs(%e : tensor<4x8xf32>) -> tensor<4x8xf32>
  return %1 : tensor<4x8xf32>
}
