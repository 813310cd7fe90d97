// RUN: %espalier-opt --sparse-eliminate-redundant-loads %s | FileCheck %s
// RUN: %espalier-opt --pass-pipeline='builtin.module(sparse-eliminate-redundant-loads{level=kernel})' %s | FileCheck %s --check-prefix=KERNEL
// RUN: %espalier-opt --pass-pipeline='builtin.module(sparse-eliminate-redundant-loads{level=none})' %s | FileCheck %s --check-prefix=NONE

// Two filters read one place, the second by an address computed anew. Stores and other buffers stay.
// CHECK-LABEL: gpu.func @main
// CHECK-SAME: espalier.reads = array<i64: 12, 4, 3, 1, 12>
// CHECK-NOT: espalier.keep_loads
// CHECK: scf.for
// CHECK-COUNT-1: memref.load %{{.*}} {espalier.filter
// CHECK-NOT: espalier.filter
// KERNEL-LABEL: gpu.func @main
// KERNEL-SAME: espalier.reads = array<i64: 12, 8, 3, 2, 12>
// NONE-LABEL: gpu.func @main
// NONE-SAME: espalier.keep_loads
// NONE-SAME: espalier.reads = array<i64: 12, 12, 3, 3, 12>
module attributes {gpu.container_module} {
  gpu.module @kernel_0 {
    gpu.func @main(%x: memref<64xvector<4xf32>>, %y: memref<64xvector<4xf32>>) kernel {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c4 = arith.constant 4 : index
      %zero = arith.constant dense<0.0> : vector<4xf32>
      %sum = scf.for %k = %c0 to %c4 step %c1 iter_args(%a = %zero) -> (vector<4xf32>) {
        %p = arith.addi %k, %c1 : index
        %u = memref.load %x[%p] {espalier.filter = 0 : i64} : memref<64xvector<4xf32>>
        %s = vector.fma %u, %u, %a : vector<4xf32>
        %v = memref.load %x[%p] {espalier.filter = 0 : i64} : memref<64xvector<4xf32>>
        %t = vector.fma %v, %u, %s : vector<4xf32>
        %q = arith.addi %c1, %k : index
        %w = memref.load %x[%q] {espalier.filter = 1 : i64} : memref<64xvector<4xf32>>
        %r = vector.fma %w, %w, %t : vector<4xf32>
        scf.yield %r : vector<4xf32>
      } {espalier.class = 0 : i64}
      memref.store %sum, %y[%c0] : memref<64xvector<4xf32>>
      gpu.return
    }
  }
}
