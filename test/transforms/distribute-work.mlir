// RUN: %espalier-opt --sparse-distribute-work --split-input-file %s | FileCheck %s
// RUN: %espalier-opt --sparse-distribute-work --mlir-pass-statistics %s -o %t --split-input-file 2>&1 \
// RUN:   | FileCheck %s --check-prefix=STATISTICS

// STATISTICS: 2 barriers

// Threads claim chunks of a kernel's units, and of the first dimension of a loop that takes more than one turn. What reads
// another's output waits for it.

// CHECK: espalier.labels = ["start", "first", "waiting", "func.call", "waiting", "scf.parallel", "waiting"]
// CHECK-SAME: espalier.stamps = 7 : i64
// CHECK-SAME: espalier.statements = [{kind = "kernel", label = "first", name = "first", {{.*}}kind = "waiting"
// The team's functions are called through pointers, so objects have no undefined symbol; on one thread nothing is called.
// CHECK-LABEL: func.func private @espalier_barrier
// CHECK: scf.if %{{.*}} {
// CHECK-NEXT: } else {
// CHECK: llvm.call %{{.*}}(%{{.*}}) : !llvm.ptr
// CHECK-LABEL: func.func private @espalier_claim
// CHECK: scf.if
// CHECK-NOT: llvm.call
// CHECK: } else {
// CHECK: llvm.call %{{.*}}(%{{.*}}, %{{.*}}) : !llvm.ptr
// CHECK-LABEL: func.func @shares
// CHECK-SAME: (%[[X:[^:]*]]: memref<8x16xf32>, %[[Y:[^:]*]]: memref<1x9xf32>, %[[TURN:[^:]*]]: memref<?xi64>, %[[STAMPS:[^:]*]]: memref<?xi64>, %[[T:[^:]*]]: index, %[[N:[^:]*]]: index)
// CHECK: %[[FIRST:.*]] = arith.cmpi eq, %[[T]], %{{.*}} : index
// CHECK: %[[AT:.*]] = arith.constant 0 : index
// CHECK-NEXT: %[[NOW:.*]] = llvm.call_intrinsic "llvm.readcyclecounter"()
// CHECK-NEXT: scf.if %[[FIRST]] {
// CHECK-NEXT: memref.store %[[NOW]], %[[STAMPS]][%[[AT]]]
// CHECK: %[[UNITS:.*]] = arith.constant 7 : index
// CHECK: %[[A:.*]] = memref.alloc
// CHECK: %[[B:.*]] = memref.alloc
// CHECK: scf.while : () -> (index, index) {
// CHECK-NEXT: %[[CHUNK:.*]]:2 = func.call @espalier_claim(%[[TURN]], %[[N]], %[[UNITS]])
// CHECK-NEXT: %[[SOME:.*]] = arith.cmpi slt, %[[CHUNK]]#0, %[[CHUNK]]#1
// CHECK-NEXT: scf.condition(%[[SOME]]) %[[CHUNK]]#0, %[[CHUNK]]#1
// CHECK: ^bb0(%[[BEGIN:.*]]: index, %[[END:.*]]: index):
// CHECK-NEXT: func.call @kernel(%[[X]], %[[A]], %[[BEGIN]], %[[END]])
// CHECK-NEXT: scf.yield
// CHECK: memref.store %{{.*}}, %[[STAMPS]]
// CHECK: call @espalier_barrier(%[[TURN]], %[[N]])
// CHECK: call @kernel(%[[A]], %[[B]],
// CHECK: call @espalier_barrier(%[[TURN]], %[[N]])
// CHECK: %[[COUNT:.*]] = arith.ceildivsi
// CHECK: call @espalier_claim(%[[TURN]], %[[N]], %[[COUNT]])
// CHECK: %[[UPPER:.*]] = arith.minsi %{{.*}}, %[[C9:.*]] : index
// CHECK: scf.parallel (%{{.*}}, %{{.*}}) = (%{{.*}}, %[[LOWER:.*]]) to (%{{.*}}, %[[UPPER]]) step
// CHECK: call @espalier_barrier(%[[TURN]], %[[N]])
// CHECK: memref.store %{{.*}}, %[[STAMPS]]
// CHECK-NOT: call @
// CHECK: return

