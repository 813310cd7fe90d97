// A pruned network as linalg, the whole way down: sparse kernels on the way, the LLVM dialect alone at the end, and the
// numbers of the same network by hand.

// RUN: %espalier-opt --sparse-prepare %s | FileCheck %s --check-prefix=PACKED
// RUN: %espalier-opt --sparse-to-loops --mlir-print-op-generic %s -o %t.loops
// RUN: grep -oE '"[a-z_]+\.[a-z_.]+"\(' %t.loops | sort -u | FileCheck %s --check-prefix=LOOPS
// RUN: %espalier-opt --sparse-to-llvm --mlir-print-op-generic %s -o %t.llvm
// RUN: grep -oE '"[a-z_]+\.[a-z_.]+"\(' %t.llvm | grep -v builtin.module | sort -u \
// RUN:   | FileCheck %s --check-prefix=OPS
// RUN: %espalier-opt --sparse-to-llvm %s | FileCheck %s

// PACKED-LABEL: func.func @main
// PACKED: sparse.packed_conv
// PACKED-SAME: schedule = #sparse.schedule<{{.*}}micro_kernel = "kernel_classes"{{.*}}storage = "fkw"
// PACKED-SAME: scheme = #sparse.pattern
// PACKED: sparse.packed_linear
// PACKED-SAME: schedule = #sparse.schedule<{{.*}}micro_kernel = "dense_rows"

// LOOPS-NOT: "sparse.
// LOOPS-NOT: "linalg.
// LOOPS-NOT: "tensor.
// LOOPS-NOT: "bufferization.
// LOOPS: "vector.load"

// OPS-NOT: {{"(?!llvm\.|\()}}
// OPS: "llvm.func"(
// OPS-NOT: {{"(?!llvm\.|\()}}

// CHECK: module attributes {espalier.arena = {{[1-9][0-9]*}} : i64, espalier.arguments = ["inputs", "scratch", "outputs",
// CHECK-SAME: espalier.inputs = 1 : i64, espalier.labels = ["start", {{.*}}"conv1"
// CHECK-DAG: llvm.func internal @conv_{{[0-9]+}}(
// CHECK-DAG: llvm.func internal @linear_{{[0-9]+}}(
// CHECK: llvm.func internal @main(
// CHECK: llvm.call @conv_
// CHECK: llvm.call @espalier_barrier(
// CHECK: llvm.call @linear_
// CHECK: llvm.return
// CHECK: llvm.func @espalier_entry(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: i64, %{{.*}}: i64)
// CHECK: llvm.call @main(

// RUN: espalier compile %s -o %t.espalier | FileCheck %s --check-prefix=COMPILE
// RUN: %python -c "import numpy; numpy.save(r'%t.x.npy', numpy.arange(32, dtype='f4').reshape(1, 2, 4, 4))"
// RUN: espalier run %t.espalier --input %t.x.npy --output %t.y.npy --threads 2
// RUN: %python -c "import numpy; print(*numpy.load(r'%t.y.npy').astype(int).tolist(), sep='\n')" \
// RUN:   | FileCheck %s --check-prefix=VALUES

// COMPILE: sparse-to-llvm{{.*}} 2 layers

// VALUES: [9, 93, 72, 30]
// VALUES-NEXT: [131, 547, 498, 290]
// VALUES-NEXT: [30, 332, 255, 104]

func.func @main(%x: tensor<1x2x4x4xf32>) -> tensor<3x4xf32> {
  %zero = arith.constant 0.0 : f32
  %kernels = arith.constant dense<[[[[0.0, 1.0], [2.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]],
                                   [[[0.0, 0.0], [0.0, 0.0]], [[0.0, 3.0], [4.0, 0.0]]],
                                   [[[5.0, 0.0], [0.0, 6.0]], [[0.0, 0.0], [0.0, 0.0]]]]> : tensor<3x2x2x2xf32>
  %0 = tensor.empty() : tensor<1x3x3x3xf32>
  %1 = linalg.fill ins(%zero : f32) outs(%0 : tensor<1x3x3x3xf32>) -> tensor<1x3x3x3xf32>
  %2 = linalg.conv_2d_nchw_fchw {dilations = dense<1> : vector<2xi64>, strides = dense<1> : vector<2xi64>}
      ins(%x, %kernels : tensor<1x2x4x4xf32>, tensor<3x2x2x2xf32>) outs(%1 : tensor<1x3x3x3xf32>)
      -> tensor<1x3x3x3xf32>
  %3 = tensor.collapse_shape %2 [[0, 1], [2, 3]] : tensor<1x3x3x3xf32> into tensor<3x9xf32>
  %matrix = arith.constant dense<[[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0],
                                  [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0],
                                  [0.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0]]> : tensor<9x4xf32>
  %4 = tensor.empty() : tensor<3x4xf32>
  %5 = linalg.fill ins(%zero : f32) outs(%4 : tensor<3x4xf32>) -> tensor<3x4xf32>
  %6 = linalg.matmul ins(%3, %matrix : tensor<3x9xf32>, tensor<9x4xf32>) outs(%5 : tensor<3x4xf32>) -> tensor<3x4xf32>
  return %6 : tensor<3x4xf32>
}
