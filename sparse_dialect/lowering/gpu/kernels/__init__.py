"""The kernels of the GPU, one family a file: each a function from a layer's value to a ``Kernel``."""
