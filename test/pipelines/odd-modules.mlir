// Modules that a pass does not expect: one line, or left alone.
// RUN: not %espalier-opt --sparse-fix-steps --sparse-lower-to-gpu --split-input-file %s 2>&1 | FileCheck %s --check-prefix=GPU
// RUN: not %espalier-opt --sparse-distribute-work --split-input-file %s 2>&1 | FileCheck %s
// RUN: not %espalier-opt --allow-unregistered-dialect --inline --split-input-file %s 2>&1 | FileCheck %s --check-prefix=INLINE

// GPU: 'func.func' expected a function with a body, found a declaration; give it one
func.func private @declared(tensor<?x4xf32>)

// -----

// CHECK: 'builtin.module' expected an integer as module attribute 'espalier.stamps', found "many"; leave it out
module attributes {espalier.stamps = "many"} {
  func.func @attribute() {
    return
  }
}

// -----

// CHECK: 'func.func' expected a function of one block, found branches between several; use scf for control flow
func.func @branches(%c: i1) {
  cf.cond_br %c, ^bb1, ^bb1
^bb1:
  return
}

// -----

// INLINE: 'other.op' expected an operation of a known dialect around a region, found an unregistered one
"other.op"() ({
  "other.inner"() : () -> ()
}) : () -> ()
