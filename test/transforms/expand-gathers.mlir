// RUN: %espalier-opt --sparse-set-target=core=cortex-a76 --sparse-expand-gathers --canonicalize --split-input-file %s | FileCheck %s

// A masked lane reads the first element, and its value is not used.
// CHECK-LABEL: func @masked
// CHECK-SAME: (%[[X:.*]]: memref<2x8xf32>, %[[I:.*]]: index, %[[PLACES:.*]]: vector<2xi32>, %[[INSIDE:.*]]: vector<2xi1>, %[[REST:.*]]: vector<2xf32>)
// CHECK: %[[ZERO:.*]] = arith.constant 0 : index
// CHECK: %[[P0:.*]] = vector.extract %[[PLACES]][0]
// CHECK: %[[AT0:.*]] = arith.index_cast %[[P0]]
// CHECK: %[[M0:.*]] = vector.extract %[[INSIDE]][0]
// CHECK: %[[S0:.*]] = arith.select %[[M0]], %[[AT0]], %[[ZERO]]
// CHECK: %[[V0:.*]] = memref.load %[[X]][%[[I]], %[[S0]]]
// CHECK: vector.extract %[[PLACES]][1]
// CHECK: %[[V1:.*]] = memref.load %[[X]][%[[I]], %{{.*}}]
// CHECK: %[[V:.*]] = vector.from_elements %[[V0]], %[[V1]]
// CHECK: %[[R:.*]] = arith.select %[[INSIDE]], %[[V]], %[[REST]]
// CHECK: return %[[R]]
func.func @masked(%x: memref<2x8xf32>, %i: index, %places: vector<2xi32>, %inside: vector<2xi1>,
                  %rest: vector<2xf32>) -> vector<2xf32> {
  %0 = arith.constant 0 : index
  %v = vector.gather %x[%i, %0] [%places], %inside, %rest
      : memref<2x8xf32>, vector<2xi32>, vector<2xi1>, vector<2xf32> into vector<2xf32>
  return %v : vector<2xf32>
}

// -----

// All lanes: no mask is left. The place counts from the last index.
// CHECK-LABEL: func @all
// CHECK-SAME: (%[[X:[^:]*]]: memref<8xf32>, %[[START:[^:]*]]: index, %[[PLACES:[^:]*]]: vector<2xi32>
// CHECK-NOT: arith.select
// CHECK: %[[V0:.*]] = memref.load %[[X]]
// CHECK: %[[P1:.*]] = vector.extract %[[PLACES]][1]
// CHECK: %[[N1:.*]] = arith.index_cast %[[P1]]
// CHECK: %[[AT1:.*]] = arith.addi %[[START]], %[[N1]] : index
// CHECK: %[[V1:.*]] = memref.load %[[X]][%[[AT1]]]
// CHECK: memref.store %[[V0]], %[[X]]
// CHECK: memref.store %[[V1]], %[[X]]
// CHECK-NOT: vector.scatter
func.func @all(%x: memref<8xf32>, %start: index, %places: vector<2xi32>, %rest: vector<2xf32>) {
  %mask = arith.constant dense<true> : vector<2xi1>
  %v = vector.gather %x[%start] [%places], %mask, %rest
      : memref<8xf32>, vector<2xi32>, vector<2xi1>, vector<2xf32> into vector<2xf32>
  vector.scatter %x[%start] [%places], %mask, %v : memref<8xf32>, vector<2xi32>, vector<2xi1>, vector<2xf32>
  return
}

// -----

// A store that may not happen stays.
// CHECK-LABEL: func @some
// CHECK: vector.scatter
func.func @some(%x: memref<8xf32>, %places: vector<2xi32>, %mask: vector<2xi1>, %v: vector<2xf32>) {
  %0 = arith.constant 0 : index
  vector.scatter %x[%0] [%places], %mask, %v : memref<8xf32>, vector<2xi32>, vector<2xi1>, vector<2xf32>
  return
}
