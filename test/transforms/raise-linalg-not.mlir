// RUN: %espalier-opt --sparse-raise-linalg --split-input-file %s | FileCheck %s

// What must stay as it is.

// CHECK-LABEL: func.func @nhwc
// CHECK-NOT: sparse.
// CHECK: linalg.conv_2d_nhwc_hwcf
func.func @nhwc(%x: tensor<1x4x4x1xf32>) -> tensor<1x2x2x2xf32> {
  %w = arith.constant dense<1.0> : tensor<3x3x1x2xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x2x2x2xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32>
  %y = linalg.conv_2d_nhwc_hwcf ins(%x, %w : tensor<1x4x4x1xf32>, tensor<3x3x1x2xf32>)
    outs(%init : tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32>
  return %y : tensor<1x2x2x2xf32>
}

// -----

// The weight is an argument.

// CHECK-LABEL: func.func @runtime_weight
// CHECK-NOT: sparse.
// CHECK: linalg.matmul
func.func @runtime_weight(%x: tensor<1x3xf32>, %w: tensor<3x2xf32>) -> tensor<1x2xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x2xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x2xf32>) -> tensor<1x2xf32>
  %y = linalg.matmul ins(%x, %w : tensor<1x3xf32>, tensor<3x2xf32>) outs(%init : tensor<1x2xf32>) -> tensor<1x2xf32>
  return %y : tensor<1x2xf32>
}

// -----

// The accumulator is an argument.

// CHECK-LABEL: func.func @accumulate
// CHECK-NOT: sparse.
// CHECK: linalg.matmul
func.func @accumulate(%x: tensor<1x3xf32>, %init: tensor<1x2xf32>) -> tensor<1x2xf32> {
  %w = arith.constant dense<1.0> : tensor<3x2xf32>
  %y = linalg.matmul ins(%x, %w : tensor<1x3xf32>, tensor<3x2xf32>) outs(%init : tensor<1x2xf32>) -> tensor<1x2xf32>
  return %y : tensor<1x2xf32>
}

// -----

// A pad with another value stays in front of the convolution.

