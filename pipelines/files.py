"""Files that are whole or absent: written under a temporary name beside the target, then renamed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..sparse_dialect.errors import EspalierError


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` to ``path``; raises ``EspalierError`` naming the path and the system's reason."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes ``data`` to ``path`` through a temporary file and a rename; a failure leaves nothing behind."""
    if path.exists() and not path.is_file():  # /dev/stdout, /dev/null: there is nothing to rename onto
        try:
            path.write_bytes(data)
        except OSError as error:
            raise EspalierError(f"cannot write {path}: {error.strerror}") from error
        return
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp's 0600 is for secrets
        temporary.replace(path)
    except OSError as error:
        raise EspalierError(f"cannot write {path}: {error.strerror}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
