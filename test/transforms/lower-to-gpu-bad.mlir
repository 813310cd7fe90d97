// RUN: %espalier-opt --sparse-to-gpu --split-input-file --verify-diagnostics %s

// What has no GPU kernel is an error with its place: nothing falls back to the CPU.
func.func @main(%x: tensor<1x2x8x8xf32>) -> tensor<1x2x8x8xf32> {
  // expected-error @below {{'linalg.generic' expected arithmetic of f32 and integers, found 'math.tan' in its body; there is no GPU kernel for it; compile for a CPU}}
  %y = math.tan %x : tensor<1x2x8x8xf32>
  return %y : tensor<1x2x8x8xf32>
}

// -----

func.func @main(%x: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %e = tensor.empty() : tensor<2x8xf32>
  // expected-error @below {{'linalg.generic' expected a layer, a pool, a reshape or part of tensors, or arithmetic of f32 and integers, found a place of d1 mod 4}}
  %y = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j mod 4)>, affine_map<(i, j) -> (i, j)>],
                       iterator_types = ["parallel", "parallel"]} ins(%x : tensor<2x8xf32>) outs(%e : tensor<2x8xf32>) {
  ^bb0(%a: f32, %b: f32):
    linalg.yield %a : f32
  } -> tensor<2x8xf32>
  return %y : tensor<2x8xf32>
}

// -----

// expected-error @below {{'func.func' expected tensors of fixed sizes, of f32 or integers, found index; there is no GPU kernel for it; compile for a CPU}}
func.func @main(%x: tensor<4x8xf32>, %at: index) -> tensor<2x8xf32> {
  %y = tensor.extract_slice %x[%at, 0] [2, 8] [1, 1] : tensor<4x8xf32> to tensor<2x8xf32>
  return %y : tensor<2x8xf32>
}

// -----

func.func @main(%x: tensor<4x8xf32>, %n: tensor<i64>) -> tensor<2x8xf32> {
  %v = tensor.extract %n[] : tensor<i64>
  %at = arith.index_cast %v : i64 to index
  // expected-error @below {{'tensor.extract_slice' expected a slice of fixed places, found places that are computed}}
  %y = tensor.extract_slice %x[%at, 0] [2, 8] [1, 1] : tensor<4x8xf32> to tensor<2x8xf32>
  return %y : tensor<2x8xf32>
}

// -----

// expected-error @below {{'func.func' expected how many time steps a run may have, found no example; give sparse-fix-steps{steps=N}}}
func.func @main(%x: tensor<2x?xf32>) -> tensor<2x?xf32> {
  return %x : tensor<2x?xf32>
}

// -----

// expected-error @below {{expected inputs and outputs of f32, i32, i64 or i1, found tensor<2x8xf64>}}
func.func @main(%x: tensor<2x8xf64>) -> tensor<2x8xf64> {
  return %x : tensor<2x8xf64>
}

// -----

func.func @main(%x: tensor<1x2x8x8xf32>) -> tensor<1x2x8x8xf32> {
  %w = arith.constant dense<0.5> : tensor<2x2x3x3xf32>
  // expected-error @below {{'sparse.packed_conv' expected a tile of rows, and columns in fours, with (rows - 1) x stride of at most 14, found [2, 6]}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1 : i64, activation = "relu", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{tile = [2, 6]}>, record = #sparse.record<{}>}
      : (tensor<1x2x8x8xf32>, tensor<2x2x3x3xf32>) -> tensor<1x2x8x8xf32>
  return %y : tensor<1x2x8x8xf32>
}

// -----

func.func @main(%x: tensor<1x2x8x8xf32>) -> tensor<1x2x8x8xf32> {
  %w = arith.constant dense<0.5> : tensor<2x2x3x3xf32>
  // expected-error @below {{'sparse.packed_conv' expected a schedule of threads in eights, at most 128, found 256; correct or leave out the schedule's threads}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1 : i64, activation = "relu", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{threads = 256 : i64}>, record = #sparse.record<{}>}
      : (tensor<1x2x8x8xf32>, tensor<2x2x3x3xf32>) -> tensor<1x2x8x8xf32>
  return %y : tensor<1x2x8x8xf32>
}

// -----

func.func @main(%x: tensor<1x2x8x8xf32>) -> tensor<1x2x8x8xf32> {
  %w = arith.constant dense<0.5> : tensor<2x2x3x3xf32>
  // expected-error @below {{'sparse.packed_conv' expected a schedule of 2 filters a thread, which is what its scheme and groups allow, found 3; correct or leave out the schedule's filters}}
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1], dilations = [1, 1],
      groups = 1 : i64, activation = "relu", scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0, 0>,
      schedule = #sparse.schedule<{filters = 3 : i64}>, record = #sparse.record<{}>}
      : (tensor<1x2x8x8xf32>, tensor<2x2x3x3xf32>) -> tensor<1x2x8x8xf32>
  return %y : tensor<1x2x8x8xf32>
}

// -----

// An assertion alone, which no kernel that reads the operand repeats.
func.func @main(%x: tensor<8xf32>) -> tensor<8xf32> {
  %zero = arith.constant 0.0 : f32
  // expected-error @below {{expected a layer, a pool, a reshape or part of tensors, or arithmetic of f32 and integers, found no result}}
  linalg.generic {indexing_maps = [affine_map<(i) -> (i)>], iterator_types = ["parallel"]} ins(%x : tensor<8xf32>) {
  ^bb0(%a: f32):
    %positive = arith.cmpf ogt, %a, %zero : f32
    cf.assert %positive, "not positive"
    linalg.yield
  }
  return %x : tensor<8xf32>
}
