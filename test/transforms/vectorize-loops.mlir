// RUN: %espalier-opt --pass-pipeline='builtin.module(sparse-set-target{lanes=8},sparse-vectorize-loops)' --split-input-file %s | FileCheck %s --enable-var-scope

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>
#column = affine_map<(i, j) -> (j)>

// Neighbouring loops are one; the last vector is masked.
// CHECK-LABEL: func @elementwise
// CHECK: %[[MASK:.*]] = arith.constant dense<[true, true, true, true, true, true, true, false]> : vector<8xi1>
// CHECK: scf.parallel
// CHECK: scf.for
// CHECK: vector.load {{.*}} vector<8xf32>
// CHECK: math.tanh {{.*}} : vector<8xf32>
// CHECK: vector.store
// CHECK: vector.maskedload {{.*}}, %[[MASK]]
// CHECK: vector.maskedstore {{.*}}, %[[MASK]]
// CHECK-NOT: linalg
func.func @elementwise(%x: memref<3x5xf32>, %y: memref<3x5xf32>) {
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%x : memref<3x5xf32>) outs(%y : memref<3x5xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.tanh %in : f32
    linalg.yield %0 : f32
  }
  return
}

// -----

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>

// What is the same along the vectors is computed once, as a scalar, before their loop.
// CHECK-LABEL: func @uniform
// CHECK: scf.parallel
// CHECK: %[[S:.*]] = memref.load
// CHECK: %[[R:.*]] = math.rsqrt %[[S]] : f32
// CHECK: scf.for
// CHECK: vector.broadcast %[[R]]
func.func @uniform(%x: memref<32x24xf32>, %s: memref<32xf32>, %y: memref<32x24xf32>) {
  linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
    ins(%x, %s : memref<32x24xf32>, memref<32xf32>) outs(%y : memref<32x24xf32>) {
  ^bb0(%in: f32, %scale: f32, %out: f32):
    %0 = math.rsqrt %scale : f32
    %1 = arith.mulf %in, %0 : f32
    linalg.yield %1 : f32
  }
  return
}

// -----

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>
#column = affine_map<(i, j) -> (j)>

// Sums along the vectors start from what changes nothing, in several vectors; their lanes are joined in the end.
// CHECK-LABEL: func @columns
// CHECK-DAG: arith.constant -0.000000e+00 : f32
// CHECK: scf.parallel
// CHECK: %{{.*}}:8 = scf.for {{.*}} iter_args({{.*}}) -> (vector<8xf32>, {{.*}}vector<8xf32>)
// CHECK: vector.shuffle {{.*}} [4, 5, 6, 7] : vector<8xf32>, vector<8xf32>
// CHECK: vector.extract {{.*}}[0] : f32 from vector<1xf32>
func.func @columns(%x: memref<32x64xf32>, %y: memref<32xf32>) {
  linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
    ins(%x : memref<32x64xf32>) outs(%y : memref<32xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %out : f32
    linalg.yield %0 : f32
  }
  return
}

