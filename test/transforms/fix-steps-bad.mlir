// RUN: not %espalier-opt --sparse-fix-steps --split-input-file %s 2>&1 | FileCheck %s

// CHECK: expected how many time steps a run may have, found no example; give sparse-fix-steps{steps=N}
func.func @main(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  return %x : tensor<?x8xf32>
}

// -----

// CHECK: expected time steps as the first dimension, found tensor<2x?x8xf32>; fix the number of time steps
func.func @main(%x: tensor<2x?x8xf32>) -> tensor<2x?x8xf32> attributes {espalier.steps = 6 : i64} {
  return %x : tensor<2x?x8xf32>
}

// -----

// CHECK: 'linalg.generic' expected what computes each time step alone, found an op that mixes them
func.func @main(%x: tensor<?x8xf32>, %zero: tensor<8xf32>) -> tensor<8xf32> attributes {espalier.steps = 6 : i64} {
  %sum = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>],
                         iterator_types = ["reduction", "parallel"]}
      ins(%x : tensor<?x8xf32>) outs(%zero : tensor<8xf32>) {
  ^bb0(%a: f32, %out: f32):
    %c = arith.addf %a, %out : f32
    linalg.yield %c : f32
  } -> tensor<8xf32>
  return %sum : tensor<8xf32>
}

// -----

// CHECK: 'tensor.extract_slice' expected the first step, or the last of a layer that runs forwards, found other steps
func.func @main(%x: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<1x8xf32>) attributes {espalier.steps = 6 : i64} {
  %y = tensor.extract_slice %x[2, 0] [1, 8] [1, 1] : tensor<?x8xf32> to tensor<1x8xf32>
  return %x, %y : tensor<?x8xf32>, tensor<1x8xf32>
}
