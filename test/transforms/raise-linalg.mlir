// RUN: %espalier-opt --sparse-raise-linalg --split-input-file %s | FileCheck %s

// Padding, bias and relu become one op.

#id = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>

// CHECK-LABEL: func.func @conv_bias_relu
// CHECK-NOT: linalg
// CHECK: %[[B:.*]] = arith.constant dense<[1.000000e+00, 2.000000e+00]>
// CHECK: %[[Y:.*]] = "sparse.conv"(%arg0, %{{.*}}, %[[B]])
// CHECK-SAME: activation = "relu"
// CHECK-SAME: padding_high = [1, 0], padding_low = [0, 1], record = #sparse.record<{layer = "conv1"}>, schedule = #sparse.schedule<{}>, scheme = #sparse.undetected, strides = [1, 2]
// CHECK-NEXT: return %[[Y]]
func.func @conv_bias_relu(%x: tensor<1x1x4x5xf32>) -> tensor<1x2x3x2xf32> {
  %w = arith.constant dense<1.0> : tensor<2x1x3x3xf32>
  %b = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %zero = arith.constant 0.0 : f32
  %p = tensor.pad %x low[0, 0, 0, 1] high[0, 0, 1, 0] {
  ^bb0(%i: index, %j: index, %k: index, %l: index):
    tensor.yield %zero : f32
  } : tensor<1x1x4x5xf32> to tensor<1x1x5x6xf32>
  %e = tensor.empty() : tensor<1x2x3x2xf32>
  %init = linalg.broadcast ins(%b : tensor<2xf32>) outs(%e : tensor<1x2x3x2xf32>) dimensions = [0, 2, 3]
  %y = linalg.conv_2d_nchw_fchw {strides = dense<[1, 2]> : vector<2xi64>}
    ins(%p, %w : tensor<1x1x5x6xf32>, tensor<2x1x3x3xf32>) outs(%init : tensor<1x2x3x2xf32>) -> tensor<1x2x3x2xf32>
  %r = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
    ins(%y : tensor<1x2x3x2xf32>) outs(%e : tensor<1x2x3x2xf32>) {
  ^bb0(%in: f32, %out: f32):
    %m = arith.maximumf %in, %zero : f32
    linalg.yield %m : f32
  } -> tensor<1x2x3x2xf32>
  return %r : tensor<1x2x3x2xf32>
}

// -----

// A name location names the layer.