func.func private @kernel(%x: memref<8x16xf32>, %y: memref<8x16xf32>, %begin: index, %end: index)
    attributes {espalier.writes = array<i64: 1>} {
  return
}

func.func @shares(%x: memref<8x16xf32>, %y: memref<1x9xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c7 = arith.constant 7 : index
  %c9 = arith.constant 9 : index
  %a = memref.alloc() : memref<8x16xf32>
  %b = memref.alloc() : memref<8x16xf32>
  call @kernel(%x, %a, %c0, %c7) : (memref<8x16xf32>, memref<8x16xf32>, index, index) -> () loc("first")
  call @kernel(%a, %b, %c0, %c7) : (memref<8x16xf32>, memref<8x16xf32>, index, index) -> ()
  scf.parallel (%i, %j) = (%c0, %c0) to (%c1, %c9) step (%c1, %c2) {
    %v = memref.load %b[%i, %j] : memref<8x16xf32>
    memref.store %v, %y[%i, %j] : memref<1x9xf32>
    scf.reduce
  }
  return
}

// -----

// STATISTICS: sparse-distribute-work
// STATISTICS-NEXT: ===

// Independent statements run side by side: kernels of one layer write parts of one output, the others touch nothing of
// theirs. Reading the same input is no dependence. Only the last barrier, for the caller, is left (it does not count).

// CHECK-LABEL: func.func @independent
// CHECK-NOT: call @espalier_barrier
// CHECK: call @part(%{{.*}}, %[[Y:.*]], %{{.*}}, %{{.*}}) :
// CHECK-NOT: call @espalier_barrier
// CHECK: call @part(%{{.*}}, %[[Y]], %{{.*}}, %{{.*}}) :
// CHECK-NOT: call @espalier_barrier
// CHECK: call @part(
// CHECK: call @espalier_barrier
// CHECK: memref.store
// CHECK-NOT: call @
// CHECK: return

func.func private @part(%x: memref<8x16xf32>, %y: memref<8x16xf32>, %begin: index, %end: index)
    attributes {espalier.writes = array<i64: 1>} {
  return
}

func.func @independent(%x: memref<8x16xf32>, %y: memref<8x16xf32>, %z: memref<8x16xf32>) {
  %c0 = arith.constant 0 : index
  %c7 = arith.constant 7 : index
  call @part(%x, %y, %c0, %c7) : (memref<8x16xf32>, memref<8x16xf32>, index, index) -> ()
  call @part(%x, %y, %c0, %c7) : (memref<8x16xf32>, memref<8x16xf32>, index, index) -> ()
  call @part(%x, %z, %c0, %c7) : (memref<8x16xf32>, memref<8x16xf32>, index, index) -> ()
  return
}

// -----

// STATISTICS: 3 barriers

// Views are the buffer they show. Writing what was read waits too; what is no kernel and no parallel loop is one chunk,
// and a second statement on the same buffer waits for it.

// CHECK-LABEL: func.func @views
// CHECK: %[[ROW:.*]] = memref.subview %{{.*}}[1, 0] [1, 16] [1, 1]
// CHECK: call @row(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}})
// CHECK: call @espalier_barrier
// CHECK: %[[ONE:.*]] = arith.constant 1 : index
// CHECK-NEXT: scf.while
// CHECK-NEXT: call @espalier_claim(%{{.*}}, %{{.*}}, %[[ONE]])
// CHECK: ^bb0(
// CHECK-NEXT: memref.copy %{{.*}}, %[[ROW]]
// CHECK-NEXT: scf.yield
// CHECK: call @espalier_barrier
// CHECK: scf.while
// CHECK: ^bb0(
// CHECK-NEXT: scf.for
// CHECK: call @espalier_barrier
// CHECK: call @row(
// CHECK: call @espalier_barrier
// CHECK: memref.store
// CHECK-NOT: call @
// CHECK: return

func.func private @row(%x: memref<8x16xf32>, %y: memref<1x16xf32>, %begin: index, %end: index)
    attributes {espalier.writes = array<i64: 1>} {
  return
}

