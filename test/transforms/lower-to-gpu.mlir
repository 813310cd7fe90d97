// RUN: %espalier-opt --split-input-file --sparse-to-gpu %s | FileCheck %s

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

// -----

// What a body asserts is noted in one word, by the number of its text.
// CHECK: espalier.messages = ["index out of range"]
// CHECK: gpu.func @main({{.*}}, %[[WORD:.*]]: memref<1xi32, #spirv.storage_class<StorageBuffer>>) kernel
// CHECK: scf.if
// CHECK: memref.atomic_rmw minu %c1_i32, %[[WORD]][%{{.*}}]
// CHECK: func.func @main({{.*}}, %[[FAILURES:.*]]: memref<4xi8, #spirv.storage_class<StorageBuffer>>
// CHECK: memref.view %[[FAILURES]]
func.func @main(%table: tensor<5xf32>, %at: tensor<3xi64>) -> tensor<3xf32> {
  %c5 = arith.constant 5 : index
  %empty = tensor.empty() : tensor<3xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
                       iterator_types = ["parallel"]} ins(%at : tensor<3xi64>) outs(%empty : tensor<3xf32>) {
  ^bb0(%in: i64, %out: f32):
    %i = arith.index_cast %in : i64 to index
    %ok = arith.cmpi ult, %i, %c5 : index
    cf.assert %ok, "index out of range"
    %v = tensor.extract %table[%i] : tensor<5xf32>
    linalg.yield %v : f32
  } -> tensor<3xf32>
  return %y : tensor<3xf32>
}
