// RUN: %espalier-opt --pass-pipeline='builtin.module(sparse-raise-linalg{lone-means=false})' %s | FileCheck %s --enable-var-scope

#id = affine_map<(n, c, h, w) -> (n, c, h, w)>
#plane = affine_map<(n, c, h, w) -> (n, c)>
#pair = affine_map<(n, c) -> (n, c)>

// The mean of an argument, which no lanes hold, stays a sum; that of what a pool gives is a pool, also behind an
// elementwise operation.
// CHECK-LABEL: func.func @means
// CHECK-DAG: linalg.generic {{.*}} ins(%arg0 : tensor<1x2x8x8xf32>)
// CHECK-DAG: "sparse.pool"({{.*}}kernel = [2, 2], kind = "max"
// CHECK-DAG: "sparse.pool"({{.*}}kernel = [4, 4], kind = "average"
func.func @means(%x: tensor<1x2x8x8xf32>) -> (tensor<1x2xf32>, tensor<1x2xf32>) {
  %zero = arith.constant 0.0 : f32
  %low = arith.constant 0xFF800000 : f32
  %many = arith.constant 64.0 : f32
  %few = arith.constant 16.0 : f32
  %window = tensor.empty() : tensor<2x2xf32>
  %image = tensor.empty() : tensor<1x2x4x4xf32>
  %e = tensor.empty() : tensor<1x2xf32>
  %none = linalg.fill ins(%zero : f32) outs(%e : tensor<1x2xf32>) -> tensor<1x2xf32>
  %s = linalg.generic {indexing_maps = [#id, #plane], iterator_types = ["parallel", "parallel", "reduction", "reduction"]}
    ins(%x : tensor<1x2x8x8xf32>) outs(%none : tensor<1x2xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %out : f32
    linalg.yield %0 : f32
  } -> tensor<1x2xf32>
  %mean = linalg.generic {indexing_maps = [#pair, #pair], iterator_types = ["parallel", "parallel"]}
    ins(%s : tensor<1x2xf32>) outs(%e : tensor<1x2xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.divf %in, %many : f32
    linalg.yield %0 : f32
  } -> tensor<1x2xf32>
  %start = linalg.fill ins(%low : f32) outs(%image : tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
  %m = linalg.pooling_nchw_max {strides = dense<2> : vector<2xi64>} ins(%x, %window : tensor<1x2x8x8xf32>, tensor<2x2xf32>)
    outs(%start : tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
  %t = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
    ins(%m : tensor<1x2x4x4xf32>) outs(%image : tensor<1x2x4x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.tanh %in : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x4x4xf32>
  %u = linalg.generic {indexing_maps = [#id, #plane], iterator_types = ["parallel", "parallel", "reduction", "reduction"]}
    ins(%t : tensor<1x2x4x4xf32>) outs(%none : tensor<1x2xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %out : f32
    linalg.yield %0 : f32
  } -> tensor<1x2xf32>
  %other = linalg.generic {indexing_maps = [#pair, #pair], iterator_types = ["parallel", "parallel"]}
    ins(%u : tensor<1x2xf32>) outs(%e : tensor<1x2xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.divf %in, %few : f32
    linalg.yield %0 : f32
  } -> tensor<1x2xf32>
  return %mean, %other : tensor<1x2xf32>, tensor<1x2xf32>
}
