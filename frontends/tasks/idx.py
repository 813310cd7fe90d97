"""The IDX format of MNIST and its kin: big-endian sizes, then bytes."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

from ...errors import EspalierError


def data_folder(name: str, install: str) -> Path:
    """The folder of a data set: below ``$ESPALIER_DATA`` or where Debian puts it; ``install`` says how it
    gets there."""
    roots = [os.environ.get("ESPALIER_DATA", ""), "/usr/share/datasets"]
    for root in filter(None, roots):
        if Path(root, name).is_dir():
            return Path(root, name)
    raise EspalierError(f"no folder '{name}' in {' or '.join(filter(None, roots))}: {install}")


def read_idx(path: Path) -> np.ndarray:
    """The u8 array of any rank in ``path`` (gzipped or not); ``EspalierError`` for a file that is none."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError) as error:
        raise EspalierError(f"cannot read '{path}': {error}") from error
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise EspalierError(f"{path}: not an IDX file of bytes")
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", count=rank, offset=4) if len(raw) >= 4 + 4 * rank else np.zeros(0)
    body = raw[4 + 4 * rank :]
    if len(shape) != rank or int(np.prod(shape)) != len(body):
        raise EspalierError(f"{path}: cut short: {len(body)} bytes for {shape.tolist()}")
    return np.frombuffer(body, np.uint8).reshape(shape.astype(int))
