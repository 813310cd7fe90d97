"""Pruning without training: each layer's outputs are reconstructed from calibration samples."""
