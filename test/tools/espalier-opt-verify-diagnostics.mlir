// Comments state the expected diagnostics; unexpected and missing ones are reported.
// RUN: %espalier-opt %S/Inputs/expected.mlir --split-input-file --verify-diagnostics \
// RUN:   --load-pass-plugin=%S/../pipelines/Inputs/example_passes.py --test-refuse
// RUN: not %espalier-opt %s --split-input-file --verify-diagnostics 2>&1 | FileCheck %s
// RUN: not ls espalier-reproducer.mlir

// CHECK: verify-diagnostics.mlir:{{[0-9]+}}:{{[0-9]+}}: error: unexpected error: 'func.return' op has 0 operands
func.func @unexpected() -> i32 {
  return
}

// -----

// CHECK: error: expected error "never happens" was not produced
// expected-error @below {{never happens}}
func.func private @missing()

// -----

// The line is wrong: both are reported.
// CHECK: error: expected error "has 0 operands" was not produced
// CHECK: error: unexpected error: 'func.return' op has 0 operands
// expected-error @below {{has 0 operands}}
func.func @line() -> i32 {
  return
}

// -----

// The kind is wrong.
// CHECK: error: unexpected error: 'func.return' op has 0 operands
// CHECK: error: expected warning "has 0 operands" was not produced
func.func @kind() -> i32 {
  return // expected-warning {{has 0 operands}}
}
// CHECK-NOT: error
