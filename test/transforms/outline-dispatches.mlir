// RUN: %espalier-opt --sparse-outline-dispatches --split-input-file %s | FileCheck %s
// RUN: %espalier-opt --sparse-outline-dispatches --mlir-pass-statistics %s -o %t --split-input-file 2>&1 \
// RUN:   | FileCheck %s --check-prefix=STATISTICS

// STATISTICS: 2 dispatches

// Two kernels that write parts of one buffer are one dispatch; what they read as constants is one block of weights. The
// linalg between them stays, on tensors, and so does nothing of buffers.

// CHECK: module attributes {espalier.weight_data = dense_resource<{{.*}}> : tensor<64xi8>}
// CHECK: func.func @main(%[[X:.*]]: tensor<8xf32>) -> tensor<8xf32>
// CHECK-NEXT: %[[W:.*]] = "util.global.load"() {global = @weights} : () -> tensor<64xi8>
// CHECK: %[[Y:.*]] = "flow.dispatch"(%[[X]], %[[W]]) {entry_points = [@espalier::@a_0],
// CHECK-SAME: operandSegmentSizes = array<i32: 0, 2, 0, 0>, tied_operands = [-1 : index]}
// CHECK-SAME: : (tensor<8xf32>, tensor<64xi8>) -> tensor<8xf32>
// CHECK: %[[E:.*]] = math.absf %[[Y]]
// CHECK: %[[Z:.*]] = "flow.dispatch"(%[[E]]) {entry_points = [@espalier::@b_1]
// CHECK: return %[[Z]]
// CHECK: module @espalier {
// Sixteen units of @a, and behind them three of @b.
// CHECK: func.func @espalier_a_0(%[[P:.*]]: !llvm.ptr, %[[Q:.*]]: !llvm.ptr, %{{.*}}: !llvm.ptr, %[[I:.*]]: i64, %[[N:.*]]: i64)
// CHECK-SAME: attributes {espalier.units = 19 : i64}
// CHECK: %[[SLOT:.*]] = llvm.call @espalier_take_slot()
// CHECK: llvm.call @espalier_scratch_of(%[[SLOT]])
// CHECK-DAG: %[[AT:.*]] = arith.index_cast %[[I]]
// CHECK-DAG: %[[ITEMS:.*]] = arith.index_cast %[[N]]
// CHECK: %[[C19:.*]] = arith.constant 19 : index
// CHECK: %[[UNITS:.*]] = arith.muli %[[AT]], %[[C19]]
// CHECK: %[[BEGIN:.*]] = arith.divui %[[UNITS]], %[[ITEMS]]
// CHECK: %[[A:.*]] = arith.cmpi ult
// CHECK: scf.if %[[A]] {
// CHECK: func.call @a(
// CHECK: %[[FIRST:.*]] = arith.maxui %[[BEGIN]], %[[C16:.*]] : index
// CHECK: arith.subi %[[FIRST]], %{{.*}} : index
// CHECK: scf.if
// CHECK: memref.subview %{{.*}}[4] [4] [1]
// CHECK: func.call @b(
// CHECK: llvm.call @espalier_give_slot(%[[SLOT]])
// @b alone needs no scratch.
// CHECK: func.func @espalier_b_1(
// CHECK-SAME: espalier.units = 3 : i64
// CHECK-NOT: llvm.call
// CHECK: call @b(

module attributes {espalier.inputs = 1 : i64, espalier.scratch = 100 : i64} {
  func.func private @a(%x: memref<8xf32>, %y: memref<8xf32>, %w: memref<4xf32>, %scratch: memref<?xi8>,
                       %begin: index, %end: index) attributes {espalier.writes = array<i64: 1>} {
    return
  }
  func.func private @b(%x: memref<8xf32>, %y: memref<4xf32, strided<[1], offset: 4>>, %begin: index, %end: index)
      attributes {espalier.writes = array<i64: 1>} {
    return
  }
  func.func @main(%x: tensor<8xf32>, %scratch: memref<?xi8>) -> tensor<8xf32> {
    %c0 = arith.constant 0 : index
    %c3 = arith.constant 3 : index
    %c16 = arith.constant 16 : index
    %w = arith.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
    %in = bufferization.to_buffer %x read_only : tensor<8xf32> to memref<8xf32>
    %weight = bufferization.to_buffer %w read_only : tensor<4xf32> to memref<4xf32>
    %out = memref.alloc() : memref<8xf32>
    %part = memref.subview %out[4] [4] [1] : memref<8xf32> to memref<4xf32, strided<[1], offset: 4>>
    call @a(%in, %out, %weight, %scratch, %c0, %c16) {espalier.units}
        : (memref<8xf32>, memref<8xf32>, memref<4xf32>, memref<?xi8>, index, index) -> ()
    call @b(%in, %part, %c0, %c3) {espalier.units}
        : (memref<8xf32>, memref<4xf32, strided<[1], offset: 4>>, index, index) -> ()
    %y = bufferization.to_tensor %out restrict writable : memref<8xf32> to tensor<8xf32>
    %e = math.absf %y : tensor<8xf32>
    %in2 = bufferization.to_buffer %e read_only : tensor<8xf32> to memref<8xf32>
    %out2 = memref.alloc() : memref<8xf32>
    %part2 = memref.subview %out2[4] [4] [1] : memref<8xf32> to memref<4xf32, strided<[1], offset: 4>>
    call @b(%in2, %part2, %c0, %c3) {espalier.units}
        : (memref<8xf32>, memref<4xf32, strided<[1], offset: 4>>, index, index) -> ()
    %z = bufferization.to_tensor %out2 restrict writable : memref<8xf32> to tensor<8xf32>
    return %z : tensor<8xf32>
  }
}

// -----

// A kernel that reads what another of its layer has written is a dispatch of its own, which writes in place.

// CHECK-LABEL: func.func @in_place
// CHECK: %[[Y:.*]] = "flow.dispatch"(%{{.*}}) {{.*}} tied_operands = [-1 : index]
// CHECK: %[[Z:.*]] = "flow.dispatch"(%[[Y]]) {{.*}} tied_operands = [0 : index]
// CHECK: return %[[Z]]

module attributes {espalier.inputs = 1 : i64, espalier.scratch = 0 : i64} {
  func.func private @a(%x: memref<8xf32>, %y: memref<8xf32>, %begin: index, %end: index)
      attributes {espalier.writes = array<i64: 1>} {
    return
  }
  func.func @in_place(%x: tensor<8xf32>, %scratch: memref<?xi8>) -> tensor<8xf32> {
    %c0 = arith.constant 0 : index
    %c3 = arith.constant 3 : index
    %in = bufferization.to_buffer %x read_only : tensor<8xf32> to memref<8xf32>
    %out = memref.alloc() : memref<8xf32>
    call @a(%in, %out, %c0, %c3) : (memref<8xf32>, memref<8xf32>, index, index) -> ()
    call @a(%out, %out, %c0, %c3) : (memref<8xf32>, memref<8xf32>, index, index) -> ()
    %y = bufferization.to_tensor %out restrict writable : memref<8xf32> to tensor<8xf32>
    return %y : tensor<8xf32>
  }
}
