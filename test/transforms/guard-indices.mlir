// RUN: %espalier-opt --sparse-guard-indices --split-input-file %s | FileCheck %s

// The place that data say is asserted, a loop's own is not.
// CHECK-LABEL: func @selected
// CHECK: %[[SIZE:.*]] = arith.constant 5 : index
// CHECK: linalg.generic
// CHECK: %[[PLACE:.*]] = arith.index_cast
// CHECK: %[[OK:.*]] = arith.cmpi ult, %[[PLACE]], %[[SIZE]] : index
// CHECK-NEXT: cf.assert %[[OK]], "an index is out of range for dimension 1, which has 5 elements"
// CHECK-NEXT: %[[SAFE:.*]] = arith.select %[[OK]], %[[PLACE]], %{{.*}} : index
// CHECK-NEXT: tensor.extract %{{.*}}[%{{.*}}, %[[SAFE]]]
// CHECK-NOT: cf.assert
func.func @selected(%x: tensor<2x5xf32>, %at: tensor<3xi64>) -> tensor<2x3xf32> {
  %empty = tensor.empty() : tensor<2x3xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(i, j) -> (j)>, affine_map<(i, j) -> (i, j)>],
                       iterator_types = ["parallel", "parallel"]}
      ins(%at : tensor<3xi64>) outs(%empty : tensor<2x3xf32>) {
  ^bb0(%in: i64, %out: f32):
    %place = arith.index_cast %in : i64 to index
    %row = linalg.index 0 : index
    %v = tensor.extract %x[%row, %place] : tensor<2x5xf32>
    linalg.yield %v : f32
  } -> tensor<2x3xf32>
  return %y : tensor<2x3xf32>
}

// -----

// Asserted already, and made of loops by an earlier operation.
// CHECK-LABEL: func @not_twice
// CHECK: cf.assert
// CHECK-NOT: cf.assert
func.func @not_twice(%x: tensor<5xf32>, %at: tensor<3xi64>) -> (tensor<3xf32>, tensor<3xf32>) {
  %c5 = arith.constant 5 : index
  %empty = tensor.empty() : tensor<3xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
                       iterator_types = ["parallel"]} ins(%at : tensor<3xi64>) outs(%empty : tensor<3xf32>) {
  ^bb0(%in: i64, %out: f32):
    %place = arith.index_cast %in : i64 to index
    %ok = arith.cmpi ult, %place, %c5 : index
    cf.assert %ok, "too large"
    %v = tensor.extract %x[%place] : tensor<5xf32>
    linalg.yield %v : f32
  } -> tensor<3xf32>
  %places = tensor.empty() : tensor<3xi64>
  %own = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>], iterator_types = ["parallel"]}
      outs(%places : tensor<3xi64>) {
  ^bb0(%out: i64):
    %i = linalg.index 0 : index
    %cast = arith.index_cast %i : index to i64
    linalg.yield %cast : i64
  } -> tensor<3xi64>
  %z = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
                       iterator_types = ["parallel"]} ins(%own : tensor<3xi64>) outs(%empty : tensor<3xf32>) {
  ^bb0(%in: i64, %out: f32):
    %place = arith.index_cast %in : i64 to index
    %v = tensor.extract %x[%place] : tensor<5xf32>
    linalg.yield %v : f32
  } -> tensor<3xf32>
  return %y, %z : tensor<3xf32>, tensor<3xf32>
}

// -----

// A rounded number, and a size that the run decides.
// CHECK-LABEL: func @rounded
// CHECK: tensor.dim
// CHECK: cf.assert %{{.*}}, "an index is out of range for dimension 0"
func.func @rounded(%x: tensor<?xf32>, %at: tensor<3xf32>) -> tensor<3xf32> {
  %places = tensor.empty() : tensor<3xi64>
  %own = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
                         iterator_types = ["parallel"]} ins(%at : tensor<3xf32>) outs(%places : tensor<3xi64>) {
  ^bb0(%in: f32, %out: i64):
    %cast = arith.fptosi %in : f32 to i64
    linalg.yield %cast : i64
  } -> tensor<3xi64>
  %empty = tensor.empty() : tensor<3xf32>
  %z = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
                       iterator_types = ["parallel"]} ins(%own : tensor<3xi64>) outs(%empty : tensor<3xf32>) {
  ^bb0(%in: i64, %out: f32):
    %place = arith.index_cast %in : i64 to index
    %v = tensor.extract %x[%place] : tensor<?xf32>
    linalg.yield %v : f32
  } -> tensor<3xf32>
  return %z : tensor<3xf32>
}
