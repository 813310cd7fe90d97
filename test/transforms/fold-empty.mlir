// RUN: %espalier-opt --sparse-fold-empty %s | FileCheck %s

// A sum over no rows is what it begins with; one over rows stays.
// CHECK-LABEL: func @sums
// CHECK: %[[ZEROS:.*]] = linalg.fill
// CHECK: %[[SUM:.*]] = linalg.reduce
// CHECK-NOT: linalg.reduce
// CHECK: return %[[ZEROS]], %[[SUM]]
func.func @sums(%none: tensor<0x4xf32>, %some: tensor<2x4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<4xf32>
  %zeros = linalg.fill ins(%zero : f32) outs(%empty : tensor<4xf32>) -> tensor<4xf32>
  %x = linalg.reduce { arith.addf } ins(%none : tensor<0x4xf32>) outs(%zeros : tensor<4xf32>) dimensions = [0]
  %y = linalg.reduce { arith.addf } ins(%some : tensor<2x4xf32>) outs(%zeros : tensor<4xf32>) dimensions = [0]
  return %x, %y : tensor<4xf32>, tensor<4xf32>
}
