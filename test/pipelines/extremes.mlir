// RUN: espalier-opt %s --canonicalize --split-input-file --verify-diagnostics | FileCheck %s

// What ends canonicalization with a signal is refused before it runs.

func.func @written(%x: tensor<4xf32>) -> tensor<?xf32> {
  %c = arith.constant 0.0 : f32
  // expected-error @below {{'tensor.pad' expected sizes, offsets and strides that fit a tensor, found -9223372036854775808; correct that number}}
  %p = tensor.pad %x low[-9223372036854775808] high[0] {
  ^bb0(%i: index):
    tensor.yield %c : f32
  } : tensor<4xf32> to tensor<?xf32>
  return %p : tensor<?xf32>
}

// -----

func.func @constant(%x: memref<8xf32>) -> memref<?xf32, strided<[?], offset: ?>> {
  %stride = arith.constant -9223372036854775808 : index
  %one = arith.constant 1 : index
  // expected-error @below {{'memref.reinterpret_cast' expected sizes, offsets and strides that fit a tensor, found -9223372036854775808}}
  %p = memref.reinterpret_cast %x to offset: [%one], sizes: [%one], strides: [%stride]
    : memref<8xf32> to memref<?xf32, strided<[?], offset: ?>>
  return %p : memref<?xf32, strided<[?], offset: ?>>
}

// -----

// The number comes out of arithmetic that wraps around.
func.func @computed(%x: tensor<?xf32>) -> tensor<?xf32> {
  %half = arith.constant 4611686018427387904 : i64
  %two = arith.constant 2 : i64
  %product = arith.muli %half, %two : i64
  %stride = arith.index_cast %product : i64 to index
  %one = arith.constant 1 : index
  // expected-error @below {{'tensor.extract_slice' expected sizes, offsets and strides that fit a tensor, found -9223372036854775808}}
  %p = tensor.extract_slice %x[%one] [%one] [%stride] : tensor<?xf32> to tensor<?xf32>
  return %p : tensor<?xf32>
}

// -----

func.func @divisor(%i: index) -> index {
  // expected-error @below {{'affine.apply' expected positive divisors}}
  %p = affine.apply affine_map<(d0) -> (d0 floordiv -1)>(%i)
  return %p : index
}

// -----

// Its neighbour, and the number where it is no size, are fine.
// CHECK-LABEL: func.func @fine
func.func @fine(%x: tensor<?xf32>) -> (tensor<?xf32>, i64) {
  %stride = arith.constant -9223372036854775807 : index
  %least = arith.constant -9223372036854775808 : i64
  %one = arith.constant 1 : index
  // CHECK: tensor.extract_slice
  %p = tensor.extract_slice %x[%one] [%one] [%stride] : tensor<?xf32> to tensor<?xf32>
  return %p, %least : tensor<?xf32>, i64
}
