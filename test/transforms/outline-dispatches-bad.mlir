// One clear line for what IREE could not take.

// RUN: not %espalier-opt --sparse-outline-dispatches --split-input-file %s 2>&1 | FileCheck %s

// CHECK: error: 'builtin.module' expected one public function that calls kernels, found 1 public functions; run
// CHECK-SAME: sparse-to-vector first
// CHECK: outline-dispatches-bad.mlir:{{.*}} error: 'func.func' expected tensors of static sizes, found tensor<?xf32>;
// CHECK-SAME: compile with fixed sizes
// CHECK: error: 'bufferization.alloc_tensor' expected an op that IREE knows, found bufferization.alloc_tensor; compile
// CHECK-SAME: for our own runtime: --emit obj
// CHECK: error: 'func.call' expected tensors, or buffers that kernels have written, found memref<4xf32>
// CHECK-NOT: Traceback

func.func @early(%x: tensor<4xf32>) { return }

// -----

module attributes {espalier.scratch = 0 : i64} {
  func.func @steps(%x: tensor<?xf32>, %scratch: memref<?xi8>) { return }
}

// -----

module attributes {espalier.scratch = 0 : i64} {
  func.func @foreign(%x: tensor<4xf32>, %scratch: memref<?xi8>) -> tensor<4xf32> {
    %y = bufferization.alloc_tensor() : tensor<4xf32>
    return %y : tensor<4xf32>
  }
}

// -----

module attributes {espalier.scratch = 0 : i64} {
  func.func private @a(%x: memref<4xf32>, %y: memref<4xf32>, %begin: index, %end: index)
      attributes {espalier.writes = array<i64: 1>} {
    return
  }
  memref.global "private" constant @g : memref<4xf32> = dense<1.0>
  func.func @global(%x: tensor<4xf32>, %scratch: memref<?xi8>) -> tensor<4xf32> {
    %c0 = arith.constant 0 : index
    %in = memref.get_global @g : memref<4xf32>
    %out = memref.alloc() : memref<4xf32>
    call @a(%in, %out, %c0, %c0) : (memref<4xf32>, memref<4xf32>, index, index) -> ()
    %y = bufferization.to_tensor %out restrict writable : memref<4xf32> to tensor<4xf32>
    return %y : tensor<4xf32>
  }
}
