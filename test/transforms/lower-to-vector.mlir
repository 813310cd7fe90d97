// RUN: %espalier-opt --sparse-schedule-tiles --sparse-lower-to-vector --split-input-file %s | FileCheck %s
// RUN: %espalier-opt --sparse-set-target="lanes=16 core=cortex-a76" --sparse-schedule-tiles --sparse-lower-to-vector --split-input-file %s \
// RUN:   | FileCheck %s --check-prefix=ARM

// Two equal layers share one kernel. A 1x2 window on tiles of two lines: two weights, two accumulators, and a load of its
// own for each of the four multiplies. Five columns (padded to 6) on 2 lanes across are three columns of lines: a tile of
// one line and one of two, each with a kernel.

// CHECK-LABEL: module
// CHECK-SAME: espalier.scratch = 12 : i64
// CHECK-LABEL: func.func private @conv_1
// CHECK: scf.for {{.*}} iter_args(%{{.*}} = %{{.*}}, %{{.*}} = %{{.*}})
// CHECK: %[[A:.*]] = vector.load
// CHECK-NEXT: vector.fma %[[A]]
// CHECK: %[[B:.*]] = vector.load
// CHECK-NEXT: vector.fma %[[B]]
// CHECK: %[[C:.*]] = vector.load
// CHECK-NEXT: vector.fma %[[C]]
// CHECK: %[[D:.*]] = vector.load
// CHECK-NEXT: vector.fma %[[D]]
// CHECK-NEXT: scf.yield
// CHECK-NEXT: } {espalier.class = 0 : i64}
// CHECK-LABEL: func.func private @conv_0
// CHECK-COUNT-2: vector.fma
// CHECK-NOT: vector.fma
// CHECK-NOT: func.func private

// CHECK-LABEL: func.func @shared
// CHECK-SAME: (%[[X:.*]]: tensor<3x1x2x6xf32>, %[[S:.*]]: memref<?xi8>)
// CHECK: %[[Y:.*]] = memref.alloc() {alignment = 64 : i64} : memref<3x1x3x4xf32>
// CHECK: call @conv_0({{.*}}, %[[Y]], {{.*}}, %[[S]], %{{.*}}, %{{.*}}) {espalier.layer = "one", espalier.units, espalier.visits = array<i64: 3>}
// CHECK: call @conv_1({{.*}}, %[[Y]], {{.*}}) {espalier.layer = "one"
// CHECK: %[[T:.*]] = bufferization.to_tensor %[[Y]] restrict
// CHECK: call @conv_0({{.*}} {espalier.layer = "two"
// CHECK: call @conv_1(
// CHECK: return %[[T]]
func.func @shared(%x: tensor<3x1x2x6xf32>) -> (tensor<3x1x3x4xf32>, tensor<3x1x3x4xf32>) {
  %w = arith.constant dense<1.0> : tensor<1x1x2xf32>
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 2], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "relu",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.lanes<[2, 2], [2, 5]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1, tile = [1, 2]}>, record = #sparse.record<{layer = "one"}>}
      : (tensor<3x1x2x6xf32>, tensor<1x1x2xf32>) -> tensor<3x1x3x4xf32>
  %z = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 2], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "relu",
      scheme = #sparse.dense, pool = [1, 1], input_layout = #sparse.plain,
      output_layout = #sparse.lanes<[2, 2], [2, 5]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1, tile = [1, 2]}>, record = #sparse.record<{layer = "two"}>}
      : (tensor<3x1x2x6xf32>, tensor<1x1x2xf32>) -> tensor<3x1x3x4xf32>
  return %y, %z : tensor<3x1x3x4xf32>, tensor<3x1x3x4xf32>
}

// -----

// One loop a pattern. Three stored kernels follow the first pattern, one the second: a call visits them as often for each
// of its two items (images).

