// RUN: %espalier-opt --sparse-set-target=lanes=4 --sparse-assign-layouts --split-input-file %s | FileCheck %s
// RUN: %espalier-opt --sparse-set-target=lanes=4 --sparse-assign-layouts="fuse-pools=false" --split-input-file %s \
// RUN:   | FileCheck %s --check-prefix=UNFUSED

// The first layer reads planes and writes lanes, the next reads lanes; one unlift at the end. Four lanes hold 2 x 2 tiles
// of 3 x 3 pixels: nine lines.

// CHECK-LABEL: func.func @chain
// CHECK-SAME: (%[[X:.*]]: tensor<1x1x6x6xf32>) -> tensor<1x1x6x6xf32>
// CHECK: %[[Y:.*]] = "sparse.packed_conv"(%[[X]], %{{[a-z0-9_]+}})
// CHECK-SAME: input_layout = #sparse.plain
// CHECK-SAME: output_layout = #sparse.lanes<[2, 2], [6, 6]>
// CHECK-SAME: layer = "first"
// CHECK-SAME: grid = [2, 2]
// CHECK-SAME: -> tensor<1x1x9x4xf32>
// CHECK: %[[Z:.*]] = "sparse.packed_conv"(%[[Y]], %{{[a-z0-9_]+}})
// CHECK-SAME: input_layout = #sparse.lanes<[2, 2], [6, 6]>
// CHECK-SAME: output_layout = #sparse.lanes<[2, 2], [6, 6]>
// CHECK: %[[U:.*]] = "sparse.unlift"(%[[Z]]) {layout = #sparse.lanes<[2, 2], [6, 6]>}
// CHECK: return %[[U]]
func.func @chain(%x: tensor<1x1x6x6xf32>) -> tensor<1x1x6x6xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1x1xf32>
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{layer = "first"}>}
      : (tensor<1x1x6x6xf32>, tensor<1x1x1xf32>) -> tensor<1x1x6x6xf32>
  %z = "sparse.packed_conv"(%y, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x6x6xf32>, tensor<1x1x1xf32>) -> tensor<1x1x6x6xf32>
  return %z : tensor<1x1x6x6xf32>
}

// -----

// A 2x2 max pool is fused: the convolution's own grid is that of the image before pooling.

// CHECK-LABEL: func.func @fused_pool
// CHECK: %[[Y:.*]] = "sparse.packed_conv"
// CHECK-SAME: output_layout = #sparse.lanes<[2, 2], [8, 8]>
// CHECK-SAME: pool = [2, 2]
// CHECK-SAME: -> tensor<1x1x5x4xf32>
// CHECK-NOT: sparse.pool
// CHECK: "sparse.unlift"(%[[Y]]) {layout = #sparse.lanes<[2, 2], [4, 4]>}
// UNFUSED-LABEL: func.func @fused_pool
// UNFUSED: %[[Y:.*]] = "sparse.packed_conv"
// UNFUSED-SAME: pool = [1, 1]
// UNFUSED: "sparse.pool"(%[[Y]])
// UNFUSED-SAME: input_layout = #sparse.lanes<[2, 2], [8, 8]>
// UNFUSED-SAME: output_layout = #sparse.lanes<[2, 2], [4, 4]>
func.func @fused_pool(%x: tensor<1x1x8x8xf32>) -> tensor<1x1x4x4xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1x1xf32>
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "relu",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x8x8xf32>, tensor<1x1x1xf32>) -> tensor<1x1x8x8xf32>
  %z = "sparse.pool"(%y) {kind = "max", kernel = [2, 2], strides = [2, 2], padding_low = [0, 0], padding_high = [0, 0],
      input_layout = #sparse.plain, output_layout = #sparse.plain,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x1x8x8xf32>) -> tensor<1x1x4x4xf32>
  return %z : tensor<1x1x4x4xf32>
}

// -----

// Not fused: an average, another window, a value with a second reader, and a side that is odd.

