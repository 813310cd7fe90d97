"""Compiled models inside other runtimes: the C and C++ sources that speak those runtimes' own interfaces.

    executorch/   ExecuTorch's delegate (``espalier.frontends.executorch`` lowers to it)
    tvm_ffi/      a model as a TVM-FFI library (``espalier compile --emit tvm-ffi``)

They need headers of their hosts, which come with the extra ``hosts`` or the host's own installation.
"""