// CHECK-LABEL: func.func @depthwise
// CHECK: "sparse.conv"(%arg0, %{{.*}}) {{.*}}groups = 2 : i64, {{.*}}layer = "features.3"
// CHECK-SAME: (tensor<1x2x4x4xf32>, tensor<2x1x3x3xf32>) -> tensor<1x2x2x2xf32>
func.func @depthwise(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x2x2xf32> {
  %w = arith.constant dense<1.0> : tensor<2x3x3xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x2x2x2xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32>
  %y = linalg.depthwise_conv_2d_nchw_chw ins(%x, %w : tensor<1x2x4x4xf32>, tensor<2x3x3xf32>)
    outs(%init : tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32> loc("features.3")
  return %y : tensor<1x2x2x2xf32>
}

// -----

// Batch norm in one generic: scale 2 and shift -1 go into weight and bias; zeros stay zeros.

#id = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>
#channel = affine_map<(d0, d1, d2, d3) -> (d1)>

// CHECK-LABEL: func.func @norm
// CHECK-DAG: %[[W:.*]] = arith.constant dense<{{\[\[\[\[}}2.000000e+00]]], {{\[\[\[}}0.000000e+00]]]]>
// CHECK-DAG: %[[B:.*]] = arith.constant dense<-1.000000e+00> : tensor<2xf32>
// CHECK: "sparse.conv"(%arg0, %[[W]], %[[B]])
// CHECK-NEXT: return
func.func @norm(%x: tensor<1x1x4x4xf32>) -> tensor<1x2x4x4xf32> {
  %w = arith.constant dense<[[[[1.0]]], [[[0.0]]]]> : tensor<2x1x1x1xf32>
  %scale = arith.constant dense<2.0> : tensor<2xf32>
  %one = arith.constant 1.0 : f32
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x2x4x4xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
  %y = linalg.conv_2d_nchw_fchw ins(%x, %w : tensor<1x1x4x4xf32>, tensor<2x1x1x1xf32>)
    outs(%init : tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
  %r = linalg.generic {indexing_maps = [#channel, #id, #id],
                       iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
    ins(%scale, %y : tensor<2xf32>, tensor<1x2x4x4xf32>) outs(%e : tensor<1x2x4x4xf32>) {
  ^bb0(%s: f32, %in: f32, %out: f32):
    %0 = arith.mulf %s, %in : f32
    %1 = arith.subf %0, %one : f32
    linalg.yield %1 : f32
  } -> tensor<1x2x4x4xf32>
  return %r : tensor<1x2x4x4xf32>
}

// -----

// The transposed constant is undone: the op reads the original.

#rows = affine_map<(d0, d1) -> (d1)>
#id = affine_map<(d0, d1) -> (d0, d1)>

// CHECK-LABEL: func.func @linear
// CHECK: arith.constant dense<{{\[\[}}1.000000e+00, 2.000000e+00, 3.000000e+00], [4.000000e+00, 5.000000e+00, 6.000000e+00]]>
// CHECK-NOT: linalg
// CHECK: "sparse.linear"(%arg0, %{{.*}}, %{{.*}}) {activation = "none"
// CHECK-SAME: (tensor<1x3xf32>, tensor<2x3xf32>, tensor<2xf32>) -> tensor<1x2xf32>
func.func @linear(%x: tensor<1x3xf32>) -> tensor<1x2xf32> {
  %w = arith.constant dense<[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]> : tensor<2x3xf32>
  %b = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %zero = arith.constant 0.0 : f32
  %et = tensor.empty() : tensor<3x2xf32>
  %t = linalg.transpose ins(%w : tensor<2x3xf32>) outs(%et : tensor<3x2xf32>) permutation = [1, 0]
  %e = tensor.empty() : tensor<1x2xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x2xf32>) -> tensor<1x2xf32>
  %y = linalg.matmul ins(%x, %t : tensor<1x3xf32>, tensor<3x2xf32>) outs(%init : tensor<1x2xf32>) -> tensor<1x2xf32>
  %r = linalg.generic {indexing_maps = [#id, #rows, #id], iterator_types = ["parallel", "parallel"]}
    ins(%y, %b : tensor<1x2xf32>, tensor<2xf32>) outs(%e : tensor<1x2xf32>) {
  ^bb0(%in: f32, %add: f32, %out: f32):
    %0 = arith.addf %in, %add : f32
    linalg.yield %0 : f32
  } -> tensor<1x2xf32>
  return %r : tensor<1x2xf32>
}

// -----

// A matrix product with a transposed right-hand side, by its maps.

// CHECK-LABEL: func.func @linear_transposed
// CHECK: "sparse.linear"(%arg0, %{{.*}}) {{.*}} (tensor<1x3xf32>, tensor<2x3xf32>) -> tensor<1x2xf32>
func.func @linear_transposed(%x: tensor<1x3xf32>) -> tensor<1x2xf32> {
  %w = arith.constant dense<1.0> : tensor<2x3xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x2xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x2xf32>) -> tensor<1x2xf32>
  %y = linalg.matmul indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d1, d2)>,
                                      affine_map<(d0, d1, d2) -> (d0, d1)>]
    ins(%x, %w : tensor<1x3xf32>, tensor<2x3xf32>) outs(%init : tensor<1x2xf32>) -> tensor<1x2xf32>
  return %y : tensor<1x2xf32>
}

// -----

#id = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>
#mean = affine_map<(d0, d1, d2, d3) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0, d1)>

// CHECK-LABEL: func.func @pools
// CHECK: %[[M:.*]] = "sparse.pool"(%arg0) {{.*}}kernel = [3, 3], kind = "max", {{.*}}padding_high = [1, 1], padding_low = [1, 1], {{.*}}strides = [2, 2]
// CHECK: %[[A:.*]] = "sparse.pool"(%[[M]]) {{.*}}kernel = [4, 4], kind = "average"{{.*}} -> tensor<1x2x1x1xf32>
// CHECK: %[[R:.*]] = tensor.collapse_shape %[[A]] {{\[\[0\], \[1, 2, 3\]\]}}
// CHECK: return %[[R]]
func.func @pools(%x: tensor<1x2x8x8xf32>) -> tensor<1x2xf32> {
  %low = arith.constant 0xFF800000 : f32
  %zero = arith.constant 0.0 : f32
  %sixteen = arith.constant 16.0 : f32
  %p = tensor.pad %x low[0, 0, 1, 1] high[0, 0, 1, 1] {
  ^bb0(%i: index, %j: index, %k: index, %l: index):
    tensor.yield %low : f32
  } : tensor<1x2x8x8xf32> to tensor<1x2x10x10xf32>
  %e = tensor.empty() : tensor<1x2x4x4xf32>
  %init = linalg.fill ins(%low : f32) outs(%e : tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
  %window = tensor.empty() : tensor<3x3xf32>
  %m = linalg.pooling_nchw_max {strides = dense<2> : vector<2xi64>} ins(%p, %window : tensor<1x2x10x10xf32>, tensor<3x3xf32>)
    outs(%init : tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
  %e2 = tensor.empty() : tensor<1x2xf32>
  %init2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<1x2xf32>) -> tensor<1x2xf32>
  %sum = linalg.generic {indexing_maps = [#id, #mean], iterator_types = ["parallel", "parallel", "reduction", "reduction"]}
    ins(%m : tensor<1x2x4x4xf32>) outs(%init2 : tensor<1x2xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %out : f32
    linalg.yield %0 : f32
  } -> tensor<1x2xf32>
  %r = linalg.generic {indexing_maps = [#row, #row], iterator_types = ["parallel", "parallel"]}
    ins(%sum : tensor<1x2xf32>) outs(%e2 : tensor<1x2xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.divf %in, %sixteen : f32
    linalg.yield %0 : f32
  } -> tensor<1x2xf32>
  return %r : tensor<1x2xf32>
}

// -----

// Named elementwise ops have a body as well. A module that runs twice gives two names.

// CHECK-LABEL: func.func @named
// CHECK: %[[Y:.*]] = "sparse.conv"(%arg0, {{.*}}layer = "block"
// CHECK: %[[Z:.*]] = "sparse.conv"(%[[Y]], %{{.*}}, %arg0) {activation = "relu", {{.*}}layer = "block#2"
// CHECK-NEXT: return %[[Z]]
func.func @named(%x: tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32> {
  %w = arith.constant dense<2.0> : tensor<1x1x1x1xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x1x4x4xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32>
  %y = linalg.conv_2d_nchw_fchw ins(%x, %w : tensor<1x1x4x4xf32>, tensor<1x1x1x1xf32>)
    outs(%init : tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32> loc("block")
  %z = linalg.conv_2d_nchw_fchw ins(%y, %w : tensor<1x1x4x4xf32>, tensor<1x1x1x1xf32>)
    outs(%init : tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32> loc("block")
  %s = linalg.add ins(%z, %x : tensor<1x1x4x4xf32>, tensor<1x1x4x4xf32>) outs(%e : tensor<1x1x4x4xf32>)
    -> tensor<1x1x4x4xf32>
  %r = linalg.max ins(%s, %init : tensor<1x1x4x4xf32>, tensor<1x1x4x4xf32>) outs(%e : tensor<1x1x4x4xf32>)
    -> tensor<1x1x4x4xf32>
  return %r : tensor<1x1x4x4xf32>
}

// -----

// Generics on constants fold, assertions included.

#id = affine_map<(d0) -> (d0)>

// CHECK-LABEL: func.func @fold
// CHECK-NEXT: %[[C:.*]] = arith.constant dense<5.000000e-01> : tensor<4xf32>
// CHECK-NEXT: return %[[C]]
func.func @fold() -> tensor<4xf32> {
  %two = arith.constant dense<2.0> : tensor<4xf32>
  %one = arith.constant 1.0 : f32
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<4xf32>
  %r = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]}
    ins(%two : tensor<4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%in: f32, %out: f32):
    %ok = arith.cmpf one, %in, %zero : f32
    cf.assert %ok, "zero"
    %0 = arith.divf %one, %in : f32
    linalg.yield %0 : f32
  } -> tensor<4xf32>
  return %r : tensor<4xf32>
}

// -----

// A 3-D convolution, padded and followed by a relu.

#id = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3, d4)>

// CHECK-LABEL: func.func @volume
// CHECK-NOT: linalg
// CHECK: %[[Y:.*]] = "sparse.conv"(%arg0, %{{[a-z0-9_]+}})
// CHECK-SAME: activation = "relu", dilations = [1, 1, 1], groups = 1 : i64
// CHECK-SAME: padding_high = [1, 0, 0], padding_low = [1, 0, 0], record = {{.*}}, scheme = #sparse.undetected, strides = [1, 2, 2]
// CHECK: return %[[Y]]
func.func @volume(%x: tensor<1x2x3x4x4xf32>) -> tensor<1x2x3x2x2xf32> {
  %w = arith.constant dense<1.0> : tensor<2x2x3x1x1xf32>
  %zero = arith.constant 0.0 : f32
  %p = tensor.pad %x low[0, 0, 1, 0, 0] high[0, 0, 1, 0, 0] {
  ^bb0(%i: index, %j: index, %k: index, %l: index, %m: index):
    tensor.yield %zero : f32
  } : tensor<1x2x3x4x4xf32> to tensor<1x2x5x4x4xf32>
  %e = tensor.empty() : tensor<1x2x3x2x2xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x2x3x2x2xf32>) -> tensor<1x2x3x2x2xf32>
  %y = linalg.conv_3d_ncdhw_fcdhw {strides = dense<[1, 2, 2]> : vector<3xi64>}
    ins(%p, %w : tensor<1x2x5x4x4xf32>, tensor<2x2x3x1x1xf32>)
    outs(%init : tensor<1x2x3x2x2xf32>) -> tensor<1x2x3x2x2xf32>
  %r = linalg.generic {indexing_maps = [#id, #id],
      iterator_types = ["parallel", "parallel", "parallel", "parallel", "parallel"]}
      ins(%y : tensor<1x2x3x2x2xf32>) outs(%e : tensor<1x2x3x2x2xf32>) {
  ^bb0(%in: f32, %out: f32):
    %m = arith.maximumf %in, %zero : f32
    linalg.yield %m : f32
  } -> tensor<1x2x3x2x2xf32>
  return %r : tensor<1x2x3x2x2xf32>
}

// -----

// A grouped 3-D convolution is a generic between reshapes.

#image = affine_map<(n, g, f, z, y, x, c, i, j, k) -> (n, g, c, z * 2 + i, y + j, x + k * 2)>
#weight = affine_map<(n, g, f, z, y, x, c, i, j, k) -> (g, f, c, i, j, k)>
#result = affine_map<(n, g, f, z, y, x, c, i, j, k) -> (n, g, f, z, y, x)>

// CHECK-LABEL: func.func @grouped_volume
// CHECK-NOT: linalg
// CHECK: %[[W:.*]] = arith.constant dense<1.000000e+00> : tensor<4x1x3x1x2xf32>
// CHECK: "sparse.conv"(%arg0, %[[W]])
// CHECK-SAME: dilations = [1, 1, 2], groups = 2 : i64
// CHECK-SAME: strides = [2, 1, 1]
// CHECK-SAME: -> tensor<1x4x2x4x2xf32>
func.func @grouped_volume(%x: tensor<1x2x5x4x4xf32>) -> tensor<1x4x2x4x2xf32> {
  %w = arith.constant dense<1.0> : tensor<2x2x1x3x1x2xf32>
  %zero = arith.constant 0.0 : f32
  %g = tensor.expand_shape %x [[0], [1, 2], [3], [4], [5]] output_shape [1, 2, 1, 5, 4, 4]
    : tensor<1x2x5x4x4xf32> into tensor<1x2x1x5x4x4xf32>
  %e = tensor.empty() : tensor<1x2x2x2x4x2xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x2x2x2x4x2xf32>) -> tensor<1x2x2x2x4x2xf32>
  %y = linalg.generic {indexing_maps = [#image, #weight, #result], iterator_types = ["parallel", "parallel", "parallel",
      "parallel", "parallel", "parallel", "reduction", "reduction", "reduction", "reduction"]}
      ins(%g, %w : tensor<1x2x1x5x4x4xf32>, tensor<2x2x1x3x1x2xf32>) outs(%init : tensor<1x2x2x2x4x2xf32>) {
  ^bb0(%in: f32, %v: f32, %out: f32):
    %m = arith.mulf %in, %v : f32
    %a = arith.addf %m, %out : f32
    linalg.yield %a : f32
  } -> tensor<1x2x2x2x4x2xf32>
  %c = tensor.collapse_shape %y [[0], [1, 2], [3], [4], [5]] : tensor<1x2x2x2x4x2xf32> into tensor<1x4x2x4x2xf32>
  return %c : tensor<1x4x2x4x2xf32>
}

// -----

// 3-D pools: maxima are a generic over a window, means a sum with the channels last.

#image = affine_map<(n, c, z, y, x, i, j, k) -> (n, c, z + i, y * 2 + j, x * 2 + k)>
#window = affine_map<(n, c, z, y, x, i, j, k) -> (i, j, k)>
#result = affine_map<(n, c, z, y, x, i, j, k) -> (n, c, z, y, x)>
#id = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3, d4)>

// CHECK-LABEL: func.func @volume_pools
// CHECK-NOT: linalg
// CHECK: %[[M:.*]] = "sparse.pool"(%arg0)
// CHECK-SAME: kernel = [1, 2, 2], kind = "max"
// CHECK-SAME: padding_high = [0, 1, 1], padding_low = [0, 1, 1], record = #sparse.record<{layer = "pooling1"}>, {{.*}}strides = [1, 2, 2]
// CHECK: %[[A:.*]] = "sparse.pool"(%arg0)
// CHECK-SAME: kernel = [2, 2, 2], kind = "average"
// CHECK-SAME: layer = "pooling2"
// CHECK-SAME: strides = [2, 2, 2]
// CHECK: return %[[M]], %[[A]]
func.func @volume_pools(%x: tensor<1x2x2x4x4xf32>) -> (tensor<1x2x2x3x3xf32>, tensor<1x2x1x2x2xf32>) {
  %low = arith.constant 0xFF800000 : f32
  %zero = arith.constant 0.0 : f32
  %eight = arith.constant 8.0 : f32
  %p = tensor.pad %x low[0, 0, 0, 1, 1] high[0, 0, 0, 1, 1] {
  ^bb0(%i: index, %j: index, %k: index, %l: index, %m: index):
    tensor.yield %low : f32
  } : tensor<1x2x2x4x4xf32> to tensor<1x2x2x6x6xf32>
  %flat = tensor.empty() : tensor<1x2x2xf32>
  %e = tensor.empty() : tensor<1x2x2x3x3xf32>
  %init = linalg.fill ins(%low : f32) outs(%e : tensor<1x2x2x3x3xf32>) -> tensor<1x2x2x3x3xf32>
  %y = linalg.generic {indexing_maps = [#image, #window, #result], iterator_types = ["parallel", "parallel", "parallel",
      "parallel", "parallel", "reduction", "reduction", "reduction"]}
      ins(%p, %flat : tensor<1x2x2x6x6xf32>, tensor<1x2x2xf32>) outs(%init : tensor<1x2x2x3x3xf32>) {
  ^bb0(%in: f32, %v: f32, %out: f32):
    %m = arith.maximumf %in, %out : f32
    linalg.yield %m : f32
  } -> tensor<1x2x2x3x3xf32>
  %cube = tensor.empty() : tensor<2x2x2xf32>
  %last = tensor.empty() : tensor<1x2x4x4x2xf32>
  %t = linalg.transpose ins(%x : tensor<1x2x2x4x4xf32>) outs(%last : tensor<1x2x4x4x2xf32>) permutation = [0, 2, 3, 4, 1]
  %se = tensor.empty() : tensor<1x1x2x2x2xf32>
  %sinit = linalg.fill ins(%zero : f32) outs(%se : tensor<1x1x2x2x2xf32>) -> tensor<1x1x2x2x2xf32>
  %s = linalg.pooling_ndhwc_sum {strides = dense<2> : vector<3xi64>}
    ins(%t, %cube : tensor<1x2x4x4x2xf32>, tensor<2x2x2xf32>) outs(%sinit : tensor<1x1x2x2x2xf32>)
    -> tensor<1x1x2x2x2xf32>
  %be = tensor.empty() : tensor<1x2x1x2x2xf32>
  %b = linalg.transpose ins(%s : tensor<1x1x2x2x2xf32>) outs(%be : tensor<1x2x1x2x2xf32>) permutation = [0, 4, 1, 2, 3]
  %a = linalg.generic {indexing_maps = [#id, #id],
      iterator_types = ["parallel", "parallel", "parallel", "parallel", "parallel"]}
      ins(%b : tensor<1x2x1x2x2xf32>) outs(%be : tensor<1x2x1x2x2xf32>) {
  ^bb0(%in: f32, %out: f32):
    %d = arith.divf %in, %eight : f32
    linalg.yield %d : f32
  } -> tensor<1x2x1x2x2xf32>
  return %y, %a : tensor<1x2x2x3x3xf32>, tensor<1x2x1x2x2xf32>
}

// -----

// A bias that folding made a splat constant of the whole image; zeros, so that none is left, and then ones.

// CHECK-LABEL: func.func @splat_bias
// CHECK-NOT: linalg
// CHECK: "sparse.conv"(%arg0, %{{[a-z_0-9]+}}) {
// CHECK: %[[B:.*]] = arith.constant dense<1.000000e+00> : tensor<2xf32>
// CHECK-NEXT: "sparse.conv"(%arg0, %{{[a-z_0-9]+}}, %[[B]]) {
// CHECK-NEXT: return
func.func @splat_bias(%x: tensor<1x1x4x4xf32>) -> (tensor<1x2x2x2xf32>, tensor<1x2x2x2xf32>) {
  %w = arith.constant dense<2.0> : tensor<2x1x3x3xf32>
  %zeros = arith.constant dense<0.0> : tensor<1x2x2x2xf32>
  %ones = arith.constant dense<1.0> : tensor<1x2x2x2xf32>
  %y = linalg.conv_2d_nchw_fchw ins(%x, %w : tensor<1x1x4x4xf32>, tensor<2x1x3x3xf32>)
    outs(%zeros : tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32>
  %z = linalg.conv_2d_nchw_fchw ins(%x, %w : tensor<1x1x4x4xf32>, tensor<2x1x3x3xf32>)
    outs(%ones : tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32>
  return %y, %z : tensor<1x2x2x2xf32>, tensor<1x2x2x2xf32>
}

// -----

// A 1x1 convolution of images of one pixel is a matrix product; its bias, norm and activation are fused.

#id = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>

// CHECK-LABEL: func.func @pixel
// CHECK-NOT: linalg
// CHECK: %[[W:.*]] = arith.constant dense<{{\[\[}}1.000000e+00, 2.000000e+00], [3.000000e+00, 4.000000e+00], [5.000000e+00, 6.000000e+00]]> : tensor<3x2xf32>
// CHECK: %[[X:.*]] = tensor.collapse_shape %arg0 {{\[\[}}0], [1, 2, 3]] : tensor<1x2x1x1xf32> into tensor<1x2xf32>
// CHECK: %[[Y:.*]] = "sparse.linear"(%[[X]], %[[W]], %{{.*}}) {activation = "relu", {{.*}}layer = "squeeze"
// CHECK: %[[Z:.*]] = tensor.expand_shape %[[Y]] {{\[\[}}0], [1, 2, 3]] output_shape [1, 3, 1, 1]
// CHECK-NEXT: return %[[Z]]
func.func @pixel(%x: tensor<1x2x1x1xf32>) -> tensor<1x3x1x1xf32> {
  %w = arith.constant dense<[[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]], [[[5.0]], [[6.0]]]]> : tensor<3x2x1x1xf32>
  %b = arith.constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x3x1x1xf32>
  %init = linalg.broadcast ins(%b : tensor<3xf32>) outs(%e : tensor<1x3x1x1xf32>) dimensions = [0, 2, 3]
  %y = linalg.conv_2d_nchw_fchw ins(%x, %w : tensor<1x2x1x1xf32>, tensor<3x2x1x1xf32>)
    outs(%init : tensor<1x3x1x1xf32>) -> tensor<1x3x1x1xf32> loc("squeeze")
  %r = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
    ins(%y : tensor<1x3x1x1xf32>) outs(%e : tensor<1x3x1x1xf32>) {
  ^bb0(%in: f32, %out: f32):
    %m = arith.maximumf %in, %zero : f32
    linalg.yield %m : f32
  } -> tensor<1x3x1x1xf32>
  return %r : tensor<1x3x1x1xf32>
}

// -----

// Not with a larger kernel, whose image is padded; not with groups.

// CHECK-LABEL: func.func @no_pixel
// CHECK-NOT: sparse.linear
// CHECK: "sparse.conv"
// CHECK: "sparse.conv"
func.func @no_pixel(%x: tensor<1x2x1x1xf32>) -> (tensor<1x2x1x1xf32>, tensor<1x2x1x1xf32>) {
  %w = arith.constant dense<1.0> : tensor<2x2x3x3xf32>
  %d = arith.constant dense<1.0> : tensor<2x1x1xf32>
  %zero = arith.constant 0.0 : f32
  %p = tensor.pad %x low[0, 0, 1, 1] high[0, 0, 1, 1] {
  ^bb0(%i: index, %j: index, %k: index, %l: index):
    tensor.yield %zero : f32
  } : tensor<1x2x1x1xf32> to tensor<1x2x3x3xf32>
  %e = tensor.empty() : tensor<1x2x1x1xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<1x2x1x1xf32>) -> tensor<1x2x1x1xf32>
  %y = linalg.conv_2d_nchw_fchw ins(%p, %w : tensor<1x2x3x3xf32>, tensor<2x2x3x3xf32>)
    outs(%init : tensor<1x2x1x1xf32>) -> tensor<1x2x1x1xf32>
  %z = linalg.depthwise_conv_2d_nchw_chw ins(%x, %d : tensor<1x2x1x1xf32>, tensor<2x1x1xf32>)
    outs(%init : tensor<1x2x1x1xf32>) -> tensor<1x2x1x1xf32>
  return %y, %z : tensor<1x2x1x1xf32>, tensor<1x2x1x1xf32>
}
