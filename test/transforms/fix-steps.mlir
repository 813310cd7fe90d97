// RUN: %espalier-opt --pass-pipeline='builtin.module(sparse-fix-steps)' --split-input-file %s | FileCheck %s
// RUN: %espalier-opt --pass-pipeline='builtin.module(sparse-fix-steps{steps=9})' --split-input-file %s | FileCheck %s --check-prefix=NINE

// The most steps are the example's, or the option's; the operations between are given sizes.
// CHECK: module attributes {espalier.free = array<i64: 1, 0, 1>, espalier.most_steps = 6 : i64}
// CHECK: func.func @main(%{{.*}}: tensor<6x2x8xf32>, %{{.*}}: tensor<8xf32>) -> tensor<6x2x8xf32>
// CHECK: tensor.collapse_shape %{{.*}} : tensor<6x2x8xf32> into tensor<12x8xf32>
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<12x8xf32>)
// CHECK: tensor.expand_shape %{{.*}} : tensor<12x8xf32> into tensor<6x2x8xf32>
// CHECK-NOT: tensor<?
// NINE: func.func @main(%{{.*}}: tensor<9x2x8xf32>, %{{.*}}: tensor<8xf32>) -> tensor<9x2x8xf32>
func.func @main(%x: tensor<?x2x8xf32>, %bias: tensor<8xf32>) -> tensor<?x2x8xf32> attributes {espalier.steps = 6 : i64} {
  %c0 = arith.constant 0 : index
  %c2 = arith.constant 2 : index
  %steps = tensor.dim %x, %c0 : tensor<?x2x8xf32>
  %rows = arith.muli %steps, %c2 : index
  %flat = tensor.collapse_shape %x [[0, 1], [2]] : tensor<?x2x8xf32> into tensor<?x8xf32>
  %empty = tensor.empty(%rows) : tensor<?x8xf32>
  %sum = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>,
                                          affine_map<(i, j) -> (i, j)>],
                         iterator_types = ["parallel", "parallel"]}
      ins(%flat, %bias : tensor<?x8xf32>, tensor<8xf32>) outs(%empty : tensor<?x8xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %c = arith.addf %a, %b : f32
    linalg.yield %c : f32
  } -> tensor<?x8xf32>
  %y = tensor.expand_shape %sum [[0, 1], [2]] output_shape [%steps, 2, 8] : tensor<?x8xf32> into tensor<?x2x8xf32>
  return %y : tensor<?x2x8xf32>
}

// -----

// Fixed sizes stay as they are.
// CHECK: module {
// CHECK: func.func @main(%{{.*}}: tensor<3x8xf32>) -> tensor<3x8xf32>
func.func @main(%x: tensor<3x8xf32>) -> tensor<3x8xf32> {
  return %x : tensor<3x8xf32>
}
