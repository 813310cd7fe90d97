"""Ahead-of-time compilation: LLVM-dialect code to objects, libraries and programs for another machine.

``llvm_text`` writes LLVM IR that the packaged LLVM reads, ``processors`` knows what that LLVM can compile
for, ``codegen`` optimises and emits, ``link`` calls a linker, ``iree`` writes a module for IREE. Everything
comes with the extra ``aot`` (llvmlite, ziglang).
"""

# What `espalier compile --emit` writes: a model file, or code without the weights; and the suffixes of each.
SUFFIXES = {"model": ".espalier", "obj": ".o", "shared": ".so", "static": ".a", "exe": "", "asm": ".s",
            "llvm-ir": ".ll", "header": ".h", "tvm-ffi": ".tvm.so"}
KINDS = tuple(SUFFIXES)
IREE = "iree"  # what is a folder of files for IREE
