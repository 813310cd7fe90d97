"""What ``espalier compile --emit`` writes for a target other than the host."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from ...runtime.model_file import ModelFile
from ..target import Target
from .codegen import NativeCode
from .header import header
from .link import Linker


def emit(kind: str, file: ModelFile, target: Target, name: str, soname: str = "", linker: str = "") -> bytes:
    """
    ``file`` (its code in the LLVM dialect, compiled for ``target``) as one of ``KINDS`` but ``model``.

    ``name``: a C identifier, the tail of the model's symbol. ``soname``: what a shared library calls itself.
    ``linker``: a compiler driver instead of zig.
    """
    native = NativeCode(file, target, name)
    link = Linker(target.triple, linker)
    makers: dict[str, Callable[[], bytes | str]] = {
        "obj": lambda: native.object, "asm": lambda: native.assembly, "llvm-ir": lambda: native.llvm_ir,
        "shared": lambda: link.shared(native.object, soname or f"lib{name}.so"),
        "static": lambda: link.static(native.object), "header": lambda: header(file, name),
        "exe": lambda: link.program(native.object, native.symbol)}
    made = makers[kind]()
    return made.encode() if isinstance(made, str) else made


def cross_compiled(file: ModelFile, target: Target, name: str, linker: str = "") -> ModelFile:
    """``file`` with a shared library and a runner for ``target`` in place of the LLVM dialect."""
    native = NativeCode(file, target, name)
    link = Linker(target.triple, linker)
    code = native.object
    return replace(file, code=link.shared(code, f"lib{name}.so"), runner=link.program(code, native.symbol))


def identifier(text: str) -> str:
    """``text`` as a C identifier."""
    return re.sub(r"\W", "_", text, flags=re.ASCII).lstrip("0123456789") or "model"
