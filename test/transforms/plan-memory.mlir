// RUN: %espalier-opt --sparse-plan-memory --split-input-file %s | FileCheck %s
// RUN: %espalier-opt --sparse-plan-memory --mlir-pass-statistics %s -o %t --split-input-file 2>&1 \
// RUN:   | FileCheck %s --check-prefix=STATISTICS

// %a and %b live together between the first two barriers, %b and %c after it; %c takes the place of %a. 100 bytes are
// two lines: every buffer begins at a multiple of 64.

// STATISTICS: 256 arena bytes
// STATISTICS: 3 buffers
// STATISTICS: 300 bytes in all

// CHECK: module attributes {espalier.arena = 256 : i64}
// CHECK-LABEL: func.func @chain
// CHECK-SAME: %[[ARENA:[^ ]*]]: memref<?xi8>) {
// CHECK: %[[AT_A:.*]] = arith.constant 0 : index
// CHECK-NEXT: %[[A:.*]] = memref.view %[[ARENA]][%[[AT_A]]][] : memref<?xi8> to memref<25xf32>
// CHECK-NEXT: %[[AT_B:.*]] = arith.constant 128 : index
// CHECK-NEXT: %[[B:.*]] = memref.view %[[ARENA]][%[[AT_B]]][]
// CHECK-NEXT: %[[AT_C:.*]] = arith.constant 0 : index
// CHECK-NEXT: %[[C:.*]] = memref.view %[[ARENA]][%[[AT_C]]][]
// CHECK-NOT: memref.alloc
// CHECK: call @use(%{{.*}}, %[[A]])
// CHECK: call @use(%[[A]], %[[B]])
// CHECK: call @use(%[[B]], %[[C]])
// CHECK: call @use(%[[C]], %{{.*}})

func.func private @espalier_barrier(memref<?xi64>, index)
func.func private @use(memref<25xf32>, memref<25xf32>)

func.func @chain(%x: memref<25xf32>, %y: memref<25xf32>, %words: memref<?xi64>, %n: index) {
  %a = memref.alloc() {alignment = 64 : i64} : memref<25xf32>
  %b = memref.alloc() {alignment = 64 : i64} : memref<25xf32>
  %c = memref.alloc() {alignment = 64 : i64} : memref<25xf32>
  call @use(%x, %a) : (memref<25xf32>, memref<25xf32>) -> ()
  call @espalier_barrier(%words, %n) : (memref<?xi64>, index) -> ()
  call @use(%a, %b) : (memref<25xf32>, memref<25xf32>) -> ()
  call @espalier_barrier(%words, %n) : (memref<?xi64>, index) -> ()
  call @use(%b, %c) : (memref<25xf32>, memref<25xf32>) -> ()
  call @espalier_barrier(%words, %n) : (memref<?xi64>, index) -> ()
  call @use(%c, %y) : (memref<25xf32>, memref<25xf32>) -> ()
  return
}

// -----

// Without a barrier between them the last use of %a and the first of %b may meet: no shared place.

// CHECK: module attributes {espalier.arena = 256 : i64}
// CHECK-LABEL: func.func @together
// CHECK: arith.constant 0 : index
// CHECK: arith.constant 128 : index

func.func private @use(memref<25xf32>)

func.func @together() {
  %a = memref.alloc() : memref<25xf32>
  %b = memref.alloc() : memref<25xf32>
  call @use(%a) : (memref<25xf32>) -> ()
  call @use(%b) : (memref<25xf32>) -> ()
  return
}

// -----

// A use inside a loop, through a view, or of what a select or a branch may choose, counts for the buffer: %a to %e
// all live beyond the barrier, so none gives its place to %f.

// CHECK: module attributes {espalier.arena = 384 : i64}
// CHECK-LABEL: func.func @reached
// CHECK: arith.constant 1 : index
// CHECK-NEXT: arith.constant 0 : index
// CHECK-NEXT: memref.view {{.*}} to memref<16xf32>
// CHECK: arith.constant 64 : index
// CHECK-NEXT: memref.view {{.*}} to memref<1x16xf32>
// CHECK: arith.constant 128 : index
// CHECK-NEXT: memref.view {{.*}} to memref<2x8xf32>
// CHECK: arith.constant 192 : index
// CHECK-NEXT: memref.view {{.*}} to memref<8x2xf32>
// CHECK: arith.constant 256 : index
// CHECK-NEXT: memref.view {{.*}} to memref<8x2xf32>
// CHECK: arith.constant 320 : index
// CHECK-NEXT: %[[F:.*]] = memref.view {{.*}} to memref<4x4xf32>
// CHECK: memref.store %{{.*}}, %[[F]]