// Sums over rows keep a vector of outputs in a register.
// CHECK-LABEL: func @rows
// CHECK: scf.parallel
// CHECK: scf.for {{.*}} iter_args
// CHECK: vector.load
// CHECK: arith.addf {{.*}} : vector<8xf32>
// CHECK: vector.store
func.func @rows(%x: memref<64x32xf32>, %y: memref<32xf32>) {
  linalg.generic {indexing_maps = [#id, #column], iterator_types = ["reduction", "parallel"]}
    ins(%x : memref<64x32xf32>) outs(%y : memref<32xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %out : f32
    linalg.yield %0 : f32
  }
  return
}

// -----

#place = affine_map<(i, j) -> (i)>
#id = affine_map<(i, j) -> (i, j)>

// Rows of a table are vector loads; a place below zero cannot be, along the vectors.
// CHECK-LABEL: func @table
// CHECK: scf.parallel
// CHECK: cf.assert
// CHECK: vector.load {{.*}} vector<8xf32>
// CHECK-NOT: vector.gather
func.func @table(%table: memref<11x32xf32>, %places: memref<32xi64>, %y: memref<32x32xf32>) {
  linalg.generic {indexing_maps = [#place, #id], iterator_types = ["parallel", "parallel"]}
    ins(%places : memref<32xi64>) outs(%y : memref<32x32xf32>) {
  ^bb0(%place: i64, %out: f32):
    %c11 = arith.constant 11 : i64
    %c32 = arith.constant 32 : index
    %c0 = arith.constant 0 : index
    %ok = arith.cmpi slt, %place, %c11 : i64
    cf.assert %ok, "index out of range"
    %row = arith.index_cast %place : i64 to index
    %column = linalg.index 1 : index
    %below = arith.cmpi slt, %column, %c0 : index
    %other = arith.addi %column, %c32 : index
    %at = arith.select %below, %other, %column : index
    %0 = memref.load %table[%row, %at] : memref<11x32xf32>
    linalg.yield %0 : f32
  }
  return
}

// -----

// Rows that are soon done are many a turn.
// CHECK-LABEL: func @copy
// CHECK: scf.parallel (%{{.*}}) = (%{{.*}}) to (%[[ONE:.*]]) step (%[[ONE]])
// CHECK: scf.for %{{.*}} to %{{.*}} step %[[ONE]]
// CHECK: scf.for
// CHECK: vector.load
// CHECK-NOT: memref.copy
func.func @copy(%x: memref<2x24xf32>, %y: memref<2x24xf32, strided<[40, 1], offset: 3>>) {
  memref.copy %x, %y : memref<2x24xf32> to memref<2x24xf32, strided<[40, 1], offset: 3>>
  return
}

// -----

#id = affine_map<(i) -> (i)>

// What has no vector form stays.
// CHECK-LABEL: func @dynamic
// CHECK: linalg.generic
func.func @dynamic(%x: memref<?xf32>, %y: memref<?xf32>) {
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]}
    ins(%x : memref<?xf32>) outs(%y : memref<?xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.exp %in : f32
    linalg.yield %0 : f32
  }
  return
}

// -----

#a = affine_map<(m, n, k) -> (m, k)>
#b = affine_map<(m, n, k) -> (n, k)>
#c = affine_map<(m, n, k) -> (m, n)>
#near = affine_map<(m, n, k) -> (k, n)>

// One matrix of a product is packed into panels of two vectors; then tiles of 12 rows stay in registers, and
// begin as what the fill would have put there.
// CHECK-LABEL: func @product
// CHECK: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK: %[[PANELS:.*]] = memref.alloc() : memref<640xf32>
// CHECK: scf.parallel
// CHECK: vector.store
// CHECK: scf.parallel
// CHECK: vector.broadcast %[[ZERO]]
// CHECK: :24 = scf.for
// CHECK-COUNT-24: vector.fma {{.*}} : vector<8xf32>
// CHECK-NOT: linalg
func.func @product(%x: memref<12x20xf32>, %y: memref<32x20xf32>, %z: memref<12x32xf32>) {
  %zero = arith.constant 0.0 : f32
  linalg.generic {indexing_maps = [affine_map<(i, j) -> ()>, affine_map<(i, j) -> (i, j)>],
                  iterator_types = ["parallel", "parallel"]} ins(%zero : f32) outs(%z : memref<12x32xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  }
  linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]}
    ins(%x, %y : memref<12x20xf32>, memref<32x20xf32>) outs(%z : memref<12x32xf32>) {
  ^bb0(%left: f32, %right: f32, %out: f32):
    %0 = arith.mulf %left, %right : f32
    %1 = arith.addf %out, %0 : f32
    linalg.yield %1 : f32
  }
  return
}

