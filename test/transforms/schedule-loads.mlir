// RUN: %espalier-opt --sparse-set-target=core=cortex-a76 --sparse-schedule-loads=ahead=2 --split-input-file %s | FileCheck %s
// RUN: %espalier-opt --sparse-set-target=core=cortex-a76 --sparse-schedule-loads=ahead=0 --split-input-file %s | FileCheck %s --check-prefix=LATE
// RUN: %espalier-opt --sparse-set-target="core=cortex-a76 registers=6" --sparse-schedule-loads="ahead=2 spare=1" --split-input-file %s \
// RUN:   | FileCheck %s --check-prefix=FEW

// Lines 0 and 1 are neighbours and come together; so are 3 and 4, two multiplies before the first that reads
// one of them. The weights' lanes take one register.

// CHECK-LABEL: func.func private @pairs
// CHECK: %[[W:.*]] = vector.load %{{.*}} : memref<4xf32>
// CHECK-NEXT: %[[A:.*]] = vector.load
// CHECK-NEXT: %[[B:.*]] = vector.load
// CHECK-NEXT: vector.shuffle %[[W]], %[[W]] [0, 0, 0, 0]
// CHECK-NEXT: vector.fma %[[A]]
// CHECK-NEXT: %[[C:.*]] = vector.load
// CHECK-NEXT: %[[D:.*]] = vector.load
// CHECK: vector.fma %[[B]]
// CHECK: vector.fma %[[A]]
// CHECK: vector.fma %[[C]]
// CHECK: vector.fma %[[D]]
// CHECK: scf.yield

// LATE-LABEL: func.func private @pairs
// LATE: %[[A:.*]] = vector.load {{.*}}%c0]
// LATE-NEXT: %[[B:.*]] = vector.load
// LATE-COUNT-3: vector.fma
// LATE: vector.load
// LATE-NEXT: vector.load
// LATE-COUNT-2: vector.fma

// Four accumulators, the weights and one line: a pair never fits.
// FEW-LABEL: func.func private @pairs
// FEW: vector.load %{{.*}} : memref<4xf32>
// FEW-NEXT: vector.load
// FEW-NOT: vector.load
// FEW: vector.fma
// FEW: vector.load
// FEW-NOT: vector.load
// FEW: vector.fma
func.func private @pairs(%x: memref<4x9x4xf32>, %weights: memref<4xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  %c4 = arith.constant 4 : index
  %zero = arith.constant dense<0.0> : vector<4xf32>
  %r:4 = scf.for %c = %c0 to %n step %c1 iter_args(%p = %zero, %q = %zero, %s = %zero, %t = %zero)
      -> (vector<4xf32>, vector<4xf32>, vector<4xf32>, vector<4xf32>) {
    %w = vector.load %weights[%c0] : memref<4xf32>, vector<4xf32>
    %w0 = vector.shuffle %w, %w [0, 0, 0, 0] : vector<4xf32>, vector<4xf32>
    %w1 = vector.shuffle %w, %w [1, 1, 1, 1] : vector<4xf32>, vector<4xf32>
    %a = vector.load %x[%c, %c0, %c0] : memref<4x9x4xf32>, vector<4xf32>
    %p1 = vector.fma %a, %w0, %p : vector<4xf32>
    %b = vector.load %x[%c, %c1, %c0] : memref<4x9x4xf32>, vector<4xf32>
    %q1 = vector.fma %b, %w0, %q : vector<4xf32>
    %p2 = vector.fma %a, %w1, %p1 : vector<4xf32>
    %d = vector.load %x[%c, %c3, %c0] : memref<4x9x4xf32>, vector<4xf32>
    %s1 = vector.fma %d, %w1, %s : vector<4xf32>
    %e = vector.load %x[%c, %c4, %c0] : memref<4x9x4xf32>, vector<4xf32>
    %t1 = vector.fma %e, %w1, %t : vector<4xf32>
    scf.yield %p2, %q1, %s1, %t1 : vector<4xf32>, vector<4xf32>, vector<4xf32>, vector<4xf32>
  }
  return
}

// -----

// A line that is loaded again would be kept, and spilt, by LLVM: it must not know that it is the same. Loads
// stay behind what may have written them.

// CHECK-LABEL: func.func private @again
// CHECK: %[[A:.*]] = vector.load
// CHECK-COUNT-4: vector.fma
// CHECK: llvm.inline_asm has_side_effects "", "~{memory}"
// CHECK-NEXT: %[[B:.*]] = vector.load
// CHECK: vector.fma %[[B]]
// CHECK: vector.store
// CHECK-NEXT: %[[C:.*]] = vector.load
// CHECK-NEXT: vector.fma %[[C]]
func.func private @again(%x: memref<9x4xf32>, %y: memref<9x4xf32>, %w: vector<4xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant dense<0.0> : vector<4xf32>
  %a = vector.load %x[%c0, %c0] : memref<9x4xf32>, vector<4xf32>
  %0 = vector.fma %a, %w, %zero : vector<4xf32>
  %1 = vector.fma %a, %w, %0 : vector<4xf32>
  %2 = vector.fma %a, %w, %1 : vector<4xf32>
  %3 = vector.fma %a, %w, %2 : vector<4xf32>
  %4 = vector.fma %3, %w, %3 : vector<4xf32>
  %5 = vector.fma %4, %w, %4 : vector<4xf32>
  %6 = vector.fma %5, %w, %5 : vector<4xf32>
  %b = vector.load %x[%c0, %c0] : memref<9x4xf32>, vector<4xf32>
  %7 = vector.fma %b, %w, %6 : vector<4xf32>
  vector.store %7, %y[%c0, %c0] : memref<9x4xf32>, vector<4xf32>
  %c = vector.load %x[%c0, %c0] : memref<9x4xf32>, vector<4xf32>
  %8 = vector.fma %c, %w, %7 : vector<4xf32>
  vector.store %8, %y[%c0, %c0] : memref<9x4xf32>, vector<4xf32>
  return
}

// -----

// Few multiplies: nothing to place loads among.

// CHECK-LABEL: func.func private @few
// CHECK: vector.load
// CHECK-NEXT: vector.fma
// CHECK-NEXT: vector.load
// CHECK-NEXT: vector.fma
func.func private @few(%x: memref<9x4xf32>, %w: vector<4xf32>, %s: vector<4xf32>) -> vector<4xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %a = vector.load %x[%c0, %c0] : memref<9x4xf32>, vector<4xf32>
  %0 = vector.fma %a, %w, %s : vector<4xf32>
  %b = vector.load %x[%c1, %c0] : memref<9x4xf32>, vector<4xf32>
  %1 = vector.fma %b, %w, %0 : vector<4xf32>
  return %1 : vector<4xf32>
}
