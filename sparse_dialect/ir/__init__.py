"""The MLIR border: bindings, constants, walking. The only place that knows how to read IR from Python."""
