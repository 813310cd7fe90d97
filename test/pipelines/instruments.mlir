// Timing, statistics, IR printing and verification watch passes of both kinds.
// DEFINE: %{opt} = %espalier-opt %s --load-pass-plugin=%S/Inputs/example_passes.py -o %t.out
// RUN: %{opt} --test-count --cse --mlir-print-ir-after-all 2>&1 | FileCheck %s --check-prefix=AFTER
// RUN: %{opt} --test-mark --cse --mlir-print-ir-before=cse 2>&1 | FileCheck %s --check-prefix=BEFORE
// RUN: %{opt} --test-mark --cse --mlir-print-ir-after=test-mark 2>&1 | FileCheck %s --check-prefix=ONE
// RUN: %{opt} --cse --cse --test-mark --mlir-print-ir-after-change 2>&1 | FileCheck %s --check-prefix=CHANGE
// RUN: %{opt} --test-count --mlir-print-ir-after-all --mlir-print-ir-module-scope --mlir-print-op-generic 2>&1 \
// RUN:   | FileCheck %s --check-prefix=SCOPE
// RUN: %{opt} --test-count --test-mark --mlir-pass-statistics 2>&1 | FileCheck %s --check-prefix=STATISTICS
// RUN: %{opt} --test-count --cse --mlir-timing 2>&1 | FileCheck %s --check-prefix=TIMING

// AFTER: // -----// IR Dump After test-count ('func.func' operation: @a) //----- //
// AFTER-NEXT: func.func @a() -> i32 attributes {test.count = 3 : i64}
// AFTER: // -----// IR Dump After test-count ('func.func' operation: @b) //----- //
// AFTER: // -----// IR Dump After cse ('builtin.module' operation) //----- //
// AFTER: module

// BEFORE-NOT: IR Dump After
// BEFORE: // -----// IR Dump Before cse ('builtin.module' operation) //----- //
// BEFORE: test.mark

// ONE-NOT: IR Dump After cse
// ONE: IR Dump After test-mark
// ONE-NOT: IR Dump After cse

// CHANGE: IR Dump After cse
// CHANGE-NOT: IR Dump After cse
// CHANGE: IR Dump After test-mark

// SCOPE: IR Dump After test-count ('func.func' operation: @a)
// SCOPE-NEXT: "builtin.module"

// STATISTICS: Pass statistics report
// STATISTICS: test-count
// STATISTICS-NEXT: (S) 5 operations
// STATISTICS: test-mark
// STATISTICS-NEXT: (S) 2 functions marked

// TIMING: Execution time report
// TIMING: test-count
// TIMING-SAME: 2
// TIMING: cse
// TIMING: total
func.func @a() -> i32 {
  %0 = arith.constant 1 : i32
  %1 = arith.constant 1 : i32
  return %1 : i32
}
func.func @b() -> i32 {
  %0 = arith.constant 1 : i32
  return %0 : i32
}
