// RUN: %espalier-opt --sparse-outline-loops %s | FileCheck %s
// RUN: %espalier-opt --sparse-outline-loops --mlir-pass-statistics %s -o %t 2>&1 | FileCheck %s --check-prefix=STATS

// Two loops that differ in their buffers alone are one function; equal constants may be different values.
// CHECK-LABEL: func.func private @loop_0
// CHECK-SAME: (%[[BEGIN:.*]]: index, %[[END:.*]]: index, %[[FROM:.*]]: memref<64xf32>, %[[TO:.*]]: memref<64xf32>)
// CHECK-DAG: %[[TWO:.*]] = arith.constant 2.000000e+00 : f32
// CHECK-DAG: %[[ONE:.*]] = arith.constant 1 : index
// CHECK: scf.parallel (%[[I:.*]]) = (%[[BEGIN]]) to (%[[END]]) step (%[[ONE]])
// CHECK: %[[X:.*]] = memref.load %[[FROM]][%[[I]]]
// CHECK: %[[Y:.*]] = arith.mulf %[[X]], %[[TWO]]
// CHECK: memref.store %[[Y]], %[[TO]][%[[I]]]

// CHECK-LABEL: func.func @main
// CHECK-SAME: (%[[A:.*]]: memref<64xf32>, %[[B:.*]]: memref<64xf32>, %[[C:.*]]: memref<64xf32>, %{{.*}}: index)
// CHECK: ^bb0(%[[B0:.*]]: index, %[[E0:.*]]: index):
// CHECK-NEXT: func.call @loop_0(%[[B0]], %[[E0]], %[[A]], %[[B]])
// CHECK-NEXT: scf.yield
// CHECK: ^bb0(%[[B1:.*]]: index, %[[E1:.*]]: index):
// CHECK-NEXT: func.call @loop_0(%[[B1]], %[[E1]], %[[B]], %[[C]])
// CHECK-NEXT: scf.yield

// Another constant, another operand twice, another order, also of a number from outside and a constant: five
// loops that stay.
// CHECK: scf.parallel
// CHECK: arith.mulf %{{.*}}, %cst{{.*}}
// CHECK: scf.parallel
// CHECK: scf.parallel
// CHECK: scf.parallel
// CHECK: arith.subi %{{.*}}, %c7
// CHECK: scf.parallel
// CHECK: arith.subi %c7{{.*}}, %
// CHECK-NOT: call @loop

// STATS-DAG: 1 functions
// STATS-DAG: 2 loops
func.func private @claim() -> (index, index)
func.func @main(%a: memref<64xf32>, %b: memref<64xf32>, %c: memref<64xf32>, %n: index) {
  %one = arith.constant 1 : index
  %two = arith.constant 2.0 : f32
  scf.while : () -> (index, index) {
    %begin, %end = func.call @claim() : () -> (index, index)
    %some = arith.cmpi slt, %begin, %end : index
    scf.condition(%some) %begin, %end : index, index
  } do {
  ^bb0(%begin: index, %end: index):
    scf.parallel (%i) = (%begin) to (%end) step (%one) {
      %x = memref.load %a[%i] : memref<64xf32>
      %y = arith.mulf %x, %two : f32
      memref.store %y, %b[%i] : memref<64xf32>
    }
    scf.yield
  }
  %again = arith.constant 1 : index
  %seven = arith.constant 7 : index
  scf.while : () -> (index, index) {
    %begin, %end = func.call @claim() : () -> (index, index)
    %some = arith.cmpi slt, %begin, %end : index
    scf.condition(%some) %begin, %end : index, index
  } do {
  ^bb0(%begin: index, %end: index):
    scf.parallel (%i) = (%begin) to (%end) step (%again) {
      %x = memref.load %b[%i] : memref<64xf32>
      %y = arith.mulf %x, %two : f32
      memref.store %y, %c[%i] : memref<64xf32>
    }
    scf.yield
  }
  %three = arith.constant 3.0 : f32
  scf.while : () -> (index, index) {
    %begin, %end = func.call @claim() : () -> (index, index)
    %some = arith.cmpi slt, %begin, %end : index
    scf.condition(%some) %begin, %end : index, index
  } do {
  ^bb0(%begin: index, %end: index):
    scf.parallel (%i) = (%begin) to (%end) step (%one) {
      %x = memref.load %b[%i] : memref<64xf32>
      %y = arith.mulf %x, %three : f32
      memref.store %y, %c[%i] : memref<64xf32>
    }
    scf.yield
  }
  scf.while : () -> (index, index) {
    %begin, %end = func.call @claim() : () -> (index, index)
    %some = arith.cmpi slt, %begin, %end : index
    scf.condition(%some) %begin, %end : index, index
  } do {
  ^bb0(%begin: index, %end: index):
    scf.parallel (%i) = (%begin) to (%end) step (%one) {
      %x = memref.load %c[%i] : memref<64xf32>
      %y = arith.mulf %x, %two : f32
      memref.store %y, %c[%i] : memref<64xf32>
    }
    scf.yield
  }
  scf.while : () -> (index, index) {
    %begin, %end = func.call @claim() : () -> (index, index)
    %some = arith.cmpi slt, %begin, %end : index
    scf.condition(%some) %begin, %end : index, index
  } do {
  ^bb0(%begin: index, %end: index):
    scf.parallel (%i) = (%begin) to (%end) step (%one) {
      %x = memref.load %b[%i] : memref<64xf32>
      %y = arith.mulf %two, %x : f32
      memref.store %y, %c[%i] : memref<64xf32>
    }
    scf.yield
  }
  scf.while : () -> (index, index) {
    %begin, %end = func.call @claim() : () -> (index, index)
    %some = arith.cmpi slt, %begin, %end : index
    scf.condition(%some) %begin, %end : index, index
  } do {
  ^bb0(%begin: index, %end: index):
    scf.parallel (%i) = (%begin) to (%end) step (%again) {
      %at = arith.subi %n, %seven : index
      %x = memref.load %a[%at] : memref<64xf32>
      memref.store %x, %c[%i] : memref<64xf32>
    }
    scf.yield
  }
  scf.while : () -> (index, index) {
    %begin, %end = func.call @claim() : () -> (index, index)
    %some = arith.cmpi slt, %begin, %end : index
    scf.condition(%some) %begin, %end : index, index
  } do {
  ^bb0(%begin: index, %end: index):
    scf.parallel (%i) = (%begin) to (%end) step (%again) {
      %at = arith.subi %seven, %n : index
      %x = memref.load %a[%at] : memref<64xf32>
      memref.store %x, %c[%i] : memref<64xf32>
    }
    scf.yield
  }
  return
}
