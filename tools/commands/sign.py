"""``espalier sign FILE KEY``, and ``espalier sign FILE --verify KEY``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from ...errors import EspalierError
from ...runtime.model_file import ModelFile
from ...runtime.trust import Trust, read_file, sign
from .common import DebugOption, out
from .run import FileArgument, VerifyOption


def sign_command(
    file: FileArgument,
    key: Annotated[Path | None, typer.Argument(
        metavar="[KEY.pem]", help="A private Ed25519 key (openssl genpkey -algorithm ed25519).")] = None,
    verify: VerifyOption = None,
    debug: DebugOption = False,
) -> None:
    """Sign a compiled model: writes FILE.sig; or check that signature. Nothing in FILE runs."""
    if (key is None) == (verify is None):
        raise EspalierError("give a private key to sign with, or --verify and a public key to check with")
    if key is None:
        data = read_file(file)
        Trust(key=verify).check(data, file)
        out.print(f"{file}: signed by the key in {verify}, SHA-256 {hashlib.sha256(data).hexdigest()}",
                  markup=False)
        return
    ModelFile.read(file)  # whole, and a model
    target = sign(file, key)
    out.print(f"{target}: written; SHA-256 of {file}: {hashlib.sha256(read_file(file)).hexdigest()}",
              markup=False)
