// RUN: %espalier-opt --split-input-file --verify-diagnostics %s

// What is wrong with the storage of a packed op: one line from the verifier.

func.func @no_packing(%x: tensor<1x4x2x2xf32>, %o: tensor<3xi32>, %r: tensor<2xi32>, %s: tensor<2x2xi16>, %i: tensor<5xi16>, %w: tensor<5xf32>) {
  // expected-error @below {{'sparse.packed_conv' op requires attribute 'packing'}}
  %y = "sparse.packed_conv"(%x, %o, %r, %s, %i, %w) {storage_names = ["offset", "reorder", "stride", "index", "weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.connectivity<[1, 1]>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x2xi16>, tensor<5xi16>, tensor<5xf32>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @unknown(%x: tensor<1x4x2x2xf32>, %o: tensor<3xi32>, %r: tensor<2xi32>, %s: tensor<2x2xi16>, %i: tensor<5xi16>, %w: tensor<5xf32>) {
  // expected-error @below {{'sparse.packed_conv' op expected a packing that is known: unknown storage 'elf', expected one of column_groups, fkw, dense_kernels, dense_rows, kept_rows, sell}}
  %y = "sparse.packed_conv"(%x, %o, %r, %s, %i, %w) {packing = {storage = "elf"}, storage_names = ["offset", "reorder", "stride", "index", "weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.connectivity<[1, 1]>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x2xi16>, tensor<5xi16>, tensor<5xf32>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @unnamed(%x: tensor<1x4x2x2xf32>, %o: tensor<3xi32>, %r: tensor<2xi32>, %s: tensor<2x2xi16>, %i: tensor<5xi16>, %w: tensor<5xf32>) {
  // expected-error @below {{'sparse.packed_conv' op expected a packing that is known: unknown storage ''}}
  %y = "sparse.packed_conv"(%x, %o, %r, %s, %i, %w) {packing = {}, storage_names = ["offset", "reorder", "stride", "index", "weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.connectivity<[1, 1]>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x2xi16>, tensor<5xi16>, tensor<5xf32>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @fields(%x: tensor<1x4x2x2xf32>, %o: tensor<3xi32>, %r: tensor<2xi32>, %s: tensor<2x2xi16>, %i: tensor<5xi16>, %w: tensor<5xf32>) {
  // expected-error @below {{'sparse.packed_conv' op expected a packing that is known: expected filters_per_group, channel_block, groups, mixed, found channel_block}}
  %y = "sparse.packed_conv"(%x, %o, %r, %s, %i, %w) {packing = {storage = "fkw", channel_block = 4}, storage_names = ["offset", "reorder", "stride", "index", "weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.connectivity<[1, 1]>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x2xi16>, tensor<5xi16>, tensor<5xf32>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @kind(%x: tensor<1x4x2x2xf32>, %o: tensor<3xi32>, %r: tensor<2xi32>, %s: tensor<2x2xi16>, %i: tensor<5xi16>, %w: tensor<5xf32>) {
  // expected-error @below {{'sparse.packed_conv' op expected a packing that is known: expected groups to be IntegerAttr, found "1"}}
  %y = "sparse.packed_conv"(%x, %o, %r, %s, %i, %w) {packing = {storage = "fkw", filters_per_group = 1, channel_block = 4, groups = "1", mixed = false}, storage_names = ["offset", "reorder", "stride", "index", "weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.connectivity<[1, 1]>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x2xi16>, tensor<5xi16>, tensor<5xf32>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @block(%x: tensor<1x4x2x2xf32>, %o: tensor<3xi32>, %r: tensor<2xi32>, %s: tensor<2x2xi16>, %i: tensor<5xi16>, %w: tensor<5xf32>) {
  // expected-error @below {{'sparse.packed_conv' op expected a channel_block that divides 4 channels, found 3}}
  %y = "sparse.packed_conv"(%x, %o, %r, %s, %i, %w) {packing = {storage = "fkw", filters_per_group = 1, channel_block = 3, groups = 1, mixed = false}, storage_names = ["offset", "reorder", "stride", "index", "weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.connectivity<[1, 1]>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x2xi16>, tensor<5xi16>, tensor<5xf32>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @scheme(%x: tensor<1x4x2x2xf32>, %o: tensor<3xi32>, %r: tensor<2xi32>, %s: tensor<2x2xi16>, %i: tensor<5xi16>, %w: tensor<5xf32>) {
  // expected-error @below {{'sparse.packed_conv' op expected a convolution whose kernels follow patterns, found bcr [2, 4, 1, 1]}}
  %y = "sparse.packed_conv"(%x, %o, %r, %s, %i, %w) {packing = {storage = "fkw", filters_per_group = 1, channel_block = 4, groups = 1, mixed = false}, storage_names = ["offset", "reorder", "stride", "index", "weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.bcr<2, 2>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x2xi16>, tensor<5xi16>, tensor<5xf32>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @names(%x: tensor<1x4x2x2xf32>, %o: tensor<3xi32>, %r: tensor<2xi32>, %s: tensor<2x2xi16>, %i: tensor<5xi16>, %w: tensor<5xf32>) {
  // expected-error @below {{'sparse.packed_conv' op expected storage arrays offset, reorder, stride, index, weight, found offset, reorder, stride, weight, index}}
  %y = "sparse.packed_conv"(%x, %o, %r, %s, %i, %w) {packing = {storage = "fkw", filters_per_group = 1, channel_block = 4, groups = 1, mixed = false}, storage_names = ["offset", "reorder", "stride", "weight", "index"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.connectivity<[1, 1]>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x2xi16>, tensor<5xi16>, tensor<5xf32>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @rows(%x: tensor<1x4x2x2xf32>, %o: tensor<3xi32>, %r: tensor<2xi32>, %s: tensor<2x2xi16>, %i: tensor<5xi16>, %w: tensor<5xf32>) {
  // expected-error @below {{'sparse.packed_conv' op expected storage array 'offset' of 5 int32, found 3 int32}}
  %y = "sparse.packed_conv"(%x, %o, %r, %s, %i, %w) {packing = {storage = "fkw", filters_per_group = 1, channel_block = 2, groups = 1, mixed = false}, storage_names = ["offset", "reorder", "stride", "index", "weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.connectivity<[1, 1]>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x2xi16>, tensor<5xi16>, tensor<5xf32>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @type(%x: tensor<1x4x2x2xf32>, %o: tensor<3xi32>, %r: tensor<2xi32>, %s: tensor<2x2xi16>, %i: tensor<5xi16>, %w: tensor<5xf32>) {
  // expected-error @below {{'sparse.packed_conv' op expected storage array 'weight' of 5 float32 or float16, found 5 int16}}
  %y = "sparse.packed_conv"(%x, %o, %r, %s, %i, %i) {packing = {storage = "fkw", filters_per_group = 1, channel_block = 4, groups = 1, mixed = false}, storage_names = ["offset", "reorder", "stride", "index", "weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.connectivity<[1, 1]>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x2xi16>, tensor<5xi16>, tensor<5xi16>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @classes(%x: tensor<1x4x2x2xf32>, %o: tensor<3xi32>, %r: tensor<2xi32>, %s: tensor<2x2xi16>, %i: tensor<5xi16>, %w: tensor<5xf32>) {
  // expected-error @below {{'sparse.packed_conv' op expected storage array 'stride' of 2 x 3 int16, found 2 x 2 int16}}
  %y = "sparse.packed_conv"(%x, %o, %r, %s, %i, %w) {packing = {storage = "fkw", filters_per_group = 1, channel_block = 4, groups = 1, mixed = false}, storage_names = ["offset", "reorder", "stride", "index", "weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.pattern<[1, 1], [[0], [0]]>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x2xi16>, tensor<5xi16>, tensor<5xf32>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @count(%x: tensor<1x4x2x2xf32>, %o: tensor<3xi32>, %r: tensor<2xi32>, %s: tensor<2x2xi16>, %i: tensor<5xi16>, %w: tensor<5xf32>) {
  // expected-error @below {{'sparse.packed_conv' op expected one storage name for each of 4 storage operands, found ['offset', 'reorder', 'stride', 'index', 'weight']}}
  %y = "sparse.packed_conv"(%x, %o, %r, %s, %i) {packing = {storage = "fkw", filters_per_group = 1, channel_block = 4, groups = 1, mixed = false}, storage_names = ["offset", "reorder", "stride", "index", "weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.connectivity<[1, 1]>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<3xi32>, tensor<2xi32>, tensor<2x2xi16>, tensor<5xi16>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @dense(%x: tensor<1x4x2x2xf32>, %o: tensor<3xi32>, %r: tensor<2xi32>, %s: tensor<2x2xi16>, %i: tensor<5xi16>, %w: tensor<5xf32>) {
  // expected-error @below {{'sparse.packed_conv' op expected storage array 'weight' of 1 x 4 x 2 float32 or float16, found 5 float32}}
  %y = "sparse.packed_conv"(%x, %w) {packing = {storage = "dense_kernels", filters_per_group = 2}, storage_names = ["weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.dense, operandSegmentSizes = array<i32: 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<5xf32>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @groups(%x: tensor<1x4x2x2xf32>, %s: tensor<4xi32>, %r: tensor<2xi16>, %g: tensor<3xi8>, %w: tensor<3x1x2xf32>, %b: tensor<2xi16>) {
  // expected-error @below {{'sparse.packed_conv' op expected storage array 'reorder' of 6 int16, found 2 int16}}
  %y = "sparse.packed_conv"(%x, %s, %r, %g, %w) {packing = {storage = "column_groups", filters_per_group = 2, unit = 1, channel_block = 4, groups = 1}, storage_names = ["start", "reorder", "gap", "weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.bcr<2, 2>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<4xi32>, tensor<2xi16>, tensor<3xi8>, tensor<3x1x2xf32>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @shared(%x: tensor<1x4x2x2xf32>, %s: tensor<4xi32>, %r: tensor<2xi16>, %g: tensor<3xi8>, %w: tensor<3x1x2xf32>, %b: tensor<2xi16>) {
  // expected-error @below {{'sparse.packed_conv' op expected a unit that divides 4 channels of a block, found 3}}
  %y = "sparse.packed_conv"(%x, %s, %r, %g, %w) {packing = {storage = "column_groups", filters_per_group = 2, unit = 3, channel_block = 0, groups = 1}, storage_names = ["start", "reorder", "gap", "weight"], weight_shape = [2, 4, 1, 1], strides = [1, 1],
      padding_low = [0, 0], padding_high = [0, 0], dilations = [1, 1], groups = 1, activation = "none", pool = [1, 1], input_layout = #sparse.plain, output_layout = #sparse.plain,
      scheme = #sparse.bcr<2, 2>, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{filters_per_group = 1}>, record = #sparse.record<{}>}
      : (tensor<1x4x2x2xf32>, tensor<4xi32>, tensor<2xi16>, tensor<3xi8>, tensor<3x1x2xf32>) -> tensor<1x2x2x2xf32>
  return
}

// -----

func.func @sell(%x: tensor<1x8xf32>, %e: tensor<2xi32>, %p: tensor<1x16xi8>, %a: tensor<1xi8>, %w: tensor<1x4x16xf32>) {
  // expected-error @below {{'sparse.packed_linear' op expected storage array 'weight' of 1 x 16 x 4 float32 or float16, found 1 x 4 x 16 float32}}
  %y = "sparse.packed_linear"(%x, %e, %e, %p, %a, %p, %w) {
      packing = {storage = "sell", rows = 64, group = 4, lanes = 16, window = 64, by_lane = true, gates = 1},
      storage_names = ["edges", "start", "place", "advance", "index", "weight"],
      weight_shape = [4, 8], activation = "none", scheme = #sparse.unstructured,
      operandSegmentSizes = array<i32: 1, 0, 1, 1, 1, 1, 1, 1, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x8xf32>, tensor<2xi32>, tensor<2xi32>, tensor<1x16xi8>, tensor<1xi8>, tensor<1x16xi8>,
         tensor<1x4x16xf32>) -> tensor<1x4xf32>
  return
}

// -----

func.func @gates(%g: tensor<?x1x6xf32>, %h: tensor<1x2xf32>, %w: tensor<1x2x3x16xf32>) {
  // expected-error @below {{'sparse.packed_gru' op expected a vector for each of 3 gates of equally many rows}}
  %y = "sparse.packed_gru"(%g, %h, %w) {packing = {storage = "dense_rows", lanes = 16, vectors = 4, gates = 3},
      storage_names = ["weight"], weight_shape = [6, 2], direction = "forward", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0>,
        schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<?x1x6xf32>, tensor<1x2xf32>, tensor<1x2x3x16xf32>) -> tensor<?x1x2xf32>
  return
}
