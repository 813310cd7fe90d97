"""The way down to GPU kernels in SPIR-V."""