// CHECK-LABEL: func.func @unfused_pools
// CHECK-NOT: pool = [2, 2]
// CHECK: "sparse.pool"
// CHECK: "sparse.pool"
// CHECK: "sparse.pool"
// CHECK: "sparse.pool"
// CHECK-NOT: pool = [2, 2]
// CHECK: return
func.func @unfused_pools(%x: tensor<1x1x8x8xf32>, %v: tensor<1x1x7x8xf32>)
    -> (tensor<1x1x4x4xf32>, tensor<1x1x3x3xf32>, tensor<1x1x4x4xf32>, tensor<1x1x8x8xf32>, tensor<1x1x3x4xf32>) {
  %w = arith.constant dense<1.0> : tensor<1x1x1xf32>
  %a = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x8x8xf32>, tensor<1x1x1xf32>) -> tensor<1x1x8x8xf32>
  %0 = "sparse.pool"(%a) {kind = "average", kernel = [2, 2], strides = [2, 2], padding_low = [0, 0],
      padding_high = [0, 0], input_layout = #sparse.plain, output_layout = #sparse.plain,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x1x8x8xf32>) -> tensor<1x1x4x4xf32>
  %b = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x8x8xf32>, tensor<1x1x1xf32>) -> tensor<1x1x8x8xf32>
  %1 = "sparse.pool"(%b) {kind = "max", kernel = [3, 3], strides = [2, 2], padding_low = [0, 0], padding_high = [0, 0],
      input_layout = #sparse.plain, output_layout = #sparse.plain,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x1x8x8xf32>) -> tensor<1x1x3x3xf32>
  %c = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x8x8xf32>, tensor<1x1x1xf32>) -> tensor<1x1x8x8xf32>
  %2 = "sparse.pool"(%c) {kind = "max", kernel = [2, 2], strides = [2, 2], padding_low = [0, 0], padding_high = [0, 0],
      input_layout = #sparse.plain, output_layout = #sparse.plain,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x1x8x8xf32>) -> tensor<1x1x4x4xf32>
  %d = "sparse.packed_conv"(%v, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x7x8xf32>, tensor<1x1x1xf32>) -> tensor<1x1x7x8xf32>
  %3 = "sparse.pool"(%d) {kind = "max", kernel = [2, 2], strides = [2, 2], padding_low = [0, 0], padding_high = [0, 0],
      input_layout = #sparse.plain, output_layout = #sparse.plain,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x1x7x8xf32>) -> tensor<1x1x3x4xf32>
  return %0, %1, %2, %c, %3
    : tensor<1x1x4x4xf32>, tensor<1x1x3x3xf32>, tensor<1x1x4x4xf32>, tensor<1x1x8x8xf32>, tensor<1x1x3x4xf32>
}

// -----

// A residual that is an argument is lifted; one that lies on the same grid is read as it is.

// CHECK-LABEL: func.func @residuals
// CHECK-SAME: (%[[X:.*]]: tensor<1x1x6x6xf32>, %[[R:.*]]: tensor<1x1x6x6xf32>)
// CHECK: %[[L:.*]] = "sparse.lift"(%[[R]]) {layout = #sparse.lanes<[2, 2], [6, 6]>}
// CHECK: %[[Y:.*]] = "sparse.packed_conv"(%[[X]], %[[L]], %{{[a-z0-9_]+}})
// CHECK-NOT: sparse.lift
// CHECK: %[[Z:.*]] = "sparse.packed_conv"(%[[Y]], %[[Y]], %{{[a-z0-9_]+}})
// CHECK-NOT: sparse.lift
// CHECK: return
func.func @residuals(%x: tensor<1x1x6x6xf32>, %r: tensor<1x1x6x6xf32>) -> tensor<1x1x6x6xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1x1xf32>
  %y = "sparse.packed_conv"(%x, %r, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x6x6xf32>, tensor<1x1x6x6xf32>, tensor<1x1x1xf32>) -> tensor<1x1x6x6xf32>
  %z = "sparse.packed_conv"(%y, %y, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x6x6xf32>, tensor<1x1x6x6xf32>, tensor<1x1x1xf32>) -> tensor<1x1x6x6xf32>
  return %z : tensor<1x1x6x6xf32>
}

// -----

// Elementwise ops on lifted values stay lifted; a mean of the whole image writes a plain value. What transposes does not.

#id = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>
#turned = affine_map<(d0, d1, d2, d3) -> (d0, d1, d3, d2)>

