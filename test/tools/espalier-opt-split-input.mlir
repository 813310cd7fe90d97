// Parts are handled one by one, keep their line numbers, and a bad one does not stop the others.
// RUN: not %espalier-opt %s --split-input-file 2>%t.err | FileCheck %s
// RUN: FileCheck %s --check-prefix=ERR --input-file=%t.err
// RUN: not %espalier-opt %s --split-input-file -o %t.none && not ls %t.none

// CHECK: @first
// CHECK: // -----
// CHECK-NOT: @second
// CHECK: @third
// ERR: split-input.mlir:16:3: error: 'func.return' op has 0 operands
func.func private @first()

// -----

func.func @second() -> i32 {
  return
}

// -----

func.func private @third()