// CHECK-LABEL: func.func @pad_value
// CHECK: %[[P:.*]] = tensor.pad
// CHECK: "sparse.conv"(%[[P]], {{.*}}padding_high = [0, 0], padding_low = [0, 0]
func.func @pad_value(%x: tensor<1x1x4x4xf32>) -> tensor<1x2x4x4xf32> {
  %w = arith.constant dense<1.0> : tensor<2x1x3x3xf32>
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %p = tensor.pad %x low[0, 0, 1, 1] high[0, 0, 1, 1] {
  ^bb0(%i: index, %j: index, %k: index, %l: index):
    tensor.yield %one : f32
  } : tensor<1x1x4x4xf32> to tensor<1x1x6x6xf32>
  %e = tensor.empty() : tensor<1x2x4x4xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
  %y = linalg.conv_2d_nchw_fchw ins(%p, %w : tensor<1x1x6x6xf32>, tensor<2x1x3x3xf32>)
    outs(%init : tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
  return %y : tensor<1x2x4x4xf32>
}

// -----

// Two readers: the relu stays apart. A lower bound that is not zero is no activation either.

#id = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>

// CHECK-LABEL: func.func @two_readers
// CHECK: %[[Y:.*]] = "sparse.conv"({{.*}}activation = "none"
// CHECK: %[[R:.*]] = linalg.generic {{.*}} ins(%[[Y]]
// CHECK: %[[Z:.*]] = "sparse.conv"({{.*}}activation = "none"
// CHECK: %[[S:.*]] = linalg.generic {{.*}} ins(%[[Z]]
// CHECK: return %[[Y]], %[[R]], %[[S]]
func.func @two_readers(%x: tensor<1x1x4x4xf32>) -> (tensor<1x1x4x4xf32>, tensor<1x1x4x4xf32>, tensor<1x1x4x4xf32>) {
  %w = arith.constant dense<1.0> : tensor<1x1x1x1xf32>
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %e = tensor.empty() : tensor<1x1x4x4xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32>
  %y = linalg.conv_2d_nchw_fchw ins(%x, %w : tensor<1x1x4x4xf32>, tensor<1x1x1x1xf32>)
    outs(%init : tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32>
  %r = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
    ins(%y : tensor<1x1x4x4xf32>) outs(%e : tensor<1x1x4x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    %m = arith.maximumf %in, %zero : f32
    linalg.yield %m : f32
  } -> tensor<1x1x4x4xf32>
  %z = linalg.conv_2d_nchw_fchw ins(%r, %w : tensor<1x1x4x4xf32>, tensor<1x1x1x1xf32>)
    outs(%init : tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32>
  %s = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
    ins(%z : tensor<1x1x4x4xf32>) outs(%e : tensor<1x1x4x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    %m = arith.maximumf %in, %one : f32
    linalg.yield %m : f32
  } -> tensor<1x1x4x4xf32>
  return %y, %r, %s : tensor<1x1x4x4xf32>, tensor<1x1x4x4xf32>, tensor<1x1x4x4xf32>
}

// -----

// A sum that is divided by something else is no average; dilated pools are none of ours.

#id = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>

// CHECK-LABEL: func.func @other_pools
// CHECK-NOT: sparse.
// CHECK: linalg.pooling_nchw_sum
// CHECK: linalg.pooling_nchw_max
func.func @other_pools(%x: tensor<1x1x4x4xf32>) -> (tensor<1x1x2x2xf32>, tensor<1x1x2x2xf32>) {
  %zero = arith.constant 0.0 : f32
  %three = arith.constant 3.0 : f32
  %low = arith.constant 0xFF800000 : f32
  %window = tensor.empty() : tensor<2x2xf32>
  %e = tensor.empty() : tensor<1x1x2x2xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32>
  %s = linalg.pooling_nchw_sum {strides = dense<2> : vector<2xi64>} ins(%x, %window : tensor<1x1x4x4xf32>, tensor<2x2xf32>)
    outs(%init : tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32>
  %a = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
    ins(%s : tensor<1x1x2x2xf32>) outs(%e : tensor<1x1x2x2xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.divf %in, %three : f32
    linalg.yield %0 : f32
  } -> tensor<1x1x2x2xf32>
  %init2 = linalg.fill ins(%low : f32) outs(%e : tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32>
  %m = linalg.pooling_nchw_max {dilations = dense<2> : vector<2xi64>} ins(%x, %window : tensor<1x1x4x4xf32>, tensor<2x2xf32>)
    outs(%init2 : tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32>
  return %a, %m : tensor<1x1x2x2xf32>, tensor<1x1x2x2xf32>
}

// -----

// f64 is computed by upstream code.

// CHECK-LABEL: func.func @double
// CHECK-NOT: sparse.
// CHECK: linalg.matmul
func.func @double(%x: tensor<1x3xf64>) -> tensor<1x2xf64> {
  %w = arith.constant dense<1.0> : tensor<3x2xf64>
  %zero = arith.constant 0.0 : f64
  %e = tensor.empty() : tensor<1x2xf64>
  %init = linalg.fill ins(%zero : f64) outs(%e : tensor<1x2xf64>) -> tensor<1x2xf64>
  %y = linalg.matmul ins(%x, %w : tensor<1x3xf64>, tensor<3x2xf64>) outs(%init : tensor<1x2xf64>) -> tensor<1x2xf64>
  return %y : tensor<1x2xf64>
}

// -----

// An assertion that fails stays in the program.

#id = affine_map<(d0) -> (d0)>

// CHECK-LABEL: func.func @failing_assertion
// CHECK: linalg.generic
// CHECK: cf.assert
func.func @failing_assertion() -> tensor<4xf32> {
  %c = arith.constant dense<0.0> : tensor<4xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<4xf32>
  %r = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]}
    ins(%c : tensor<4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%in: f32, %out: f32):
    %ok = arith.cmpf one, %in, %zero : f32
    cf.assert %ok, "zero"
    linalg.yield %in : f32
  } -> tensor<4xf32>
  return %r : tensor<4xf32>
}

// -----

// A generic over a window is a pool or a grouped convolution only if it reads and combines what those do: not a dilated
// maximum, not a minimum, not a product of squares, not a map that mixes two places.

#dilated = affine_map<(n, c, x, k) -> (n, c, x + k * 2)>
#image = affine_map<(n, c, x, k) -> (n, c, x + k)>
#mixed = affine_map<(n, c, x, k) -> (n, c, x + c)>
#window = affine_map<(n, c, x, k) -> (k)>
#result = affine_map<(n, c, x, k) -> (n, c, x)>

// CHECK-LABEL: func.func @other_windows
// CHECK-NOT: sparse.
// CHECK: return
func.func @other_windows(%x: tensor<1x2x6xf32>) -> (tensor<1x2x4xf32>, tensor<1x2x4xf32>, tensor<1x2x4xf32>) {
  %low = arith.constant 0xFF800000 : f32
  %window = tensor.empty() : tensor<2xf32>
  %e = tensor.empty() : tensor<1x2x4xf32>
  %init = linalg.fill ins(%low : f32) outs(%e : tensor<1x2x4xf32>) -> tensor<1x2x4xf32>
  %0 = linalg.generic {indexing_maps = [#dilated, #window, #result],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]}
      ins(%x, %window : tensor<1x2x6xf32>, tensor<2xf32>) outs(%init : tensor<1x2x4xf32>) {
  ^bb0(%in: f32, %v: f32, %out: f32):
    %m = arith.maximumf %in, %out : f32
    linalg.yield %m : f32
  } -> tensor<1x2x4xf32>
  %1 = linalg.generic {indexing_maps = [#image, #window, #result],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]}
      ins(%x, %window : tensor<1x2x6xf32>, tensor<2xf32>) outs(%init : tensor<1x2x4xf32>) {
  ^bb0(%in: f32, %v: f32, %out: f32):
    %m = arith.minimumf %in, %out : f32
    linalg.yield %m : f32
  } -> tensor<1x2x4xf32>
  %2 = linalg.generic {indexing_maps = [#mixed, #window, #result],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]}
      ins(%x, %window : tensor<1x2x6xf32>, tensor<2xf32>) outs(%init : tensor<1x2x4xf32>) {
  ^bb0(%in: f32, %v: f32, %out: f32):
    %m = arith.maximumf %in, %out : f32
    linalg.yield %m : f32
  } -> tensor<1x2x4xf32>
  return %0, %1, %2 : tensor<1x2x4xf32>, tensor<1x2x4xf32>, tensor<1x2x4xf32>
}

// -----

// A sum with the channels last is ours only between transposes to and from ours.

// CHECK-LABEL: func.func @channels_last
// CHECK-NOT: sparse.
// CHECK: linalg.pooling_ndhwc_sum
func.func @channels_last(%x: tensor<1x2x4x4x2xf32>) -> tensor<1x1x2x2x2xf32> {
  %zero = arith.constant 0.0 : f32
  %cube = tensor.empty() : tensor<2x2x2xf32>
  %e = tensor.empty() : tensor<1x1x2x2x2xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x1x2x2x2xf32>) -> tensor<1x1x2x2x2xf32>
  %s = linalg.pooling_ndhwc_sum {strides = dense<2> : vector<3xi64>}
    ins(%x, %cube : tensor<1x2x4x4x2xf32>, tensor<2x2x2xf32>) outs(%init : tensor<1x1x2x2x2xf32>)
    -> tensor<1x1x2x2x2xf32>
  return %s : tensor<1x1x2x2x2xf32>
}

// -----

// A maximum that starts from a number, and a bias that differs from pixel to pixel.

// CHECK-LABEL: func.func @other_starts
// CHECK-NOT: sparse.
// CHECK: linalg.pooling_nchw_max
// CHECK: linalg.conv_2d_nchw_fchw
func.func @other_starts(%x: tensor<1x1x4x4xf32>) -> (tensor<1x1x2x2xf32>, tensor<1x1x2x2xf32>) {
  %ones = arith.constant dense<1.0> : tensor<1x1x2x2xf32>
  %window = tensor.empty() : tensor<2x2xf32>
  %m = linalg.pooling_nchw_max {strides = dense<2> : vector<2xi64>} ins(%x, %window : tensor<1x1x4x4xf32>, tensor<2x2xf32>)
    outs(%ones : tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32>
  %places = arith.constant dense<[[[[1.0, 2.0], [3.0, 4.0]]]]> : tensor<1x1x2x2xf32>
  %w = arith.constant dense<2.0> : tensor<1x1x3x3xf32>
  %y = linalg.conv_2d_nchw_fchw ins(%x, %w : tensor<1x1x4x4xf32>, tensor<1x1x3x3xf32>)
    outs(%places : tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32>
  return %m, %y : tensor<1x1x2x2xf32>, tensor<1x1x2x2xf32>
}