func.func @views(%x: memref<1x16xf32>, %y: memref<1x16xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c7 = arith.constant 7 : index
  %a = memref.alloc() : memref<8x16xf32>
  %row = memref.subview %a[1, 0] [1, 16] [1, 1] : memref<8x16xf32> to memref<1x16xf32, strided<[16, 1], offset: 16>>
  call @row(%a, %y, %c0, %c7) : (memref<8x16xf32>, memref<1x16xf32>, index, index) -> ()
  memref.copy %x, %row : memref<1x16xf32> to memref<1x16xf32, strided<[16, 1], offset: 16>>
  scf.for %i = %c0 to %c7 step %c1 {
    %v = memref.load %a[%c1, %i] : memref<8x16xf32>
    memref.store %v, %a[%c0, %i] : memref<8x16xf32>
  }
  call @row(%a, %y, %c0, %c7) : (memref<8x16xf32>, memref<1x16xf32>, index, index) -> ()
  return
}

// -----

// STATISTICS: 1 barriers

// A select may be either buffer: who reads it waits for both.

// CHECK-LABEL: func.func @select
// CHECK: call @kernel(
// CHECK-NOT: call @espalier_barrier
// CHECK: %[[S:.*]] = arith.select
// CHECK: call @espalier_barrier
// CHECK: call @kernel(%[[S]],
// CHECK: call @espalier_barrier
// CHECK: memref.store
// CHECK-NOT: call @
// CHECK: return

func.func private @kernel(%x: memref<8x16xf32>, %y: memref<8x16xf32>, %begin: index, %end: index)
    attributes {espalier.writes = array<i64: 1>} {
  return
}

func.func @select(%x: memref<8x16xf32>, %y: memref<8x16xf32>, %c: i1) {
  %c0 = arith.constant 0 : index
  %c7 = arith.constant 7 : index
  %a = memref.alloc() : memref<8x16xf32>
  %b = memref.alloc() : memref<8x16xf32>
  call @kernel(%x, %b, %c0, %c7) : (memref<8x16xf32>, memref<8x16xf32>, index, index) -> ()
  %s = arith.select %c, %a, %b : memref<8x16xf32>
  call @kernel(%s, %y, %c0, %c7) : (memref<8x16xf32>, memref<8x16xf32>, index, index) -> ()
  return
}

// -----

// STATISTICS: 1 barriers

// Control flow that hands on values, or a buffer whose size is only known at run time (every thread would have its own):
// the whole function is for one thread. Its loops still say what is whose share.

// CHECK: module attributes {{.*}}espalier.sequential = 1 : i64
// CHECK-LABEL: func.func @carries
func.func @carries(%y: memref<4xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %zero = arith.constant 0.0 : f32
  %sum = scf.for %i = %c0 to %c4 step %c1 iter_args(%s = %zero) -> f32 {
    %v = memref.load %y[%i] : memref<4xf32>
    %t = arith.addf %s, %v : f32
    scf.yield %t : f32
  }
  memref.store %sum, %y[%c0] : memref<4xf32>
  return
}

// -----

// CHECK: module attributes {{.*}}espalier.sequential = 1 : i64
// CHECK-LABEL: func.func @dynamic
func.func @dynamic(%y: memref<4xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %a = memref.alloc(%n) : memref<?xf32>
  scf.parallel (%i) = (%c0) to (%n) step (%c1) {
    %v = memref.load %y[%i] : memref<4xf32>
    memref.store %v, %a[%i] : memref<?xf32>
    scf.reduce
  }
  return
}

// -----

// Kernels (private functions) stay as they are: they are called with their share.

// CHECK: module attributes {espalier.labels = ["start", "waiting"], espalier.stamps = 2 : i64
// CHECK-LABEL: func.func private @alone
// CHECK-SAME: (%{{[^,]*}}: memref<4xf32>)
// CHECK-NEXT: %{{.*}} = arith.constant
// CHECK-LABEL: func.func @nothing
func.func private @alone(%y: memref<4xf32>) {
  %c0 = arith.constant 0 : index
  %v = memref.load %y[%c0] : memref<4xf32>
  memref.store %v, %y[%c0] : memref<4xf32>
  return
}
func.func @nothing() {
  return
}
