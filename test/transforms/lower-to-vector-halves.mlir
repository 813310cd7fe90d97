// RUN: %espalier-opt --sparse-set-target="lanes=4 core=cortex-a76" --sparse-schedule-tiles --sparse-lower-to-vector --split-input-file %s | FileCheck %s
// RUN: %espalier-opt --sparse-set-target="lanes=4 core=cortex-a76 precision=fp16" --sparse-schedule-tiles --sparse-lower-to-vector --split-input-file %s \
// RUN:   | FileCheck %s --check-prefix=WIDE

// A 1x1 convolution of two channels in f16, four lanes: it computes in f16, a bias in f32 is rounded once. Of sums in f32
// only what is stored is rounded.

// CHECK-LABEL: func.func private @conv_0
// CHECK: %[[BIAS:.*]] = memref.load {{.*}} : memref<1xf32>
// CHECK: %[[SHORT:.*]] = arith.truncf %[[BIAS]] : f32 to f16
// CHECK: vector.broadcast %[[SHORT]] : f16 to vector<4xf16>
// CHECK: vector.fma {{.*}} : vector<4xf16>
// CHECK-NOT: arith.extf
// CHECK: vector.store {{.*}} : memref<1x1x9x4xf16>, vector<4xf16>
// WIDE-LABEL: func.func private @conv_0
// WIDE: %[[BIAS:.*]] = memref.load {{.*}} : memref<1xf32>
// WIDE: vector.broadcast %[[BIAS]] : f32 to vector<4xf32>
// WIDE: %[[LINE:.*]] = vector.load {{.*}} : memref<1x2x9x4xf16>, vector<4xf16>
// WIDE: %[[X:.*]] = arith.extf %[[LINE]] : vector<4xf16> to vector<4xf32>
// WIDE: vector.fma %[[X]], {{.*}} : vector<4xf32>
// WIDE: %[[Y:.*]] = arith.truncf {{.*}} : vector<4xf32> to vector<4xf16>
// WIDE: vector.store %[[Y]], {{.*}} : memref<1x1x9x4xf16>, vector<4xf16>
func.func @point(%x: tensor<1x2x9x4xf16>, %b: tensor<1xf32>) -> tensor<1x1x9x4xf16> {
  %w = arith.constant dense<1.5> : tensor<1x2x1xf16>
  %y = "sparse.packed_conv"(%x, %b, %w) {packing = {storage = "dense_kernels", filters_per_group = 1},
      storage_names = ["weight"], weight_shape = [1, 2, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none",
      scheme = #sparse.dense, pool = [1, 1],
      input_layout = #sparse.lanes<[2, 2], [6, 6]>, output_layout = #sparse.lanes<[2, 2], [6, 6]>,
      operandSegmentSizes = array<i32: 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x2x9x4xf16>, tensor<1xf32>, tensor<1x2x1xf16>) -> tensor<1x1x9x4xf16>
  return %y : tensor<1x1x9x4xf16>
}
