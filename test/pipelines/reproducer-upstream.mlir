// A run of upstream passes that fails is cut down to the very pass; the flags that the IR needs are recorded, too.
// RUN: not %espalier-opt %s --allow-unregistered-dialect --mlir-pass-pipeline-crash-reproducer=%t.repro \
// RUN:   --pass-pipeline='builtin.module(cse,func.func(canonicalize),one-shot-bufferize,cse)' 2>&1 \
// RUN:   | FileCheck %s --check-prefix=ERROR
// RUN: FileCheck %s --check-prefix=FILE --input-file=%t.repro
// RUN: not %espalier-opt %t.repro --run-reproducer 2>&1 | FileCheck %s --check-prefix=AGAIN

// Upstream's own reproducers run as well.
// RUN: not %espalier-opt %S/Inputs/upstream-reproducer.mlir --run-reproducer 2>&1 | FileCheck %s --check-prefix=AGAIN

// ERROR: error: op was not bufferized
// ERROR-NEXT: note: pass 'one-shot-bufferize' failed; 'espalier-opt {{.*}}.repro --run-reproducer' repeats it
// FILE: --allow-unregistered-dialect
// FILE-SAME: --pass-pipeline=builtin.module(one-shot-bufferize,cse)
// FILE-NOT: arith.constant 7
// AGAIN: error: op was not bufferized
func.func @a() -> tensor<4xf32> {
  %unused = arith.constant 7 : i32
  %0 = "other.make"() : () -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
