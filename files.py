"""Writing a file so that it appears whole or not at all; folders for a while; where files that can be made
again are kept.

What is temporary is locked (flock) by the process that uses it, and the system drops the locks of a process
that was killed. So the next one knows what is stale, and removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import EspalierError

DATABASE, CALIBRATION = "tuned.sqlite", "calibration.json"  # in the configuration folder


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
        if _is_special(target):
            with target.open("wb") as device:
                yield device
            return
        prefix = f".{target.name[:200]}.espalier-"
        _remove_stale(target.parent, prefix, ".tmp")
        descriptor, temporary = _locked_file(target.parent, prefix, ".tmp")
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


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """An empty folder of this process alone, gone behind the block; those of the same ``prefix`` (such as
    ``espalier-link-``) that killed processes left go first. ``EspalierError`` where it cannot be made."""
    try:
        base = Path(tempfile.gettempdir())
        _remove_stale(base, prefix, "")
        lock, folder = _locked_folder(base, prefix)
    except OSError as error:
        raise EspalierError(f"cannot make a temporary folder: {error.strerror or error}; set TMPDIR to a "
                            f"folder that can be written") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder(base: Path, prefix: str) -> tuple[int, Path]:
    """A new folder, locked by the descriptor before it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        with contextlib.suppress(FileNotFoundError):  # taken for stale before it was locked
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return lock, folder
            os.close(lock)


def _locked_file(folder: Path, prefix: str, suffix: str) -> tuple[int, str]:
    """A new file, open for writing and locked, and its path."""
    while True:
        descriptor, path = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=folder)
        with contextlib.suppress(OSError):  # a file system without locks: nothing counts as stale there
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.exists(path):
            return descriptor, path
        os.close(descriptor)  # another process took it for stale before it was locked


def _remove_stale(folder: Path, prefix: str, suffix: str) -> None:
    """Removes our own files and folders of that name that no process has locked."""
    name = re.compile(re.escape(prefix) + "[a-z0-9_]{8}" + re.escape(suffix))  # tempfile's
    for entry in os.scandir(folder):
        if not name.fullmatch(entry.name):
            continue
        with contextlib.suppress(OSError):  # someone else's, or gone by now, or in use
            if entry.stat(follow_symlinks=False).st_uid != os.getuid() or entry.is_symlink():
                continue
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)
            finally:
                os.close(descriptor)


def check_writable(path: str | Path, *read: str | Path | None) -> None:
    """Raises EspalierError when a file at ``path`` could not be created: asked before minutes of work.
    ``read``: what the command was given to read, ``path.py:function`` too; ``path`` is none of these."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise EspalierError(f"cannot write '{path}': it is a folder")
    if not target.parent.is_dir():
        raise EspalierError(f"cannot write '{path}': there is no folder '{target.parent}'")
    if not os.access(target.parent, os.W_OK) and not os.access(target, os.W_OK):
        raise EspalierError(f"cannot write '{path}': no permission in '{target.parent}'")
    sources = {os.path.realpath(part) for name in map(str, filter(None, read))
               for part in (name, name.rpartition(":")[0])}
    if target.is_file() and str(target) in sources:
        raise EspalierError(f"cannot write '{path}': it is what is read; name another file")


def check_apart(*paths: str | Path | None) -> None:
    """Raises EspalierError when two outputs are one file, of which the last would win; devices may be."""
    seen: set[str] = set()
    for path in (path for path in paths if path is not None):
        place = os.path.realpath(path)
        if place in seen and not _is_special(place):
            raise EspalierError(f"cannot write '{path}': two outputs are to be this file; name another")
        seen.add(place)


def check_readable(path: str | Path) -> None:
    """Raises EspalierError where ``path`` has no end: a pipe waits for a writer, ``/dev/zero`` fills the
    memory. What is missing or cannot be opened is found by who opens it."""
    if _is_special(path):
        raise EspalierError(f"cannot read '{path}': expected a file, found a pipe or a device")


def _is_special(path: str | Path) -> bool:
    """Whether ``path`` is there, and is a pipe or a device."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


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


def configuration_folder() -> Path:
    """Where this user's settings are, and what was measured on this machine; it may not be there yet."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "espalier")


def user_database() -> str:
    """The tuner's database of this user, empty where there is none."""
    path = configuration_folder() / DATABASE
    return str(path) if path.is_file() else ""


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
