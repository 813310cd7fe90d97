// RUN: %espalier-opt --sparse-adopt-buffers %s | FileCheck %s

// CHECK-LABEL: func @fresh
// CHECK: bufferization.to_tensor %{{.*}} restrict writable
func.func @fresh() -> tensor<2xf32> {
  %buffer = memref.alloc() : memref<2xf32>
  %tensor = bufferization.to_tensor %buffer : memref<2xf32> to tensor<2xf32>
  return %tensor : tensor<2xf32>
}
