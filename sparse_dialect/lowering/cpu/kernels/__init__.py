"""Micro-kernels of the CPU, one family a file."""
