"""ONNX files to linalg on tensors: read and check, fold constants, rewrite what torch-mlir would unroll or
fill with zeros, import. Needs the package onnx and no PyTorch."""
