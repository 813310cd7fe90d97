"""Writing a file so that it appears whole or not at all; where files that can be made again are kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import EspalierError


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file that takes ``path``'s place when the block ends well, and vanishes when it does not.

    The bytes go to a temporary name in the same folder, then to the disk (fsync), then over ``path``
    (rename), so neither an error, a full disk nor Ctrl-C leaves a half-written file, and a reader that has
    the old file mapped keeps it. A device (``/dev/stdout``) is written to directly. Any OSError becomes one
    EspalierError.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file() and not target.is_dir():
            with target.open("wb") as device:
                yield device
            return
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        try:
            with open(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fchmod(file.fileno(), 0o666 & ~_umask())
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EspalierError(f"cannot write '{path}': {error.strerror or error}") from error


def check_writable(path: str | Path) -> None:
    """Raises EspalierError when a file at ``path`` could not be created: asked before minutes of work."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise EspalierError(f"cannot write '{path}': it is a folder")
    if not target.parent.is_dir():
        raise EspalierError(f"cannot write '{path}': there is no folder '{target.parent}'")
    if not os.access(target.parent, os.W_OK) and not os.access(target, os.W_OK):
        raise EspalierError(f"cannot write '{path}': no permission in '{target.parent}'")


def cache_folder(*names: str) -> Path:
    """The folder ``names`` of this user's cache, made where it is missing: what it holds may be deleted."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base, "espalier", *names)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EspalierError(f"cannot make '{folder}': {error.strerror or error}; "
                            f"set XDG_CACHE_HOME to a folder that can be written") from error
    return folder


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
