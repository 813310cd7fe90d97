"""A model as one TVM-FFI library: code, runtime, the function that TVM-FFI calls, and the model file inside.

    model.o + runtime/c + runtime/integrations/tvm_ffi/module.c (model file: .incbin) -> NAME.so
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...errors import EspalierError
from ...files import temporary_folder
from ...runtime.integrations import tvm_ffi
from ...runtime.model_file import ModelFile
from .link import Linker


def library(file: ModelFile, code: bytes, name: str, soname: str, linker: Linker) -> bytes:
    """
    The shared library, whose ``__tvm_ffi_<name>`` takes the model's inputs and outputs.

    ``file``: the model; its weights and recorded run go into the library's constants, where they are used as
    they lie. ``code``: the model's object, of the symbol ``espalier_model_<name>``. Raises ``EspalierError``
    where there is no libc to link with or the model has states, and ``MissingPackage`` without TVM-FFI's
    headers.
    """
    if file.states:
        raise EspalierError("--emit tvm-ffi: its function keeps no states from call to call, which the model "
                            "has (espalier inspect); take --emit model")
    if not linker.has_libc:
        raise EspalierError(f"--emit tvm-ffi for {linker.triple} needs --linker CMD, an NDK's clang: zig has "
                            "no libc of Android's")
    headers = tvm_ffi.headers()
    with temporary_folder("espalier-payload-") as folder:
        payload = Path(folder, "model")
        replace(file, code=b"", native=b"", native_for=b"").write(payload)
        return linker.shared(code, soname, [
            "-Wl,-Bsymbolic", f"-I{headers}", f"-DESPALIER_NAME={name}", f'-DESPALIER_FILE="{payload}"',
            str(tvm_ffi.SOURCE)])


__all__ = ["library"]
