// RUN: %espalier-opt --sparse-externalize-constants=file=%t.weights %s | FileCheck %s
// RUN: %python -c "import numpy; print(*numpy.fromfile(r'%t.weights', 'u4').reshape(-1, 16), sep='\n')" \
// RUN:   | FileCheck %s --check-prefix=BYTES
// RUN: %espalier-opt --sparse-externalize-constants=file=%t.weights --mlir-pass-statistics %s -o %t 2>&1 \
// RUN:   | FileCheck %s --check-prefix=STATISTICS

// RUN: %espalier-opt --sparse-externalize-constants %s -o %t.mlir && FileCheck %s --check-prefix=CARRIED < %t.mlir
// RUN: %espalier-opt %t.mlir -o %t.again.mlir && cmp %t.mlir %t.again.mlir

// Without a file the module carries the block.
// CARRIED: module attributes {espalier.digest = "{{[0-9a-f]+}}", espalier.weight_data = dense_resource<weights_0> : tensor<256xi8>, espalier.weights = 256 : i64}
// CARRIED: weights_0: "0x010000000000803F0000004000004040

// Pieces in the order of their first use, each at a multiple of 64 bytes: 20 floats in two lines, 3 halves, a scalar.
// Two reads share one piece, also inside a loop; what nobody reads takes no room; a global that may be written stays.

// CHECK: module attributes {espalier.digest = "{{[0-9a-f]+}}", espalier.weights = 256 : i64}
// CHECK-NEXT: memref.global "private" constant @inside
// CHECK-NEXT: memref.global "private" @state : memref<3xi32>
// CHECK-NEXT: func.func @main
// CHECK-SAME: (%[[X:.*]]: memref<20xf32>, %{{.*}}: memref<3xf16>, %{{.*}}: memref<i64>, %{{.*}}: memref<3xi32>, %[[W:.*]]: memref<?xi8>)
// CHECK: arith.constant 9 : index
// CHECK: %[[ZERO:.*]] = arith.constant 0 : index
// CHECK: %[[TABLE:.*]] = memref.view %[[W]][%[[ZERO]]][] : memref<?xi8> to memref<20xf32>
// CHECK: %[[AT:.*]] = arith.constant 128 : index
// CHECK: %[[HALVES:.*]] = memref.view %[[W]][%[[AT]]][] : memref<?xi8> to memref<3xf16>
// CHECK: %[[STATE:.*]] = memref.get_global @state
// CHECK-NEXT: memref.copy %[[TABLE]], %[[X]]
// CHECK: memref.copy %[[HALVES]],
// CHECK: memref.copy %[[STATE]],
// CHECK: scf.for
// CHECK: %[[LAST:.*]] = arith.constant 192 : index
// CHECK: memref.view %[[W]][%[[LAST]]][] : memref<?xi8> to memref<i64>
// CHECK: %[[AGAIN:.*]] = arith.constant 0 : index
// CHECK: memref.view %[[W]][%[[AGAIN]]][] : memref<?xi8> to memref<20xf32>

// Only public functions are given the weights: what a private one reads stays.
// CHECK-LABEL: func.func private @kernel
// CHECK-SAME: (%{{[^,]*}}: memref<3xf16>)
// CHECK: memref.get_global @inside

// 1.0 to 20.0, then nothing up to the next line.
// BYTES: [1065353216 1073741824 1077936128 1082130432
// BYTES: [1099431936 1099956224 1100480512 1101004800 0 0
// 0x3c00, 0x4000 and 0x4200: halves, not floats.
// BYTES: [1073757184 16896 0
// 2 ** 32 + 5.
// BYTES: [5 1 0
// BYTES-NOT: [

// STATISTICS: 256 bytes
// STATISTICS: 3 constants

memref.global "private" constant @unread : memref<100xf32> = dense<1.0>
memref.global "private" constant @halves : memref<3xf16> = dense<[1.0, 2.0, 3.0]>
memref.global "private" constant @table : memref<20xf32> = dense<[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0,
    11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 18.0, 19.0, 20.0]>
memref.global "private" constant @scalar : memref<i64> = dense<4294967301>
memref.global "private" constant @inside : memref<3xf16> = dense<4.0>
memref.global "private" @state : memref<3xi32> = dense<7>

func.func @main(%x: memref<20xf32>, %y: memref<3xf16>, %z: memref<i64>, %s: memref<3xi32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c9 = arith.constant 9 : index
  %table = memref.get_global @table : memref<20xf32>
  %halves = memref.get_global @halves : memref<3xf16>
  %state = memref.get_global @state : memref<3xi32>
  memref.copy %table, %x : memref<20xf32> to memref<20xf32>
  memref.copy %halves, %y : memref<3xf16> to memref<3xf16>
  memref.copy %state, %s : memref<3xi32> to memref<3xi32>
  scf.for %i = %c0 to %c9 step %c1 {
    %scalar = memref.get_global @scalar : memref<i64>
    %again = memref.get_global @table : memref<20xf32>
    memref.copy %scalar, %z : memref<i64> to memref<i64>
    memref.copy %again, %x : memref<20xf32> to memref<20xf32>
  }
  return
}

func.func private @kernel(%y: memref<3xf16>) {
  %inside = memref.get_global @inside : memref<3xf16>
  memref.copy %inside, %y : memref<3xf16> to memref<3xf16>
  return
}
