// RUN: %espalier-opt --sparse-fuse-elementwise %s | FileCheck %s --enable-var-scope

// A product reads a matrix where it lies that was only transposed for it.
// CHECK: #[[A:.*]] = affine_map<(d0, d1, d2) -> (d2, d0)>
// CHECK-LABEL: func @products
// CHECK-SAME: (%[[X:[^:]*]]:
// CHECK: linalg.generic {indexing_maps = [#[[A]]{{.*}}"reduction"]} ins(%[[X]],
// CHECK-NOT: linalg.
// CHECK: arith.mulf
// CHECK: return
func.func @products(%x: tensor<8x4xf32>, %y: tensor<8x8xf32>, %e: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = linalg.transpose ins(%x : tensor<8x4xf32>) outs(%e : tensor<4x8xf32>) permutation = [1, 0]
  %1 = linalg.matmul ins(%0, %y : tensor<4x8xf32>, tensor<8x8xf32>) outs(%e : tensor<4x8xf32>) -> tensor<4x8xf32>
  return %1 : tensor<4x8xf32>
}

// A matrix that others read too is transposed once.
// CHECK-LABEL: func @read_twice
// CHECK: linalg.generic
// CHECK: linalg.matmul
func.func @read_twice(%x: tensor<8x4xf32>, %y: tensor<8x8xf32>, %e: tensor<4x8xf32>, %f: tensor<4x8xf32>)
    -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %0 = linalg.transpose ins(%x : tensor<8x4xf32>) outs(%f : tensor<4x8xf32>) permutation = [1, 0]
  %1 = linalg.matmul ins(%0, %y : tensor<4x8xf32>, tensor<8x8xf32>) outs(%e : tensor<4x8xf32>) -> tensor<4x8xf32>
  return %0, %1 : tensor<4x8xf32>, tensor<4x8xf32>
}

// What is fused into a product all the same is taken out again; the sum of products of one row has nothing to share.
// CHECK-LABEL: func @several
// CHECK: linalg.generic
// CHECK: math.exp
// CHECK: linalg.yield
// CHECK: linalg.generic
// CHECK-NEXT: ^bb0(%[[A:.*]]: f32, %[[B:.*]]: f32, %[[C:.*]]: f32):
// CHECK-NEXT: arith.mulf %[[A]], %[[B]]
// CHECK: linalg.generic
// CHECK: math.exp
// CHECK: arith.mulf
// CHECK-NOT: linalg.generic
func.func @several(%x: tensor<2x8x4xf32>, %y: tensor<2x8x4xf32>, %e: tensor<2x8x8xf32>, %s: tensor<2x8xf32>)
    -> (tensor<2x8x8xf32>, tensor<2x8xf32>) {
  %1 = linalg.generic {indexing_maps = [affine_map<(a, m, n, k) -> (a, m, k)>,
      affine_map<(a, m, n, k) -> (a, n, k)>, affine_map<(a, m, n, k) -> (a, m, n)>],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]}
      ins(%x, %y : tensor<2x8x4xf32>, tensor<2x8x4xf32>) outs(%e : tensor<2x8x8xf32>) {
  ^bb0(%left: f32, %right: f32, %out: f32):
    %f = math.exp %left : f32
    %p = arith.mulf %f, %right : f32
    %t = arith.addf %out, %p : f32
    linalg.yield %t : f32
  } -> tensor<2x8x8xf32>
  %2 = linalg.generic {indexing_maps = [affine_map<(a, m, k) -> (a, m, k)>,
      affine_map<(a, m, k) -> (a, m, k)>, affine_map<(a, m, k) -> (a, m)>],
      iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x, %y : tensor<2x8x4xf32>, tensor<2x8x4xf32>) outs(%s : tensor<2x8xf32>) {
  ^bb0(%left: f32, %right: f32, %out: f32):
    %f = math.exp %left : f32
    %p = arith.mulf %f, %right : f32
    %t = arith.addf %out, %p : f32
    linalg.yield %t : f32
  } -> tensor<2x8xf32>
  return %1, %2 : tensor<2x8x8xf32>, tensor<2x8xf32>
}

// CHECK-LABEL: func @chain
// CHECK-COUNT-1: linalg.generic
// CHECK: arith.addf
// CHECK-NEXT: math.tanh
// CHECK-NOT: linalg.generic
func.func @chain(%x: tensor<8x4xf32>, %e: tensor<8x4xf32>) -> tensor<8x4xf32> {
  %0 = linalg.add ins(%x, %x : tensor<8x4xf32>, tensor<8x4xf32>) outs(%e : tensor<8x4xf32>) -> tensor<8x4xf32>
  %1 = linalg.tanh ins(%0 : tensor<8x4xf32>) outs(%e : tensor<8x4xf32>) -> tensor<8x4xf32>
  return %1 : tensor<8x4xf32>
}

