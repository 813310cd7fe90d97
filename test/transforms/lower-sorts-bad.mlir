// RUN: %espalier-opt --sparse-lower-sorts --verify-diagnostics %s

func.func @no_order(%values: memref<8xf32>, %places: memref<8xi64>) {
  // expected-error @below {{'tm_tensor.sort' expected a comparison of two numbers, found arith.addf; sort by < or >}}
  tm_tensor.sort dimension(0) outs(%values, %places : memref<8xf32>, memref<8xi64>) {
  ^bb0(%a: f32, %b: f32, %c: i64, %d: i64):
    %sum = arith.addf %a, %b : f32
    %smaller = arith.cmpf ole, %sum, %b : f32
    tm_tensor.yield %smaller : i1
  }
  return
}
