"""Ahead-of-time compilation: LLVM-dialect code to objects, libraries and programs for another machine.

``llvm_text`` writes LLVM IR that the packaged LLVM reads, ``processors`` knows what that LLVM can compile
for, ``codegen`` optimises and emits, ``link`` calls a linker. Everything comes with the extra ``aot``
(llvmlite, ziglang).
"""

# What `espalier compile --emit` writes: a model file, or code without the weights.
KINDS = ("model", "obj", "shared", "static", "exe", "asm", "llvm-ir", "header")