// CHECK-LABEL: func @loop
// CHECK: scf.for {{.*}} iter_args(%[[T:.*]] =
// CHECK: outs(%[[T]] : tensor<8xf32>)
func.func @loop(%x: tensor<8xf32>, %n: index) -> tensor<8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %0 = scf.for %i = %c0 to %n step %c1 iter_args(%t = %x) -> tensor<8xf32> {
    %1 = linalg.exp ins(%t : tensor<8xf32>) outs(%t : tensor<8xf32>) -> tensor<8xf32>
    scf.yield %1 : tensor<8xf32>
  }
  return %0 : tensor<8xf32>
}

// What asserts goes with what it was fused into; what nobody reads but asserts stays where it was there before.
// CHECK-LABEL: func @asserted
// CHECK-COUNT-1: linalg.generic
// CHECK: cf.assert
// CHECK: math.tanh
// CHECK-NOT: linalg.generic
func.func @asserted(%x: tensor<8xf32>, %e: tensor<8xf32>) -> tensor<8xf32> {
  %zero = arith.constant 0.0 : f32
  %0 = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
      iterator_types = ["parallel"]} ins(%x : tensor<8xf32>) outs(%e : tensor<8xf32>) {
  ^bb0(%in: f32, %out: f32):
    %ok = arith.cmpf oge, %in, %zero : f32
    cf.assert %ok, "below zero"
    %s = math.sqrt %in : f32
    linalg.yield %s : f32
  } -> tensor<8xf32>
  %1 = linalg.tanh ins(%0 : tensor<8xf32>) outs(%e : tensor<8xf32>) -> tensor<8xf32>
  return %1 : tensor<8xf32>
}

// CHECK-LABEL: func @only_asserted
// CHECK: linalg.generic
// CHECK: cf.assert
func.func @only_asserted(%x: tensor<8xf32>, %e: tensor<8xf32>) -> tensor<8xf32> {
  %zero = arith.constant 0.0 : f32
  %0 = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
      iterator_types = ["parallel"]} ins(%x : tensor<8xf32>) outs(%e : tensor<8xf32>) {
  ^bb0(%in: f32, %out: f32):
    %ok = arith.cmpf oge, %in, %zero : f32
    cf.assert %ok, "below zero"
    linalg.yield %in : f32
  } -> tensor<8xf32>
  %1 = linalg.tanh ins(%x : tensor<8xf32>) outs(%e : tensor<8xf32>) -> tensor<8xf32>
  return %1 : tensor<8xf32>
}

// What is looked up is the same for all rows: it is computed, and asserted, once; the sum is not.
// CHECK-LABEL: func @same_for_all_rows
// CHECK: %[[AT:.*]] = linalg.generic {{.*}} ins(%{{.*}} : tensor<9xi64>) outs(%{{.*}} : tensor<9xi32>)
// CHECK: cf.assert
// CHECK: linalg.generic {{.*}}%[[AT]]{{.*}} outs(%{{.*}} : tensor<8x9xf32>)
// CHECK-NOT: cf.assert
// CHECK: tensor.extract
// CHECK: arith.addf
func.func @same_for_all_rows(%at: tensor<9xi64>, %x: tensor<8x30xf32>, %y: tensor<8x9xf32>, %e: tensor<8x9xf32>)
    -> tensor<8x9xf32> {
  %zero = arith.constant 0 : index
  %size = arith.constant 30 : index
  %0 = linalg.generic {indexing_maps = [affine_map<(i, j) -> (j)>, affine_map<(i, j) -> (i, j)>,
      affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
      ins(%at, %y : tensor<9xi64>, tensor<8x9xf32>) outs(%e : tensor<8x9xf32>) {
  ^bb0(%in: i64, %old: f32, %out: f32):
    %row = linalg.index 0 : index
    %p = arith.index_cast %in : i64 to index
    %ok = arith.cmpi ult, %p, %size : index
    cf.assert %ok, "out of range"
    %safe = arith.select %ok, %p, %zero : index
    %v = tensor.extract %x[%row, %safe] : tensor<8x30xf32>
    %s = arith.addf %v, %old : f32
    linalg.yield %s : f32
  } -> tensor<8x9xf32>
  return %0 : tensor<8x9xf32>
}

// Three rows are too few.
// CHECK-LABEL: func @few_rows
// CHECK-COUNT-1: linalg.generic
// CHECK-NOT: linalg.generic
func.func @few_rows(%at: tensor<9xi64>, %x: tensor<3x30xf32>, %e: tensor<3x9xf32>) -> tensor<3x9xf32> {
  %zero = arith.constant 0 : index
  %size = arith.constant 30 : index
  %0 = linalg.generic {indexing_maps = [affine_map<(i, j) -> (j)>, affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]} ins(%at : tensor<9xi64>) outs(%e : tensor<3x9xf32>) {
  ^bb0(%in: i64, %out: f32):
    %row = linalg.index 0 : index
    %p = arith.index_cast %in : i64 to index
    %ok = arith.cmpi ult, %p, %size : index
    cf.assert %ok, "out of range"
    %safe = arith.select %ok, %p, %zero : index
    %v = tensor.extract %x[%row, %safe] : tensor<3x30xf32>
    linalg.yield %v : f32
  } -> tensor<3x9xf32>
  return %0 : tensor<3x9xf32>
}
