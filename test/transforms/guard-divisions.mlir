// RUN: %espalier-opt --sparse-guard-divisions %s | FileCheck %s

// A divisor of data is asserted, and 1 where it is 0 or -1; a constant stays.
// CHECK-LABEL: func @divided
// CHECK: ^bb0(%[[A:.*]]: i32, %[[B:.*]]: i32, %{{.*}}: i32):
// CHECK: arith.remsi %[[A]], %c3_i32 : i32
// CHECK: %[[OK:.*]] = arith.cmpi ne, %[[B]], %{{.*}} : i32
// CHECK-NEXT: cf.assert %[[OK]], "an integer is divided by 0"
// CHECK-NEXT: %[[SAFE:.*]] = arith.select %[[OK]], %[[B]], %{{.*}} : i32
// CHECK: %[[NEGATES:.*]] = arith.cmpi eq, %[[B]], %{{.*}} : i32
// CHECK: %[[BY:.*]] = arith.select %[[NEGATES]], %{{.*}}, %[[SAFE]] : i32
// CHECK: %[[NEGATED:.*]] = arith.subi %{{.*}}, %[[A]] : i32
// CHECK: %[[Q:.*]] = arith.divsi %[[A]], %[[BY]] : i32
// CHECK-NEXT: arith.select %[[NEGATES]], %[[NEGATED]], %[[Q]] : i32
// CHECK: arith.divui %[[A]]
// CHECK-NOT: arith.divui %[[A]], %[[B]]
func.func @divided(%a: tensor<5xi32>, %b: tensor<5xi32>) -> tensor<5xi32> {
  %c3_i32 = arith.constant 3 : i32
  %empty = tensor.empty() : tensor<5xi32>
  %y = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
                       iterator_types = ["parallel"]}
      ins(%a, %b : tensor<5xi32>, tensor<5xi32>) outs(%empty : tensor<5xi32>) {
  ^bb0(%x: i32, %d: i32, %out: i32):
    %known = arith.remsi %x, %c3_i32 : i32
    %q = arith.divsi %x, %d : i32
    %u = arith.divui %x, %d : i32
    %sum = arith.addi %q, %u : i32
    %all = arith.addi %sum, %known : i32
    linalg.yield %all : i32
  } -> tensor<5xi32>
  return %y : tensor<5xi32>
}
