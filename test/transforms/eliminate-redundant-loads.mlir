// RUN: %espalier-opt --sparse-eliminate-redundant-loads --split-input-file %s | FileCheck %s
// RUN: %espalier-opt --sparse-eliminate-redundant-loads=level=kernel --split-input-file %s \
// RUN:   | FileCheck %s --check-prefix=KERNEL
// RUN: %espalier-opt --sparse-eliminate-redundant-loads=level=none --split-input-file %s \
// RUN:   | FileCheck %s --check-prefix=NONE
// RUN: %espalier-opt --sparse-set-target=registers=3 --sparse-eliminate-redundant-loads --split-input-file %s \
// RUN:   | FileCheck %s --check-prefix=FEW
// RUN: %espalier-opt --sparse-eliminate-redundant-loads --mlir-pass-statistics %s -o %t 2>&1 --split-input-file \
// RUN:   | FileCheck %s --check-prefix=STATISTICS

// Output rows 1 and 2 read input rows 1 to 3 (kernel level); a second filter reads row 2 again (filter level).

// CHECK-LABEL: func.func private @rows
// CHECK: scf.for
// CHECK: %[[ONE:.*]] = vector.load
// CHECK: vector.fma %[[ONE]]
// CHECK: %[[TWO:.*]] = vector.load
// CHECK-NEXT: vector.fma %[[TWO]]
// CHECK-NOT: vector.load
// CHECK: vector.fma %[[TWO]]
// CHECK: %[[THREE:.*]] = vector.load
// CHECK-NEXT: vector.fma %[[THREE]]
// CHECK-NOT: vector.load
// CHECK: vector.fma %[[TWO]]
// CHECK-LABEL: func.func @calls_rows
// CHECK: espalier.loads_after = 30 : i64, espalier.loads_before = 50 : i64

// KERNEL-LABEL: func.func private @rows
// KERNEL-COUNT-3: vector.load
// KERNEL: llvm.inline_asm has_side_effects "", "~{memory}"
// KERNEL-NEXT: vector.load {{.*}} {espalier.filter = 1 : i64}
// KERNEL-LABEL: func.func @calls_rows
// KERNEL: espalier.loads_after = 40 : i64, espalier.loads_before = 50 : i64

// NONE-LABEL: func.func private @rows
// NONE-COUNT-2: vector.load
// NONE: llvm.inline_asm
// NONE-NEXT: vector.load
// NONE-NOT: llvm.inline_asm
// NONE: vector.load
// NONE: llvm.inline_asm
// NONE-NEXT: vector.load
// NONE-LABEL: func.func @calls_rows
// NONE: espalier.loads_after = 50 : i64, espalier.loads_before = 50 : i64

// Two accumulators and the weight leave no register but one: row 2 is gone once row 3 was loaded.
// FEW-LABEL: func.func private @rows
// FEW-COUNT-4: vector.load
// FEW-NOT: vector.load
// FEW-LABEL: func.func @calls_rows
// FEW: espalier.loads_after = 40 : i64, espalier.loads_before = 50 : i64

// STATISTICS: 3 loads after
// STATISTICS: 5 loads before
// STATISTICS: 1 loads removed (filter level)
// STATISTICS: 1 loads removed (kernel level)
func.func private @rows(%x: memref<4x9x16xf32>, %w: vector<16xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %r:2 = scf.for %c = %c0 to %n step %c1 iter_args(%a = %w, %b = %w) -> (vector<16xf32>, vector<16xf32>) {
    %v0 = vector.load %x[%c, %c1, %c0] : memref<4x9x16xf32>, vector<16xf32>
    %a0 = vector.fma %v0, %w, %a : vector<16xf32>
    %v1 = vector.load %x[%c, %c2, %c0] : memref<4x9x16xf32>, vector<16xf32>
    %a1 = vector.fma %v1, %w, %a0 : vector<16xf32>
    %v2 = vector.load %x[%c, %c2, %c0] : memref<4x9x16xf32>, vector<16xf32>
    %b0 = vector.fma %v2, %w, %b : vector<16xf32>
    %v3 = vector.load %x[%c, %c3, %c0] : memref<4x9x16xf32>, vector<16xf32>
    %b1 = vector.fma %v3, %w, %b0 : vector<16xf32>
    %v4 = vector.load %x[%c, %c2, %c0] {espalier.filter = 1 : i64} : memref<4x9x16xf32>, vector<16xf32>
    %a2 = vector.fma %v4, %w, %a1 : vector<16xf32>
    scf.yield %a2, %b1 : vector<16xf32>, vector<16xf32>
  } {espalier.class = 0 : i64}
  return
}

func.func @calls_rows(%x: memref<4x9x16xf32>, %w: vector<16xf32>, %n: index) {
  call @rows(%x, %w, %n) {espalier.visits = array<i64: 10>} : (memref<4x9x16xf32>, vector<16xf32>, index) -> ()
  return
}

// -----

// A store in between may have changed the line; so may a call.

// CHECK-LABEL: func.func @writes
// CHECK-COUNT-3: vector.load
// CHECK-NOT: vector.load
// CHECK: return
// NONE-LABEL: func.func @writes
// NONE-NOT: llvm.inline_asm
// NONE: return
func.func private @anything()
func.func @writes(%x: memref<4x16xf32>, %y: memref<4x16xf32>) {
  %c0 = arith.constant 0 : index
  %a = vector.load %x[%c0, %c0] : memref<4x16xf32>, vector<16xf32>
  vector.store %a, %y[%c0, %c0] : memref<4x16xf32>, vector<16xf32>
  %b = vector.load %x[%c0, %c0] : memref<4x16xf32>, vector<16xf32>
  call @anything() : () -> ()
  %c = vector.load %x[%c0, %c0] : memref<4x16xf32>, vector<16xf32>
  %s = arith.addf %b, %c : vector<16xf32>
  vector.store %s, %y[%c0, %c0] : memref<4x16xf32>, vector<16xf32>
  return
}
