// RUN: %espalier-opt --sparse-set-target=precision=fp16 --sparse-halve-precision --split-input-file %s | FileCheck %s

// What is lifted and the weight are f16, and so is what lies between them; pixels and the bias stay f32. Of the weight's
// four bytes two are left.

// CHECK-LABEL: func.func @layers
// CHECK-SAME: (%[[X:.*]]: tensor<1x1x6x6xf32>, %[[B:.*]]: tensor<1xf32>) -> tensor<1x1x6x6xf32>
// CHECK: %[[L:.*]] = "sparse.lift"(%[[X]]) {{.*}} -> tensor<1x1x9x4xf16>
// CHECK: %[[W:.*]] = arith.constant dense<1.500000e+00> : tensor<1x1x1xf16>
// CHECK: %[[Y:.*]] = "sparse.packed_conv"(%[[L]], %[[B]], %[[W]])
// CHECK-SAME: packed_bytes = 2 : i64
// CHECK-SAME: (tensor<1x1x9x4xf16>, tensor<1xf32>, tensor<1x1x1xf16>) -> tensor<1x1x9x4xf16>
// CHECK: %[[C:.*]] = tensor.concat dim(1) %[[Y]], %[[L]] : (tensor<1x1x9x4xf16>, tensor<1x1x9x4xf16>) -> tensor<1x2x9x4xf16>
// CHECK: %[[P:.*]] = "sparse.pool"(%[[C]])
// CHECK-SAME: -> tensor<1x2x9x4xf16>
// CHECK: "sparse.unlift"(%[[Y]]) {{.*}} : (tensor<1x1x9x4xf16>) -> tensor<1x1x6x6xf32>
func.func @layers(%x: tensor<1x1x6x6xf32>, %b: tensor<1xf32>) -> tensor<1x1x6x6xf32> {
  %w = arith.constant dense<1.5> : tensor<1x1x1xf32>
  %l = "sparse.lift"(%x) {layout = #sparse.lanes<[2, 2], [6, 6]>} : (tensor<1x1x6x6xf32>) -> tensor<1x1x9x4xf32>
  %y = "sparse.packed_conv"(%l, %b, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1], padding_low = [0, 0],
      padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1],
      input_layout = #sparse.lanes<[2, 2], [6, 6]>, output_layout = #sparse.lanes<[2, 2], [6, 6]>, operandSegmentSizes = array<i32: 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{layer = "conv", packed_bytes = 4 : i64}>}
      : (tensor<1x1x9x4xf32>, tensor<1xf32>, tensor<1x1x1xf32>) -> tensor<1x1x9x4xf32>
  %c = tensor.concat dim(1) %y, %l : (tensor<1x1x9x4xf32>, tensor<1x1x9x4xf32>) -> tensor<1x2x9x4xf32>
  %p = "sparse.pool"(%c) {kind = "max", kernel = [1, 1], strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0],
      input_layout = #sparse.lanes<[2, 2], [6, 6]>, output_layout = #sparse.lanes<[2, 2], [6, 6]>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x9x4xf32>) -> tensor<1x2x9x4xf32>
  %u = "sparse.unlift"(%y) {layout = #sparse.lanes<[2, 2], [6, 6]>} : (tensor<1x1x9x4xf32>) -> tensor<1x1x6x6xf32>
  return %u : tensor<1x1x6x6xf32>
}

// -----

// Means over whole images are f32, and so is a matrix product, but for its weight.

// CHECK-LABEL: func.func @head
// CHECK: %[[L:.*]] = "sparse.lift"
// CHECK: "sparse.pool"(%[[L]])
// CHECK-SAME: (tensor<1x4x9x4xf16>) -> tensor<1x4x1x1xf32>
// CHECK: "sparse.packed_linear"(%{{[a-z0-9_]+}}, %{{[a-z0-9_]+}})
// CHECK-SAME: (tensor<1x4xf32>, tensor<1x4x4x4xf16>) -> tensor<1x2xf32>
func.func @head(%x: tensor<1x4x6x6xf32>) -> tensor<1x2xf32> {
  %w = arith.constant dense<2.0> : tensor<1x4x4x4xf32>
  %l = "sparse.lift"(%x) {layout = #sparse.lanes<[2, 2], [6, 6]>} : (tensor<1x4x6x6xf32>) -> tensor<1x4x9x4xf32>
  %m = "sparse.pool"(%l) {kind = "average", kernel = [6, 6], strides = [1, 1], padding_low = [0, 0],
      padding_high = [0, 0], input_layout = #sparse.lanes<[2, 2], [6, 6]>, output_layout = #sparse.plain,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x4x9x4xf32>) -> tensor<1x4x1x1xf32>
  %f = tensor.collapse_shape %m [[0], [1, 2, 3]] : tensor<1x4x1x1xf32> into tensor<1x4xf32>
  %y = "sparse.packed_linear"(%f, %w) {packing = {storage = "dense_rows", lanes = 4, vectors = 4, gates = 1},
      storage_names = ["weight"], weight_shape = [2, 4], activation = "none",
      scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x4xf32>, tensor<1x4x4x4xf32>) -> tensor<1x2xf32>
  return %y : tensor<1x2xf32>
}

// -----

// Elementwise code on lanes reads and writes f16 and computes in f32; scalars, and code on pixels, stay as they are.

// CHECK-LABEL: func.func @elementwise
// CHECK: linalg.generic
// CHECK-SAME: ins(%{{.*}}, %{{.*}} : tensor<1x1x9x4xf16>, tensor<f32>) outs(%{{.*}} : tensor<1x1x9x4xf16>)
// CHECK-NEXT: ^bb0(%[[A:.*]]: f16, %[[S:.*]]: f32, %{{.*}}: f16):
// CHECK: %[[WIDE:.*]] = arith.extf %[[A]] : f16 to f32
// CHECK: %[[SUM:.*]] = arith.addf %[[WIDE]], %[[S]] : f32
// CHECK: %[[RESULT:.*]] = arith.truncf %[[SUM]] : f32 to f16
// CHECK: linalg.yield %[[RESULT]] : f16
// CHECK: linalg.generic
// CHECK-SAME: ins(%{{.*}} : tensor<1x1x6x6xf32>) outs(%{{.*}} : tensor<1x1x6x6xf32>)
#same = affine_map<(n, c, h, w) -> (n, c, h, w)>
#scalar = affine_map<(n, c, h, w) -> ()>
func.func @elementwise(%x: tensor<1x1x6x6xf32>, %s: tensor<f32>) -> tensor<1x1x6x6xf32> {
  %l = "sparse.lift"(%x) {layout = #sparse.lanes<[2, 2], [6, 6]>} : (tensor<1x1x6x6xf32>) -> tensor<1x1x9x4xf32>
  %e = tensor.empty() : tensor<1x1x9x4xf32>
  %y = linalg.generic {indexing_maps = [#same, #scalar, #same],
      iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%l, %s : tensor<1x1x9x4xf32>, tensor<f32>) outs(%e : tensor<1x1x9x4xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %sum = arith.addf %a, %b : f32
    linalg.yield %sum : f32
  } -> tensor<1x1x9x4xf32>
  %u = "sparse.unlift"(%y) {layout = #sparse.lanes<[2, 2], [6, 6]>} : (tensor<1x1x9x4xf32>) -> tensor<1x1x6x6xf32>
  %f = tensor.empty() : tensor<1x1x6x6xf32>
  %z = linalg.generic {indexing_maps = [#same, #same],
      iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%u : tensor<1x1x6x6xf32>) outs(%f : tensor<1x1x6x6xf32>) {
  ^bb0(%a: f32, %c: f32):
    %n = arith.negf %a : f32
    linalg.yield %n : f32
  } -> tensor<1x1x6x6xf32>
  return %z : tensor<1x1x6x6xf32>
}