// CHECK-LABEL: func.func private @conv_0
// CHECK: espalier.class = 0 : i64
// CHECK: espalier.class = 1 : i64
// CHECK-NOT: espalier.class
// CHECK-LABEL: func.func @patterns
// CHECK: call @conv_0
// CHECK-SAME: espalier.visits = array<i64: 6, 2>
func.func @patterns(%x: tensor<2x2x2x3xf32>) -> tensor<2x2x1x4xf32> {
  %offset = arith.constant dense<[0, 2, 4]> : tensor<3xi32>
  %reorder = arith.constant dense<[0, 1]> : tensor<2xi32>
  %stride = arith.constant dense<[[0, 2, 2], [0, 1, 2]]> : tensor<2x3xi16>
  %index = arith.constant dense<[0, 1, 1, 0]> : tensor<4xi16>
  %weight = arith.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %y = "sparse.packed_conv"(%x, %offset, %reorder, %stride, %index, %weight) {
      packing = {storage = "fkw", filters_per_group = 1, channel_block = 0, groups = 1, mixed = false},
      storage_names = ["offset", "reorder", "stride", "index", "weight"], weight_shape = [2, 2, 1, 2], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.pattern<[1, 2], [[0], [1]]>, pool = [1, 1],
      input_layout = #sparse.plain, output_layout = #sparse.lanes<[2, 2], [2, 2]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<2x2x2x3xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x3xi16>, tensor<4xi16>, tensor<4xf32>)
      -> tensor<2x2x1x4xf32>
  return %y : tensor<2x2x1x4xf32>
}

// -----

// Pools, changes of layout, means and matrix products become calls, too; only some need scratch.

// CHECK-LABEL: func.func @others
// CHECK-SAME: (%{{.*}}: tensor<1x2x4x4xf32>, %{{.*}}: tensor<1x2xf32>, %[[S:.*]]: memref<?xi8>)
// CHECK: call @max_{{[0-9]+}}({{.*}}, %[[S]], %{{[a-z0-9_]+}}, %{{[a-z0-9_]+}}) {espalier.units}
// CHECK: call @average_{{[0-9]+}}({{.*}}, %[[S]], %{{[a-z0-9_]+}}, %{{[a-z0-9_]+}}) {espalier.units}
// CHECK: %[[U:.*]] = memref.alloc() {alignment = 64 : i64} : memref<1x2x2x2xf32>
// CHECK: %[[FLAT:.*]] = memref.collapse_shape %[[U]]
// CHECK: call @unlift_{{[0-9]+}}({{.*}}, %[[FLAT]], {{.*}}) {espalier.units}
// CHECK: bufferization.to_tensor %[[U]] restrict
// CHECK: call @mean_{{[0-9]+}}
// CHECK: call @linear_{{[0-9]+}}
// CHECK-NOT: sparse.
// CHECK: return
func.func @others(%x: tensor<1x2x4x4xf32>, %v: tensor<1x2xf32>)
    -> (tensor<1x2x2x2xf32>, tensor<1x2x1x1xf32>, tensor<1x3xf32>) {
  %l = "sparse.lift"(%x) {layout = #sparse.lanes<[2, 2], [4, 4]>} : (tensor<1x2x4x4xf32>) -> tensor<1x2x5x4xf32>
  %p = "sparse.pool"(%l) {kind = "average", kernel = [2, 2], strides = [2, 2], padding_low = [0, 0],
      padding_high = [0, 0], input_layout = #sparse.lanes<[2, 2], [4, 4]>,
      output_layout = #sparse.lanes<[2, 2], [2, 2]>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>} : (tensor<1x2x5x4xf32>) -> tensor<1x2x1x4xf32>
  %u = "sparse.unlift"(%p) {layout = #sparse.lanes<[2, 2], [2, 2]>} : (tensor<1x2x1x4xf32>) -> tensor<1x2x2x2xf32>
  %m = "sparse.pool"(%l) {kind = "average", kernel = [4, 4], strides = [1, 1], padding_low = [0, 0],
      padding_high = [0, 0], input_layout = #sparse.lanes<[2, 2], [4, 4]>, output_layout = #sparse.plain,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x5x4xf32>) -> tensor<1x2x1x1xf32>
  %w = arith.constant dense<1.0> : tensor<1x2x4x4xf32>
  %b = arith.constant dense<1.0> : tensor<3xf32>
  %y = "sparse.packed_linear"(%v, %b, %w) {packing = {storage = "dense_rows", lanes = 4, vectors = 4, gates = 1},
      storage_names = ["weight"], weight_shape = [3, 2], activation = "none",
      scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2xf32>, tensor<3xf32>, tensor<1x2x4x4xf32>) -> tensor<1x3xf32>
  return %u, %m, %y : tensor<1x2x2x2xf32>, tensor<1x2x1x1xf32>, tensor<1x3xf32>
}

// -----

// Public functions get scratch whether they need it or not: one calling convention. Private ones stay as they are.

// CHECK-LABEL: func.func private @helper
// CHECK-SAME: (%{{[a-z0-9]+}}: tensor<4xf32>) -> tensor<4xf32>
// CHECK-LABEL: func.func @public
// CHECK-SAME: (%{{[a-z0-9]+}}: tensor<4xf32>, %{{[a-z0-9]+}}: memref<?xi8>) -> tensor<4xf32>
func.func private @helper(%x: tensor<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}
func.func @public(%x: tensor<4xf32>) -> tensor<4xf32> {
  %e = tensor.empty() : tensor<4xf32>
  %y = linalg.abs ins(%x : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

// Parts of a concatenation are written where they will lie. One that has another reader is not, nor its neighbours.

// CHECK-LABEL: func.func @joined
// CHECK: %[[C:.*]] = memref.alloc() {alignment = 64 : i64} : memref<1x3x5x4xf32>
// CHECK: %[[A:.*]] = memref.subview %[[C]][0, 0, 0, 0] [1, 1, 5, 4] [1, 1, 1, 1]
// CHECK: call @max_{{[0-9]+}}(%{{.*}}, %[[A]],
// CHECK: %[[B:.*]] = memref.subview %[[C]][0, 1, 0, 0] [1, 2, 5, 4] [1, 1, 1, 1]
// CHECK: call @max_{{[0-9]+}}(%{{.*}}, %[[B]],
// CHECK-NOT: tensor.concat
// CHECK: bufferization.to_tensor %[[C]] restrict writable : memref<1x3x5x4xf32> to tensor<1x3x5x4xf32>
// CHECK-LABEL: func.func @read_again
// CHECK-NOT: memref.subview
// CHECK: tensor.concat
func.func @joined(%x: tensor<1x1x4x4xf32>, %y: tensor<1x2x4x4xf32>) -> tensor<1x3x5x4xf32> {
  %a = "sparse.lift"(%x) {layout = #sparse.lanes<[2, 2], [4, 4]>} : (tensor<1x1x4x4xf32>) -> tensor<1x1x5x4xf32>
  %b = "sparse.lift"(%y) {layout = #sparse.lanes<[2, 2], [4, 4]>} : (tensor<1x2x4x4xf32>) -> tensor<1x2x5x4xf32>
  %c = tensor.concat dim(1) %a, %b : (tensor<1x1x5x4xf32>, tensor<1x2x5x4xf32>) -> tensor<1x3x5x4xf32>
  return %c : tensor<1x3x5x4xf32>
}
func.func @read_again(%x: tensor<1x1x4x4xf32>, %y: tensor<1x2x4x4xf32>)
    -> (tensor<1x3x5x4xf32>, tensor<1x2x5x4xf32>) {
  %a = "sparse.lift"(%x) {layout = #sparse.lanes<[2, 2], [4, 4]>} : (tensor<1x1x4x4xf32>) -> tensor<1x1x5x4xf32>
  %b = "sparse.lift"(%y) {layout = #sparse.lanes<[2, 2], [4, 4]>} : (tensor<1x2x4x4xf32>) -> tensor<1x2x5x4xf32>
  %c = tensor.concat dim(1) %a, %b : (tensor<1x1x5x4xf32>, tensor<1x2x5x4xf32>) -> tensor<1x3x5x4xf32>
  return %c, %b : tensor<1x3x5x4xf32>, tensor<1x2x5x4xf32>
}

// -----

// A 3-D convolution: 3 taps along the depth, two weights of the first and last slice fall outside. Tiles of both slices:
// three input slices and one line each, of which the two outer ones are gathered as zeros.

// CHECK-LABEL: module
// CHECK-SAME: espalier.scratch = 16 : i64
// CHECK-LABEL: func.func private @conv_0
// CHECK-COUNT-6: vector.fma
// CHECK-NOT: vector.fma
// CHECK-LABEL: func.func @volume
// CHECK: call @conv_0
// CHECK-NOT: call
func.func @volume(%x: tensor<1x1x2x4xf32>) -> tensor<1x1x2x4xf32> {
  %w = arith.constant dense<1.0> : tensor<1x1x3xf32>
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 3, 1, 1], strides = [1, 1, 1],
      padding_low = [1, 0, 0], padding_high = [1, 0, 0], dilations = [1, 1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1, 1],
      input_layout = #sparse.lanes<[2, 2], [2, 2, 2]>, output_layout = #sparse.lanes<[2, 2], [2, 2, 2]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x1x2x4xf32>, tensor<1x1x3xf32>) -> tensor<1x1x2x4xf32>
  return %y : tensor<1x1x2x4xf32>
}

// -----

// Filters that share columns: one loop over the units of a group, whatever their places. Both filters of the pair
// multiply each of the two lines of the tile: four sums, and a load for each multiply.

// CHECK-LABEL: func.func private @conv_0
// CHECK: scf.for {{.*}} iter_args(
// CHECK-COUNT-4: vector.fma
// CHECK-NOT: vector.fma
// CHECK: } {espalier.class = 0 : i64}
// CHECK-LABEL: func.func @block
// CHECK: call @conv_0
// CHECK-SAME: espalier.layer = "shared"
func.func @block(%x: tensor<1x4x2x4xf32>) -> tensor<1x4x2x4xf32> {
  %start = arith.constant dense<[0, 2, 4]> : tensor<3xi32>
  %reorder = arith.constant dense<[0, 2, 1, 3]> : tensor<4xi16>
  %gap = arith.constant dense<[0, 2, 1, 2]> : tensor<4xi8>
  %weight = arith.constant dense<1.0> : tensor<4x1x2xf32>
  %y = "sparse.packed_conv"(%x, %start, %reorder, %gap, %weight) {packing = {storage = "column_groups", filters_per_group = 2, unit = 1, channel_block = 0, groups = 1},
      storage_names = ["start", "reorder", "gap", "weight"],
      weight_shape = [4, 4, 1, 1], strides = [1, 1], padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1],
      groups = 1, activation = "relu", scheme = #sparse.bcr<2 : i64, 2 : i64>, pool = [1, 1], input_layout = #sparse.lanes<[2, 2], [2, 4]>,
      output_layout = #sparse.lanes<[2, 2], [2, 4]>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 2}>, record = #sparse.record<{layer = "shared"}>}
      : (tensor<1x4x2x4xf32>, tensor<3xi32>, tensor<4xi16>, tensor<4xi8>, tensor<4x1x2xf32>) -> tensor<1x4x2x4xf32>
  return %y : tensor<1x4x2x4xf32>
}

// -----

// The input of the first layer, 4 MiB, lies beyond L2: each line that the next tile reads is asked for there (locality 2)
// while this one is computed, and only tiles at borders are packed. That of the second, 1 MiB, does not; Arm's cores ask
// for none.

// CHECK-LABEL: func.func private @conv_{{[0-9]+}}(%{{.*}}: memref<1x1x16385x16xf32>
// CHECK-NOT: locality<2>
// CHECK-NOT: memref.subview
// CHECK-LABEL: func.func private @conv_{{[0-9]+}}(%{{.*}}: memref<1x1x65537x16xf32>
// CHECK: %[[REGION:.*]] = scf.if %{{.*}} -> (memref<1x3x16xf32, strided<[?, 16, 1], offset: ?>>) {
// CHECK-NEXT: memref.subview
// CHECK: } else {
// CHECK: scf.if
// CHECK-COUNT-3: memref.prefetch %{{.*}}, read, locality<2>, data : memref<1x1x65537x16xf32>
// CHECK-NOT: locality<2>
// CHECK: vector.load %[[REGION]]
// CHECK-LABEL: func.func @large
// ARM-LABEL: func.func private @conv_{{[0-9]+}}(%{{.*}}: memref<1x1x65537x16xf32>
// ARM-NOT: locality<2>
// ARM-LABEL: func.func @large
func.func @large(%x: tensor<1x1x65537x16xf32>, %v: tensor<1x1x16385x16xf32>)
    -> (tensor<1x1x65537x16xf32>, tensor<1x1x16385x16xf32>) {
  %w = arith.constant dense<1.0> : tensor<1x1x2xf32>
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 2], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 1], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1],
      input_layout = #sparse.lanes<[4, 4], [1024, 1024]>, output_layout = #sparse.lanes<[4, 4], [1024, 1024]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1, tile = [1, 2]}>, record = #sparse.record<{}>}
      : (tensor<1x1x65537x16xf32>, tensor<1x1x2xf32>) -> tensor<1x1x65537x16xf32>
  %z = "sparse.packed_conv"(%v, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 1, 1, 2], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 1], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1],
      input_layout = #sparse.lanes<[4, 4], [512, 512]>, output_layout = #sparse.lanes<[4, 4], [512, 512]>,
      operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1, tile = [1, 2]}>, record = #sparse.record<{}>}
      : (tensor<1x1x16385x16xf32>, tensor<1x1x2xf32>) -> tensor<1x1x16385x16xf32>
  return %y, %z : tensor<1x1x65537x16xf32>, tensor<1x1x16385x16xf32>
}
