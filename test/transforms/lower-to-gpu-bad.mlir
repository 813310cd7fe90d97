// RUN: %espalier-opt --sparse-to-gpu --split-input-file --verify-diagnostics %s

// What has no GPU kernel is an error with its place: nothing falls back to the CPU.
func.func @main(%x: tensor<1x2x8x8xf32>) -> tensor<1x2x8x8xf32> {
  // expected-error @below {{'linalg.generic' expected a convolution, a linear layer or a pool, found an op without a GPU kernel; compile for a CPU}}
  %y = math.tanh %x : tensor<1x2x8x8xf32>
  return %y : tensor<1x2x8x8xf32>
}
