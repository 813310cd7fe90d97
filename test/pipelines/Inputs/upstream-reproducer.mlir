func.func @a(%0: tensor<4xf32>) -> tensor<4xf32> {
  %1 = "sparse.lift"(%0) {layout = #sparse.lanes<[4, 4], []>} : (tensor<4xf32>) -> tensor<4xf32>
  return %1 : tensor<4xf32>
}
{-#
  external_resources: {
    mlir_reproducer: {
      pipeline: "builtin.module(canonicalize, one-shot-bufferize)",
      disable_threading: true,
      verify_each: true
    }
  }
#-}
