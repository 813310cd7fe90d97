// One clear line for what is no compiled network.

// RUN: not %espalier-opt --sparse-export-entry --split-input-file %s 2>&1 | FileCheck %s

// CHECK: error: 'builtin.module' expected one public function, found 2; make the others private
// CHECK: export-entry-bad.mlir:{{.*}} error: 'func.func' expected the arguments that sparse-plan-memory leaves
// CHECK-SAME: found (memref<4xf32>) -> (); run sparse-to-loops first
// CHECK: error: 'func.func' expected results as output arguments
// CHECK: error: 'func.func' expected the arguments that sparse-plan-memory leaves (inputs, scratch, failures, turn, stamps,
// CHECK-SAME: thread, threads, arena), found
// CHECK-NOT: Traceback

func.func @one() { return }
func.func @two() { return }

// -----

func.func @early(%x: memref<4xf32>) { return }

// -----

module attributes {espalier.inputs = 0 : i64} {
  func.func @number(%scratch: memref<?xi8>, %failures: memref<?xi32>, %turn: memref<?xi64>,
                    %stamps: memref<?xi64>, %thread: index, %threads: index, %arena: memref<?xi8>) -> index {
    return %thread : index
  }
}

// -----

module attributes {espalier.inputs = 1 : i64} {
  func.func @stamps_of_another_type(%x: memref<4xf32>, %scratch: memref<?xi8>, %failures: memref<?xi32>,
      %turn: memref<?xi64>, %stamps: memref<?xi32>, %thread: index, %threads: index, %arena: memref<?xi8>) {
    return
  }
}
