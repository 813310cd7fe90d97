// RUN: %espalier-opt --sparse-adopt-buffers %s | FileCheck %s

// CHECK-LABEL: func @fresh
// CHECK: bufferization.to_tensor %{{.*}} restrict writable
func.func @fresh() -> tensor<2xf32> {
  %buffer = memref.alloc() : memref<2xf32>
  %tensor = bufferization.to_tensor %buffer : memref<2xf32> to tensor<2xf32>
  return %tensor : tensor<2xf32>
}

// Buffers are asked for when they are read, and no sooner: what lies between may not write over them.
// CHECK-LABEL: func @later
// CHECK-SAME: (%[[X:.*]]: tensor<2xf32>,
// CHECK: tensor.insert
// CHECK-NEXT: memref.alloc
// CHECK-NEXT: %[[ASKED:.*]] = bufferization.to_buffer %[[X]] read_only
// CHECK-NEXT: memref.copy %[[ASKED]]
func.func @later(%x: tensor<2xf32>, %value: f32) -> (tensor<2xf32>, tensor<2xf32>) {
  %c0 = arith.constant 0 : index
  %asked = bufferization.to_buffer %x : tensor<2xf32> to memref<2xf32>
  %other = tensor.insert %value into %x[%c0] : tensor<2xf32>
  %buffer = memref.alloc() : memref<2xf32>
  memref.copy %asked, %buffer : memref<2xf32> to memref<2xf32>
  %tensor = bufferization.to_tensor %buffer : memref<2xf32> to tensor<2xf32>
  return %tensor, %other : tensor<2xf32>, tensor<2xf32>
}

// The same for the buffer of a result, which another operation reads as it is.
// CHECK-LABEL: func @result
// CHECK: %[[FIRST:.*]] = bufferization.to_tensor %{{.*}} restrict writable
// CHECK: tensor.insert
// CHECK: %[[AGAIN:.*]] = bufferization.to_buffer %[[FIRST]] read_only
// CHECK-NEXT: memref.copy %[[AGAIN]]
func.func @result(%x: memref<2xf32>, %value: f32) -> (tensor<2xf32>, tensor<2xf32>) {
  %c0 = arith.constant 0 : index
  %buffer = memref.alloc() : memref<2xf32>
  memref.copy %x, %buffer : memref<2xf32> to memref<2xf32>
  %tensor = bufferization.to_tensor %buffer : memref<2xf32> to tensor<2xf32>
  %other = tensor.insert %value into %tensor[%c0] : tensor<2xf32>
  %second = memref.alloc() : memref<2xf32>
  memref.copy %buffer, %second : memref<2xf32> to memref<2xf32>
  %last = bufferization.to_tensor %second : memref<2xf32> to tensor<2xf32>
  return %last, %other : tensor<2xf32>, tensor<2xf32>
}