func.func private @espalier_barrier(memref<?xi64>, index)
func.func private @use(memref<16xf32>)
func.func private @use_1x16(memref<1x16xf32>)
func.func private @use_2x8(memref<2x8xf32>)
func.func private @use_8x2(memref<8x2xf32>)

func.func @reached(%words: memref<?xi64>, %n: index, %p: i1, %v: f32) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %a = memref.alloc() : memref<16xf32>
  %b = memref.alloc() : memref<1x16xf32>
  %c = memref.alloc() : memref<2x8xf32>
  %d = memref.alloc() : memref<8x2xf32>
  %e = memref.alloc() : memref<8x2xf32>
  %f = memref.alloc() : memref<4x4xf32>
  call @use(%a) : (memref<16xf32>) -> ()
  call @use_1x16(%b) : (memref<1x16xf32>) -> ()
  call @use_2x8(%c) : (memref<2x8xf32>) -> ()
  call @use_8x2(%d) : (memref<8x2xf32>) -> ()
  call @use_8x2(%e) : (memref<8x2xf32>) -> ()
  %flat = memref.collapse_shape %b [[0, 1]] : memref<1x16xf32> into memref<16xf32>
  %either = scf.if %p -> memref<8x2xf32> {
    scf.yield %d : memref<8x2xf32>
  } else {
    scf.yield %e : memref<8x2xf32>
  }
  %same = arith.select %p, %c, %c : memref<2x8xf32>
  call @espalier_barrier(%words, %n) : (memref<?xi64>, index) -> ()
  memref.store %v, %f[%c0, %c0] : memref<4x4xf32>
  scf.for %i = %c0 to %n step %c1 {
    memref.store %v, %flat[%i] : memref<16xf32>
  }
  call @use_2x8(%same) : (memref<2x8xf32>) -> ()
  call @use_8x2(%either) : (memref<8x2xf32>) -> ()
  call @use(%a) : (memref<16xf32>) -> ()
  return
}

// -----

// The largest comes first; a small one fits beside it where the other lives no more. Sizes of elements: i1 is a byte,
// an index eight.

// CHECK: module attributes {espalier.arena = 896 : i64}
// CHECK-LABEL: func.func @sizes
// CHECK: arith.constant 128 : index
// CHECK-NEXT: memref.view {{.*}} to memref<65xi1>
// CHECK: arith.constant 0 : index
// CHECK-NEXT: memref.view {{.*}} to memref<9xindex>
// CHECK: arith.constant 0 : index
// CHECK-NEXT: memref.view {{.*}} to memref<100xi64>
// CHECK: arith.constant 832 : index
// CHECK-NEXT: memref.view {{.*}} to memref<3xf16>

func.func private @espalier_barrier(memref<?xi64>, index)
func.func private @use_i1(memref<65xi1>)
func.func private @use_index(memref<9xindex>)
func.func private @use_i64(memref<100xi64>)
func.func private @use_f16(memref<3xf16>)

func.func @sizes(%words: memref<?xi64>, %n: index) {
  %a = memref.alloc() : memref<65xi1>
  %b = memref.alloc() : memref<9xindex>
  %c = memref.alloc() : memref<100xi64>
  %d = memref.alloc() : memref<3xf16>
  call @use_index(%b) : (memref<9xindex>) -> ()
  call @use_i1(%a) : (memref<65xi1>) -> ()
  call @espalier_barrier(%words, %n) : (memref<?xi64>, index) -> ()
  call @use_i64(%c) : (memref<100xi64>) -> ()
  call @use_f16(%d) : (memref<3xf16>) -> ()
  return
}

// -----

// A buffer of dynamic size, those inside loops and those of kernels stay allocations.

// CHECK: module attributes {espalier.arena = 0 : i64}
// CHECK-LABEL: func.func @stay
// CHECK: memref.alloc(%{{.*}}) : memref<?xf32>
// CHECK: scf.for
// CHECK: memref.alloc() : memref<16xf32>
// CHECK-LABEL: func.func private @kernel
// CHECK-SAME: () {
// CHECK: memref.alloc() : memref<16xf32>

func.func private @use(memref<16xf32>)

func.func @stay(%n: index, %v: f32) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %a = memref.alloc(%n) : memref<?xf32>
  memref.store %v, %a[%c0] : memref<?xf32>
  scf.for %i = %c0 to %n step %c1 {
    %b = memref.alloc() : memref<16xf32>
    func.call @use(%b) : (memref<16xf32>) -> ()
  }
  return
}

func.func private @kernel() {
  %b = memref.alloc() : memref<16xf32>
  call @use(%b) : (memref<16xf32>) -> ()
  return
}
