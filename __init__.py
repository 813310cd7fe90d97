"""Espalier: an MLIR compiler for pruned neural networks."""
