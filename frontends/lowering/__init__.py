"""From torch-mlir's dialects to linalg on tensors; needs no PyTorch."""
