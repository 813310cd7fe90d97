// RUN: %espalier-opt --sparse-externalize-constants %s | FileCheck %s

// Arrays of the same bytes have one place, whatever their shape; others of the same size have their own.

// CHECK: module attributes {{.*}}espalier.weights = 128 : i64
// CHECK-LABEL: func.func @main
// CHECK-DAG: memref.view %{{.*}} : memref<?xi8> to memref<4xf32>
// CHECK-DAG: memref.view %{{.*}} : memref<?xi8> to memref<2x2xf32>
module {
  memref.global "private" constant @a : memref<4xf32> = dense<[1.0, 2.0, 3.0, 4.0]>
  memref.global "private" constant @b : memref<2x2xf32> = dense<[[1.0, 2.0], [3.0, 4.0]]>
  memref.global "private" constant @c : memref<4xf32> = dense<[1.0, 2.0, 3.0, 5.0]>
  func.func @main(%x: memref<4xf32>, %y: memref<2x2xf32>, %z: memref<4xf32>) {
    %a = memref.get_global @a : memref<4xf32>
    %b = memref.get_global @b : memref<2x2xf32>
    %c = memref.get_global @c : memref<4xf32>
    memref.copy %a, %x : memref<4xf32> to memref<4xf32>
    memref.copy %b, %y : memref<2x2xf32> to memref<2x2xf32>
    memref.copy %c, %z : memref<4xf32> to memref<4xf32>
    return
  }
}
