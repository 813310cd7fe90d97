// RUN: %espalier-opt --sparse-export-entry --split-input-file %s | FileCheck %s
// RUN: %espalier-opt --sparse-export-entry --finalize-memref-to-llvm --convert-to-llvm --reconcile-unrealized-casts \
// RUN:   --split-input-file %s | FileCheck %s --check-prefix=LLVM

// An input and an output of free length: sizes[0] and sizes[1]. What lies in front of a dimension steps over all of it.

// CHECK: module attributes {espalier.arguments = ["inputs", "scratch", "outputs", "weights", "failures", "turn", "stamps",
// CHECK-SAME: "arena"], espalier.input_types = ["3x?xf32"], espalier.inputs = 1 : i64, espalier.output_types = ["?xf32"]
// CHECK-LABEL: func.func private @kernel
// CHECK-SAME: attributes {llvm.linkage = #llvm.linkage<internal>, llvm.no_inline}
// CHECK: func.func private @main
// CHECK-SAME: llvm.linkage = #llvm.linkage<internal>
// CHECK-NOT: no_inline
// CHECK: func.func @espalier_entry(%[[BUFFERS:.*]]: !llvm.ptr, %[[SIZES:.*]]: !llvm.ptr, %[[THREAD:.*]]: i64, %[[THREADS:.*]]: i64)
// CHECK-DAG: %[[T:.*]] = arith.index_cast %[[THREAD]]
// CHECK-DAG: %[[N:.*]] = arith.index_cast %[[THREADS]]
// CHECK-DAG: %[[AT_X:.*]] = llvm.getelementptr %[[BUFFERS]][0]
// CHECK-DAG: %[[X:.*]] = llvm.load %[[AT_X]]
// CHECK-DAG: %[[AT_FREE:.*]] = llvm.getelementptr %[[SIZES]][0]
// CHECK-DAG: %[[FREE:.*]] = llvm.load %[[AT_FREE]] : !llvm.ptr -> i64
// CHECK-DAG: %[[STRIDE:.*]] = arith.muli %{{.*}}, %[[FREE]]
// CHECK-DAG: llvm.insertvalue %[[STRIDE]], %{{.*}}[4, 0]
// CHECK-DAG: llvm.getelementptr %[[BUFFERS]][2]
// CHECK-DAG: llvm.getelementptr %[[SIZES]][1]
// CHECK-DAG: llvm.getelementptr %[[BUFFERS]][7]
// CHECK-NOT: llvm.getelementptr %[[SIZES]][2]
// CHECK: call @main(
// CHECK-SAME: , %[[T]], %[[N]], %{{[^,]*}}) :
// CHECK-NEXT: return

// LLVM: llvm.func internal @kernel(
// LLVM-SAME: no_inline
// LLVM-LABEL: llvm.func internal @main
// LLVM: llvm.func @espalier_entry(
// LLVM-NOT: unrealized_conversion_cast
// LLVM: llvm.return

module attributes {espalier.inputs = 1 : i64, espalier.weights = 64 : i64} {
  func.func private @kernel(%x: memref<3x?xf32>) { return }
  func.func private @outside()
  func.func @main(%x: memref<3x?xf32>, %scratch: memref<?xi8>, %y: memref<?xf32>, %weights: memref<?xi8>,
                  %failures: memref<?xi32>, %turn: memref<?xi64>, %stamps: memref<?xi64>, %thread: index,
                  %threads: index, %arena: memref<?xi8>) {
    call @kernel(%x) : (memref<3x?xf32>) -> ()
    return
  }
}

// -----

// No weights argument where the constants stay in the module; a scalar has neither sizes nor strides.

// CHECK: module attributes {espalier.arguments = ["inputs", "scratch", "outputs", "failures", "turn", "stamps", "arena"],
// CHECK-SAME: espalier.input_types = ["f32"], espalier.inputs = 1 : i64, espalier.output_types = ["2x4xf32"]
// CHECK-LABEL: func.func private @scalar
// CHECK: func.func @espalier_entry(%[[BUFFERS:.*]]: !llvm.ptr, %[[SIZES:.*]]: !llvm.ptr
// CHECK-NOT: llvm.getelementptr %[[SIZES]]
// CHECK: builtin.unrealized_conversion_cast %{{.*}} : !llvm.struct<(ptr, ptr, i64)> to memref<f32>
// CHECK: llvm.getelementptr %[[BUFFERS]][6]
// CHECK-NOT: llvm.getelementptr %[[BUFFERS]][7]

module attributes {espalier.inputs = 1 : i64} {
  func.func @scalar(%x: memref<f32>, %scratch: memref<?xi8>, %y: memref<2x4xf32>, %failures: memref<?xi32>,
                    %turn: memref<?xi64>, %stamps: memref<?xi64>, %thread: index, %threads: index,
                    %arena: memref<?xi8>) {
    return
  }
}
