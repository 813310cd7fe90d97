// Input, output and information flags.
// RUN: %espalier-opt %s | FileCheck %s
// RUN: %espalier-opt - < %s | FileCheck %s
// RUN: %espalier-opt %s -o %t.out && FileCheck %s --input-file=%t.out
// RUN: %espalier-opt %s -o %t.bc -emit-bytecode && %espalier-opt %t.bc | FileCheck %s
// RUN: %espalier-opt %s --mlir-print-op-generic | FileCheck %s --check-prefix=GENERIC
// RUN: %espalier-opt %s --mlir-print-debuginfo | FileCheck %s --check-prefix=LOCATIONS
// RUN: %espalier-opt %s --mlir-elide-elementsattrs-if-larger=2 | FileCheck %s --check-prefix=ELIDED
// RUN: %espalier-opt --show-dialects | FileCheck %s --check-prefix=DIALECTS
// RUN: %espalier-opt --list-passes | FileCheck %s --check-prefix=LIST
// RUN: %espalier-opt --help --load-pass-plugin=%S/../pipelines/Inputs/example_passes.py | FileCheck %s --check-prefix=HELP
// RUN: %espalier-opt --version | FileCheck %s --check-prefix=VERSION

// CHECK: func.func @a() -> tensor<4xi32>
// CHECK-NEXT: dense<[1, 2, 3, 4]>
// GENERIC: "func.func"() <{{{.*}}sym_name = "a"
// LOCATIONS: loc(
// ELIDED: dense_resource<__elided__>
// DIALECTS: Available Dialects:
// DIALECTS-SAME: linalg
// DIALECTS-SAME: sparse,
// LIST: sparse-raise-linalg
// LIST: sparse-plan-memory
// LIST: sparse-to-llvm
// HELP: usage: espalier-opt
// HELP: --pass-pipeline
// HELP: --sparse-raise-linalg
// HELP: --test-mark
// HELP-NEXT: Marks every function of the module with an attribute.
// HELP-NEXT: The attribute is ``test.mark``.
// HELP-NEXT: text=<str>  what the mark says (default: seen)
// HELP-NEXT: kind=<string|unit>  the mark's attribute (default: string)
// HELP: --sparse-to-llvm
// VERSION: espalier-opt 0.1
func.func @a() -> tensor<4xi32> {
  %0 = arith.constant dense<[1, 2, 3, 4]> : tensor<4xi32>
  return %0 : tensor<4xi32>
}
