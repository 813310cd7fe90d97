// RUN: %espalier-opt --sparse-protect-inputs %s | FileCheck %s
// RUN: %espalier-opt --sparse-protect-inputs --mlir-pass-statistics %s -o %t 2>&1 | FileCheck %s --check-prefix=STATISTICS

// Tensors alone; what an argument has besides stays; a private function is called by our own code.

// CHECK: func.func @main(%{{.*}}: tensor<4xf32> {bufferization.writable = false, test.kept = 1 : i64}, %{{.*}}: memref<?xi8>, %{{.*}}: index)
// CHECK: func.func @plain(%{{.*}}: tensor<2xf32> {bufferization.writable = false})
// CHECK: func.func private @inner(%{{.*}}: tensor<4xf32>) {

// STATISTICS: 2 inputs protected

func.func @main(%x: tensor<4xf32> {test.kept = 1 : i64}, %scratch: memref<?xi8>, %i: index) {
  return
}
func.func @plain(%x: tensor<2xf32>) {
  return
}
func.func private @inner(%x: tensor<4xf32>) {
  return
}
