// RUN: %espalier-opt --sparse-prepare %s | FileCheck %s

// Nothing merges a crop with the padding behind it: -1, then 1, is not 0.
// CHECK: %[[PART:.*]] = tensor.extract_slice %{{.*}}[0, 1] [3, 5] [1, 1]
// CHECK: tensor.pad %[[PART]] low[0, 1]
func.func @main(%x: tensor<3x6xf32>) -> tensor<3x6xf32> {
  %c = arith.constant 0.0 : f32
  %y = tensor.pad %x low[0, -1] high[0, 0] {
  ^bb0(%i: index, %j: index):
    tensor.yield %c : f32
  } : tensor<3x6xf32> to tensor<3x5xf32>
  %z = tensor.pad %y low[0, 1] high[0, 0] {
  ^bb0(%i: index, %j: index):
    tensor.yield %c : f32
  } : tensor<3x5xf32> to tensor<3x6xf32>
  return %z : tensor<3x6xf32>
}
