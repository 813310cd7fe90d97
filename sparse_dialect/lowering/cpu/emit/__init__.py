"""What micro-kernels write code with: the builder, packing, transcendental functions."""