// CHECK-LABEL: func.func @readers
// CHECK: %[[Y:.*]] = "sparse.packed_conv"
// CHECK: %[[E:.*]] = linalg.generic {{.*}} ins(%[[Y]] : tensor<1x1x9x4xf32>) outs(%{{.*}} : tensor<1x1x9x4xf32>)
// CHECK: %[[M:.*]] = "sparse.pool"(%[[E]])
// CHECK-SAME: input_layout = #sparse.lanes<[2, 2], [6, 6]>
// CHECK-SAME: output_layout = #sparse.plain
// CHECK-SAME: -> tensor<1x1x1x1xf32>
// CHECK: linalg.generic {{.*}} ins(%{{[a-z0-9_]+}} : tensor<1x1x6x6xf32>)
// CHECK: return %[[M]]
func.func @readers(%x: tensor<1x1x6x6xf32>) -> (tensor<1x1x1x1xf32>, tensor<1x1x6x6xf32>) {
  %w = arith.constant dense<1.0> : tensor<1x1x1xf32>
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x6x6xf32>, tensor<1x1x1xf32>) -> tensor<1x1x6x6xf32>
  %e = tensor.empty() : tensor<1x1x6x6xf32>
  %n = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%y : tensor<1x1x6x6xf32>) outs(%e : tensor<1x1x6x6xf32>) {
  ^bb0(%in: f32, %out: f32):
    %s = arith.negf %in : f32
    linalg.yield %s : f32
  } -> tensor<1x1x6x6xf32>
  %m = "sparse.pool"(%n) {kind = "average", kernel = [6, 6], strides = [1, 1], padding_low = [0, 0],
      padding_high = [0, 0], input_layout = #sparse.plain, output_layout = #sparse.plain,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x1x6x6xf32>) -> tensor<1x1x1x1xf32>
  %t = linalg.generic {indexing_maps = [#turned, #id], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%n : tensor<1x1x6x6xf32>) outs(%e : tensor<1x1x6x6xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  } -> tensor<1x1x6x6xf32>
  return %m, %t : tensor<1x1x1x1xf32>, tensor<1x1x6x6xf32>
}

// -----

// Nothing to lift for: linear layers, and elementwise ops on planes.

// CHECK-LABEL: func.func @plain
// CHECK-NOT: sparse.lanes
// CHECK: return
func.func @plain(%x: tensor<1x2xf32>, %v: tensor<1x1x6x6xf32>) -> (tensor<1x2xf32>, tensor<1x1x6x6xf32>) {
  %w = arith.constant dense<1.0> : tensor<1x2x4x4xf32>
  %y = "sparse.packed_linear"(%x, %w) {packing = {storage = "dense_rows", lanes = 4, vectors = 4, gates = 1},
      storage_names = ["weight"], weight_shape = [2, 2], activation = "none",
      scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2xf32>, tensor<1x2x4x4xf32>) -> tensor<1x2xf32>
  %e = tensor.empty() : tensor<1x1x6x6xf32>
  %n = linalg.abs ins(%v : tensor<1x1x6x6xf32>) outs(%e : tensor<1x1x6x6xf32>) -> tensor<1x1x6x6xf32>
  return %y, %n : tensor<1x2xf32>, tensor<1x1x6x6xf32>
}

// -----

// Slices of a volume are lifted one by one: 2 slices of 3 x 3 lines are 18 lines, and 2 x 1 x 1 after the pool, whose
// window divides rows and columns. A second pool, of eight places, is not fused. A volume of depth 1 is an image.

// CHECK-LABEL: func.func @volume
// CHECK: %[[Y:.*]] = "sparse.packed_conv"(%arg0
// CHECK-SAME: output_layout = #sparse.lanes<[2, 2], [2, 4, 4]>
// CHECK-SAME: pool = [1, 2, 2]
// CHECK-SAME: -> tensor<1x1x2x4xf32>
// CHECK: %[[Z:.*]] = "sparse.packed_conv"(%[[Y]]
// CHECK-SAME: input_layout = #sparse.lanes<[2, 2], [2, 2, 2]>
// CHECK-SAME: pool = [1, 1, 1]
// CHECK-SAME: -> tensor<1x1x2x4xf32>
// CHECK: %[[P:.*]] = "sparse.pool"(%[[Z]])
// CHECK-SAME: output_layout = #sparse.lanes<[{{.*}}], [1, 1]>
// CHECK-SAME: -> tensor<1x1x1x4xf32>
// CHECK: "sparse.unlift"(%[[P]]) {{.*}} -> tensor<1x1x1x1x1xf32>
func.func @volume(%x: tensor<1x1x2x4x4xf32>) -> tensor<1x1x1x1x1xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1x1xf32>
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1, 1], strides = [1, 1, 1],
      padding_low = [0, 0, 0], padding_high = [0, 0, 0], dilations = [1, 1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x2x4x4xf32>, tensor<1x1x1xf32>) -> tensor<1x1x2x4x4xf32>
  %p = "sparse.pool"(%y) {kind = "max", kernel = [1, 2, 2], strides = [1, 2, 2], padding_low = [0, 0, 0],
      padding_high = [0, 0, 0], input_layout = #sparse.plain, output_layout = #sparse.plain,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x1x2x4x4xf32>) -> tensor<1x1x2x2x2xf32>
  %z = "sparse.packed_conv"(%p, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1, 1], strides = [1, 1, 1],
      padding_low = [0, 0, 0], padding_high = [0, 0, 0], dilations = [1, 1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x2x2x2xf32>, tensor<1x1x1xf32>) -> tensor<1x1x2x2x2xf32>
  %q = "sparse.pool"(%z) {kind = "max", kernel = [2, 2, 2], strides = [2, 2, 2], padding_low = [0, 0, 0],
      padding_high = [0, 0, 0], input_layout = #sparse.plain, output_layout = #sparse.plain,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x1x2x2x2xf32>) -> tensor<1x1x1x1x1xf32>
  return %q : tensor<1x1x1x1x1xf32>
}

// -----

// Channels on one grid are concatenated on it; along another dimension, or with planes, they are not. A signal that is
// called an image of height 1 stays on its lanes, and so does what is computed from it place by place.

#id = affine_map<(d0, d1, d2) -> (d0, d1, d2)>

// CHECK-LABEL: func.func @joined
// CHECK: %[[Y:.*]] = "sparse.packed_conv"
// CHECK-SAME: output_layout = #sparse.lanes<[1, 4], [1, 6]>
// CHECK: %[[N:.*]] = linalg.generic {{.*}} ins(%[[Y]] : tensor<1x1x3x4xf32>)
// CHECK: %[[C:.*]] = tensor.concat dim(1) %[[Y]], %[[N]] : (tensor<1x1x3x4xf32>, tensor<1x1x3x4xf32>) -> tensor<1x2x3x4xf32>
// CHECK: "sparse.pool"(%[[C]])
// CHECK-SAME: input_layout = #sparse.lanes<[1, 4], [1, 6]>
// CHECK: tensor.concat dim(2)
// CHECK: tensor.concat dim(1) {{.*}} -> tensor<1x2x6xf32>
func.func @joined(%x: tensor<1x1x6xf32>) -> (tensor<1x2x1x3xf32>, tensor<1x1x12xf32>, tensor<1x2x6xf32>) {
  %w = arith.constant dense<1.0> : tensor<1x1x1xf32>
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1], strides = [1],
      padding_low = [0], padding_high = [0], dilations = [1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x6xf32>, tensor<1x1x1xf32>) -> tensor<1x1x6xf32>
  %e = tensor.empty() : tensor<1x1x6xf32>
  %n = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%y : tensor<1x1x6xf32>) outs(%e : tensor<1x1x6xf32>) {
  ^bb0(%in: f32, %out: f32):
    %s = arith.negf %in : f32
    linalg.yield %s : f32
  } -> tensor<1x1x6xf32>
  %c = tensor.concat dim(1) %y, %n : (tensor<1x1x6xf32>, tensor<1x1x6xf32>) -> tensor<1x2x6xf32>
  %i = tensor.expand_shape %c [[0], [1], [2, 3]] output_shape [1, 2, 1, 6] : tensor<1x2x6xf32> into tensor<1x2x1x6xf32>
  %p = "sparse.pool"(%i) {kind = "max", kernel = [1, 2], strides = [1, 2], padding_low = [0, 0],
      padding_high = [0, 0], input_layout = #sparse.plain, output_layout = #sparse.plain,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x1x6xf32>) -> tensor<1x2x1x3xf32>
  %long = tensor.concat dim(2) %y, %n : (tensor<1x1x6xf32>, tensor<1x1x6xf32>) -> tensor<1x1x12xf32>
  %both = tensor.concat dim(1) %y, %x : (tensor<1x1x6xf32>, tensor<1x1x6xf32>) -> tensor<1x2x6xf32>
  return %p, %long, %both : tensor<1x2x1x3xf32>, tensor<1x1x12xf32>, tensor<1x2x6xf32>
}

// -----

// An input beyond L2 is lifted before a 1x1 convolution reads it (a small one is not: see @chain).

// CHECK-LABEL: func.func @large
// CHECK: %[[L:.*]] = "sparse.lift"(%arg0) {layout = #sparse.lanes<[{{[0-9]}}, {{[0-9]}}], [1024, 1024]>}
// CHECK: "sparse.packed_conv"(%[[L]], %{{[a-z0-9_]+}})
func.func @large(%x: tensor<1x1x1024x1024xf32>) -> tensor<1x1x1024x1024xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1x1xf32>
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.plain, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x1024x1024xf32>, tensor<1x1x1xf32>) -> tensor<1x1x1024x1024xf32>
  return %y : tensor<1x1x1024x1024xf32>
}