// A small one whose lines lie along vectors is read where it is.
// CHECK-LABEL: func @near
// CHECK-NOT: memref.alloc
// CHECK: :24 = scf.for
// CHECK-COUNT-24: vector.fma {{.*}} : vector<8xf32>
// CHECK-NOT: linalg
func.func @near(%x: memref<12x20xf32>, %y: memref<20x32xf32>, %z: memref<12x32xf32>) {
  %zero = arith.constant 0.0 : f32
  linalg.generic {indexing_maps = [affine_map<(i, j) -> ()>, affine_map<(i, j) -> (i, j)>],
                  iterator_types = ["parallel", "parallel"]} ins(%zero : f32) outs(%z : memref<12x32xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  }
  linalg.generic {indexing_maps = [#a, #near, #c], iterator_types = ["parallel", "parallel", "reduction"]}
    ins(%x, %y : memref<12x20xf32>, memref<20x32xf32>) outs(%z : memref<12x32xf32>) {
  ^bb0(%left: f32, %right: f32, %out: f32):
    %0 = arith.mulf %left, %right : f32
    %1 = arith.addf %out, %0 : f32
    linalg.yield %1 : f32
  }
  return
}

// -----

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>

// A fill of which something else is read first stays.
// CHECK-LABEL: func @filled
// CHECK-COUNT-3: scf.parallel
func.func @filled(%x: memref<32x64xf32>, %y: memref<32xf32>, %copy: memref<32xf32>) {
  %zero = arith.constant 0.0 : f32
  linalg.generic {indexing_maps = [affine_map<(i) -> ()>, affine_map<(i) -> (i)>],
                  iterator_types = ["parallel"]} ins(%zero : f32) outs(%y : memref<32xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  }
  memref.copy %y, %copy : memref<32xf32> to memref<32xf32>
  linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
    ins(%x : memref<32x64xf32>) outs(%y : memref<32xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %out : f32
    linalg.yield %0 : f32
  }
  return
}

// -----

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>
#column = affine_map<(i, j) -> (j)>

// What is computed of the same rows runs as one loop, over as many as stay near.
// CHECK-LABEL: func @rows
// CHECK: %[[GROUPS:.*]] = arith.constant 16 : index
// CHECK-COUNT-1: scf.parallel
// CHECK: math.exp
// CHECK: arith.addf
// CHECK-NOT: scf.parallel
func.func @rows(%x: memref<64x256xf32>, %y: memref<64xf32>) {
  %t = memref.alloc() : memref<64x256xf32>
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%x : memref<64x256xf32>) outs(%t : memref<64x256xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.exp %in : f32
    linalg.yield %0 : f32
  }
  linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
    ins(%t : memref<64x256xf32>) outs(%y : memref<64xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %out : f32
    linalg.yield %0 : f32
  }
  return
}

// Where the shortest rows are not the same ones, longer rows are: here an image of each.
// CHECK-LABEL: func @padded
// CHECK-COUNT-1: scf.parallel
// CHECK-NOT: scf.parallel
// CHECK: return
func.func @padded(%x: memref<16x8x64xf32>, %y: memref<16x10x64xf32>) {
  %t = memref.alloc() : memref<16x10x64xf32>
  %inside = memref.subview %t[0, 1, 0] [16, 8, 64] [1, 1, 1]
    : memref<16x10x64xf32> to memref<16x8x64xf32, strided<[640, 64, 1], offset: 64>>
  memref.copy %x, %inside : memref<16x8x64xf32> to memref<16x8x64xf32, strided<[640, 64, 1], offset: 64>>
  memref.copy %t, %y : memref<16x10x64xf32> to memref<16x10x64xf32>
  return
}

// Sums of columns need all rows.
// CHECK-LABEL: func @columns
// CHECK-COUNT-2: scf.parallel
func.func @columns(%x: memref<64x256xf32>, %y: memref<256xf32>) {
  %t = memref.alloc() : memref<64x256xf32>
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%x : memref<64x256xf32>) outs(%t : memref<64x256xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.exp %in : f32
    linalg.yield %0 : f32
  }
  linalg.generic {indexing_maps = [#id, #column], iterator_types = ["reduction", "parallel"]}
    ins(%t : memref<64x256xf32>) outs(%y : memref<256xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %out : f32
    linalg.yield %0 : f32
  }
  return
}

// So does whatever overwrites a row that another row still reads.
// CHECK-LABEL: func @overwritten
// CHECK-COUNT-2: scf.parallel
func.func @overwritten(%x: memref<65x256xf32>, %t: memref<64x256xf32>) {
  %rows = memref.subview %x[1, 0] [64, 256] [1, 1]
    : memref<65x256xf32> to memref<64x256xf32, strided<[256, 1], offset: 256>>
  %first = memref.subview %x[0, 0] [64, 256] [1, 1]
    : memref<65x256xf32> to memref<64x256xf32, strided<[256, 1]>>
  memref.copy %rows, %t : memref<64x256xf32, strided<[256, 1], offset: 256>> to memref<64x256xf32>
  memref.copy %t, %first : memref<64x256xf32> to memref<64x256xf32, strided<[256, 1]>>
  return
}

// -----

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>

// What only these rows touch, 4 at a time, lies in the scratch of the thread; what others read does not.
// CHECK: espalier.scratch = 1024 : i64
// CHECK-LABEL: func @scratch
// CHECK-SAME: %[[SCRATCH:[^:]*]]: memref<?xi8>
// CHECK: %[[OTHER:.*]] = memref.alloc() : memref<64x256xf32>
// CHECK: memref.view %[[SCRATCH]]{{.*}} to memref<1024xf32>
// CHECK-NOT: memref.view
// CHECK-DAG: memref.reinterpret_cast %[[OTHER]]
// CHECK-DAG: memref.reinterpret_cast %{{.*}} to offset: [0], sizes: [1024]
// CHECK: scf.parallel
// CHECK-NOT: scf.parallel
module attributes {espalier.inputs = 1 : i64, espalier.scratch = 0 : i64} {
func.func @scratch(%x: memref<64x256xf32>, %scratch: memref<?xi8>, %y: memref<64xf32>) -> memref<64x256xf32> {
  %t = memref.alloc() : memref<64x256xf32>
  %other = memref.alloc() : memref<64x256xf32>
  linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%x : memref<64x256xf32>) outs(%t, %other : memref<64x256xf32>, memref<64x256xf32>) {
  ^bb0(%in: f32, %out: f32, %out2: f32):
    %0 = math.exp %in : f32
    linalg.yield %0, %in : f32, f32
  }
  linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
    ins(%t : memref<64x256xf32>) outs(%y : memref<64xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %out : f32
    linalg.yield %0 : f32
  }
  return %other : memref<64x256xf32>
}
}

// -----

#left = affine_map<(b, m, n, k) -> (b, m, k)>
#right = affine_map<(b, m, n, k) -> (b, n, k)>
#out = affine_map<(b, m, n, k) -> (b, m, n)>

// Many matrices are packed one by one, in scratch, each before its own product.
// CHECK: espalier.scratch = 512 : i64
// CHECK-LABEL: func @one_by_one
// CHECK-SAME: %[[SCRATCH:[^:]*]]: memref<?xi8>
// CHECK-NOT: memref.alloc
// CHECK: memref.view %[[SCRATCH]]{{.*}} to memref<512xf32>
// CHECK: scf.parallel
// CHECK: vector.shuffle
// CHECK: vector.fma
// CHECK-NOT: scf.parallel
module attributes {espalier.inputs = 2 : i64, espalier.scratch = 0 : i64} {
func.func @one_by_one(%x: memref<17x9x16xf32>, %y: memref<17x32x16xf32>, %scratch: memref<?xi8>, %z: memref<17x9x32xf32>) {
  linalg.generic {indexing_maps = [#left, #right, #out],
                  iterator_types = ["parallel", "parallel", "parallel", "reduction"]}
    ins(%x, %y : memref<17x9x16xf32>, memref<17x32x16xf32>) outs(%z : memref<17x9x32xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %0 = arith.mulf %a, %b : f32
    %1 = arith.addf %c, %0 : f32
    linalg.yield %1 : f32
  }
  return
}
}

// -----

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>
#one = affine_map<(i) -> (i)>

// Rows so long that a turn takes one: what is one element of a row runs between the others.
// CHECK-LABEL: func @long_rows
// CHECK: scf.parallel
// CHECK-NOT: scf.reduce
// CHECK: math.sqrt
// CHECK-NOT: scf.reduce
// CHECK: arith.mulf
// CHECK: scf.reduce
// CHECK-NOT: scf.parallel
// CHECK: return
func.func @long_rows(%x: memref<32x8192xf32>, %z: memref<32xf32>, %y: memref<32x8192xf32>) {
  linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
    ins(%x : memref<32x8192xf32>) outs(%z : memref<32xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %out : f32
    linalg.yield %0 : f32
  }
  linalg.generic {indexing_maps = [#one, #one], iterator_types = ["parallel"]}
    ins(%z : memref<32xf32>) outs(%z : memref<32xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.sqrt %in : f32
    linalg.yield %0 : f32
  }
  linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
    ins(%x, %z : memref<32x8192xf32>, memref<32xf32>) outs(%y : memref<32x8192xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  }
  return
}
