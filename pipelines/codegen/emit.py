"""What ``espalier compile --emit`` writes for a target other than the host."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from ...runtime.model_file import ModelFile
from ..target import Target
from . import tvm_ffi
from .codegen import NativeCode
from .header import header
from .link import Linker


@dataclass(frozen=True)
class Products:
    """
    ``file`` (its code in the LLVM dialect, compiled for ``target``) as each of ``KINDS``, from one object.

    ``name``: a C identifier, the tail of the model's symbol. ``linker``: a compiler driver instead of zig.
    """

    file: ModelFile
    target: Target
    name: str
    linker: str = ""

    @cached_property
    def native(self) -> NativeCode:
        """The code for the target."""
        return NativeCode(self.file, self.target, self.name)

    @property
    def _link(self) -> Linker:
        return Linker(self.target.triple, self.linker)

    def model(self) -> ModelFile:
        """``file`` with a shared library and a runner for the target in place of the LLVM dialect."""
        return replace(self.library(), runner=self._link.program(self.native.object, self.native.symbol),
                       variants=[replace(self, file=one).model() for one in self.file.variants])

    def library(self) -> ModelFile:
        """The same without a runner, for hosts that load the library themselves."""
        return replace(self.file, code=self._link.shared(self.native.object, f"lib{self.name}.so"))

    def make(self, kind: str, soname: str = "") -> bytes:
        """Any of ``KINDS`` but ``model``; ``soname``: what a shared library calls itself."""
        native, link = self.native, self._link
        makers: dict[str, Callable[[], bytes | str]] = {
            "obj": lambda: native.object, "asm": lambda: native.assembly, "llvm-ir": lambda: native.llvm_ir,
            "shared": lambda: link.shared(native.object, soname or f"lib{self.name}.so"),
            "static": lambda: link.static(native.object), "header": lambda: header(self.file, self.name),
            "exe": lambda: link.program(native.object, native.symbol),
            "tvm-ffi": lambda: tvm_ffi.library(self.file, native.object, self.name,
                                               soname or f"{self.name}.so", link)}
        made = makers[kind]()
        return made.encode() if isinstance(made, str) else made


def emit(kind: str, file: ModelFile, target: Target, name: str, soname: str = "", linker: str = "") -> bytes:
    """One of the ``Products`` of ``file``."""
    return Products(file, target, name, linker).make(kind, soname)


def cross_compiled(file: ModelFile, target: Target, name: str, linker: str = "") -> ModelFile:
    """``file`` as a model that runs on ``target``."""
    return Products(file, target, name, linker).model()


def identifier(text: str) -> str:
    """``text`` as a C identifier."""
    return re.sub(r"\W", "_", text, flags=re.ASCII).lstrip("0123456789") or "model"
