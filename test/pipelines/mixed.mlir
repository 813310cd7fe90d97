// Our passes and upstream passes at any nesting, as one pipeline and as flags in command-line order.
// DEFINE: %{opt} = %espalier-opt %s --load-pass-plugin=%S/Inputs/example_passes.py
// RUN: %{opt} --pass-pipeline='builtin.module(func.func(test-count,cse),test-mark{text="a b"},func.func(canonicalize))' \
// RUN:   | FileCheck %s
// RUN: %{opt} --test-count --cse --test-mark='text="a b"' -canonicalize --dump-pass-pipeline 2>%t.pipeline \
// RUN:   | FileCheck %s
// RUN: FileCheck %s --check-prefix=FLAGS --input-file=%t.pipeline
// RUN: %{opt} --cse --test-count | FileCheck %s --check-prefix=AFTER

// FLAGS: builtin.module(func.func(test-count),cse,test-mark{text="a b"},canonicalize)

// Counted before the constants were merged, in both functions, and not in the private one's missing body.
// CHECK: func.func @two() -> i32 attributes {test.count = 4 : i64, test.mark = "a b"}
// CHECK-NEXT: arith.constant 2
// CHECK: func.func @one() -> i32 attributes {test.count = 2 : i64, test.mark = "a b"}
// AFTER: test.count = 3 : i64
func.func @two() -> i32 {
  %0 = arith.constant 1 : i32
  %1 = arith.constant 1 : i32
  %2 = arith.addi %0, %1 : i32
  return %2 : i32
}
func.func @one() -> i32 {
  %0 = arith.constant 5 : i32
  return %0 : i32
}
