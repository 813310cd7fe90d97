// The IRDL that we ship lets another opt tool, without Python, read and check our dumps.
// REQUIRES: mlir-opt
// RUN: %espalier-opt --show-irdl > %t.irdl.mlir
// RUN: %espalier-opt %S/ops.mlir --mlir-print-op-generic > %t.dump.mlir
// RUN: %mlir-opt --irdl-file=%t.irdl.mlir %t.dump.mlir | FileCheck %s
// RUN: not %mlir-opt --irdl-file=%t.irdl.mlir %s 2>&1 | FileCheck %s --check-prefix=BAD
// RUN: %python -m espalier.sparse_dialect --irdl > %t.other.mlir && diff %t.irdl.mlir %t.other.mlir

// CHECK: "sparse.conv"
// CHECK: "sparse.packed_linear"

// BAD: expected base attribute 'builtin.string'
func.func @bad(%x: tensor<1x2xf32>, %w: tensor<3x2xf32>) {
  %0 = "sparse.linear"(%x, %w) {activation = 3, scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 1, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x2xf32>, tensor<3x2xf32>) -> tensor<1x3xf32>
  return
}
