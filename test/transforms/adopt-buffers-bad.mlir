// RUN: %espalier-opt --sparse-adopt-buffers --verify-diagnostics %s

// Others may refer to an argument.
func.func @shared(%buffer: memref<2xf32>) -> tensor<2xf32> {
  // expected-error @+1 {{'bufferization.to_tensor' expected a fresh memref.alloc, found another buffer; use one-shot-bufferize alone}}
  %tensor = bufferization.to_tensor %buffer : memref<2xf32> to tensor<2xf32>
  return %tensor : tensor<2xf32>
}
