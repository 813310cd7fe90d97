"""The way down to GPU kernels in SPIR-V. ``PASSES`` lists stems (``passes.py``); ``kernels/`` holds a kernel
family a file, ``spirv.py`` makes words of what they write."""

PASSES = ("schedule-gpu-layers", "fix-steps", "lower-to-gpu", "lower-to-spirv")
