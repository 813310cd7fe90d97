"""Where other tools find the dialect's declaration in IRDL."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...files import cache_folder, replacing
from .dialect import irdl_text

PACKAGED = Path(__file__).parents[1] / "sparse.irdl.mlir"  # written when the package is built


def irdl_path() -> Path:
    """The file; see ``espalier.irdl_path``."""
    if PACKAGED.is_file():
        return PACKAGED
    text = irdl_text().encode()
    path = cache_folder("irdl") / f"sparse-{hashlib.sha256(text).hexdigest()[:16]}.irdl.mlir"
    if not path.is_file():
        with replacing(path) as file:
            file.write(text)
    return path


__all__ = ["irdl_path"]
