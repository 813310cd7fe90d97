// RUN: %espalier-opt --sparse-to-gpu %s | FileCheck %s

// A convolution is one kernel between a copy into rows and a copy out of them; no tensor is left.
// CHECK-LABEL: gpu.module @kernel_1
// CHECK: gpu.func @main(%{{.*}}: memref<{{[0-9]+}}xvector<4xf32>, #spirv.storage_class<StorageBuffer>>
// CHECK: scf.for
// CHECK: vector.shuffle
// CHECK: vector.fma
// CHECK: arith.maximumf
// CHECK-LABEL: func.func @main(
// CHECK-SAME: memref<512xi8, #spirv.storage_class<StorageBuffer>>
// CHECK-NOT: tensor
// CHECK: gpu.launch_func @kernel_0::@main
// CHECK-SAME: espalier.layer = "input"
// CHECK: gpu.launch_func @kernel_1::@main
// CHECK-SAME: espalier.written = array<i64: 6>
// CHECK: gpu.launch_func @kernel_2::@main
// CHECK-SAME: espalier.layer = "output"
func.func @main(%x: tensor<1x2x8x8xf32>) -> tensor<1x2x8x8xf32> {
  %w = arith.constant dense<0.5> : tensor<2x2x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1 : i64, activation = "relu", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2x8x8xf32>, tensor<2x2x3x3xf32>) -> tensor<1x2x8x8xf32>
  return %y : tensor<1x2x8x8xf32>
}
