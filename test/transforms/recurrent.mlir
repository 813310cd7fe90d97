// A recurrent layer on its way from sparse.gru to a loop of kernel calls with barriers, and buffers that grow with the
// number of steps.
// RUN: %espalier-opt --pass-pipeline='builtin.module(sparse-detect-schemes,sparse-schedule-layers,sparse-compress-weights)' %s \
// RUN:   | FileCheck %s --check-prefix=PACKED
// RUN: %espalier-opt --sparse-to-vector %s | FileCheck %s --check-prefix=VECTOR
// RUN: %espalier-opt --sparse-to-loops %s | FileCheck %s --check-prefix=LOOPS

// PACKED: "sparse.packed_linear"
// PACKED-SAME: tensor<?x16xf32>
// PACKED: "sparse.packed_gru"
// PACKED-SAME: direction = "reverse"
// PACKED-SAME: scheme = #sparse.dense
// PACKED-SAME: storage_names = ["weight"], weight_shape = [24, 8]
// PACKED-SAME: tensor<1x8x3x16xf32>

// From the last step to the first: the initial state, then the state of the step behind.
// VECTOR-LABEL: func.func @main
// VECTOR: %[[T:.*]] = memref.dim %[[Y:alloc[_0-9]*]], %{{.*}} : memref<?x1x8xf32>
// VECTOR: %[[LAST:.*]] = arith.subi %[[T]], %[[ONE:.*]] : index
// VECTOR: %[[END:.*]] = memref.subview %[[Y]][%[[LAST]], 0, 0] [1, 1, 8] [1, 1, 1]
// VECTOR: %[[INITIAL:.*]] = memref.cast %{{.*}} : memref<1x8xf32>
// VECTOR: call @gru_{{[0-9]+}}(%{{.*}}, %[[INITIAL]], %[[END]],
// VECTOR: scf.for %[[I:.*]] = %[[ONE]] to %[[T]] step
// VECTOR: %[[NOW:.*]] = arith.subi %[[LAST]], %[[I]]
// VECTOR: %[[BEHIND:.*]] = arith.addi %[[NOW]], %[[ONE]]
// VECTOR: %[[PREVIOUS:.*]] = memref.subview %[[Y]][%[[BEHIND]], 0, 0]
// VECTOR: %[[NEXT:.*]] = memref.subview %[[Y]][%[[NOW]], 0, 0]
// VECTOR: %[[FROM:.*]] = memref.cast %[[PREVIOUS]]
// VECTOR: call @gru_{{[0-9]+}}(%{{.*}}, %[[FROM]], %[[NEXT]],

// LOOPS: module attributes {espalier.arena = 0 : i64, espalier.arena_per_step = [[STEP:[1-9][0-9]*]] : i64
// LOOPS-SAME: espalier.labels = ["start", "linear1", "waiting", "func.call", "scf.for", "waiting"]
// LOOPS-NOT: espalier.sequential
// LOOPS-LABEL: func.func @main
// LOOPS-SAME: (%[[X:[^:]*]]: memref<?x16xf32>
// LOOPS-DAG: memref.dim %[[X]]
// LOOPS-NOT: memref.alloc
// LOOPS: memref.view {{.*}} : memref<?xi8> to memref<?x24xf32>
// LOOPS: call @linear_
// LOOPS: call @espalier_barrier
// LOOPS: call @gru_
// LOOPS-NOT: espalier_barrier
// LOOPS: scf.for
// LOOPS-NEXT: call @espalier_barrier
// LOOPS: call @gru_
func.func @main(%x: tensor<?x16xf32>) -> tensor<?x1x8xf32> {
  %u = arith.constant dense<1.0> : tensor<24x16xf32>
  %w = arith.constant dense<0.5> : tensor<24x8xf32>
  %h = arith.constant dense<0.0> : tensor<1x8xf32>
  %c0 = arith.constant 0 : index
  %t = tensor.dim %x, %c0 : tensor<?x16xf32>
  %p = "sparse.linear"(%x, %u) {activation = "none", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{layer = "linear1"}>} : (tensor<?x16xf32>, tensor<24x16xf32>) -> tensor<?x24xf32>
  %g = tensor.expand_shape %p [[0, 1], [2]] output_shape [%t, 1, 24] : tensor<?x24xf32> into tensor<?x1x24xf32>
  %y = "sparse.gru"(%g, %h, %w) {direction = "reverse", scheme = #sparse.undetected,
      operandSegmentSizes = array<i32: 1, 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<?x1x24xf32>, tensor<1x8xf32>, tensor<24x8xf32>) -> tensor<?x1x8xf32>
  return %y : tensor<?x1x8xf32>
}
