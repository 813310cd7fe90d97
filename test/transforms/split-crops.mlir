// RUN: %espalier-opt --sparse-split-crops --split-input-file --verify-diagnostics %s | FileCheck %s

// What is cropped is sliced away; what is known only at run time is no crop.
// CHECK-LABEL: func @crop
// CHECK: %[[PART:.*]] = tensor.extract_slice %{{.*}}[0, 1] [3, 4] [1, 1] : tensor<3x5xf32> to tensor<3x4xf32>
// CHECK: tensor.pad %[[PART]] low[%{{.*}}, 0] high[0, 2]
func.func @crop(%x: tensor<3x5xf32>, %n: index, %c: f32) -> tensor<?x6xf32> {
  %y = tensor.pad %x low[%n, -1] high[0, 2] {
  ^bb0(%i: index, %j: index):
    tensor.yield %c : f32
  } : tensor<3x5xf32> to tensor<?x6xf32>
  return %y : tensor<?x6xf32>
}

// Nothing that is left is an empty tensor.
// CHECK-LABEL: func @all
// CHECK: %[[NONE:.*]] = tensor.empty() : tensor<0xf32>
// CHECK: tensor.pad %[[NONE]] low[0] high[4]
func.func @all(%x: tensor<3xf32>, %c: f32) -> tensor<4xf32> {
  %y = tensor.pad %x low[-3] high[4] {
  ^bb0(%i: index):
    tensor.yield %c : f32
  } : tensor<3xf32> to tensor<4xf32>
  return %y : tensor<4xf32>
}

// CHECK-LABEL: func @pad
// CHECK-NOT: extract_slice
func.func @pad(%x: tensor<3xf32>, %c: f32) -> tensor<4xf32> {
  %y = tensor.pad %x low[0] high[1] {
  ^bb0(%i: index):
    tensor.yield %c : f32
  } : tensor<3xf32> to tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

func.func @too_much(%x: tensor<3xf32>, %c: f32) -> tensor<1xf32> {
  // expected-error @below {{'tensor.pad' expected to crop no more than the tensor has, found 3 less [4] and [0]; correct these amounts}}
  %y = tensor.pad %x low[-4] high[2] {
  ^bb0(%i: index):
    tensor.yield %c : f32
  } : tensor<3xf32> to tensor<1xf32>
  return %y : tensor<1xf32>
}
