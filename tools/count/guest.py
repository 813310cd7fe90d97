"""Runs a peer inside the emulator, its inference between the markers of ``count_regions.c``.

    python -m espalier.tools.count.guest NAME FOLDER

A program of its own, in AArch64 Python: it may import the peers, numpy and what these need, nothing else.
FOLDER holds ``files.json`` (the converted model's paths) and ``inputs.npz``; it gets ``outputs.npz``.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import numpy as np

from ..bench.peers import PEERS

_GETPRIORITY, _MARKER = 141, 0x5EED
_STOP, _COUNT = 0, 1


def main(name: str, folder: Path) -> None:
    files = json.loads((folder / "files.json").read_text())
    with np.load(folder / "inputs.npz") as inputs:
        peer = PEERS[name](files, list(inputs.values()))
    peer.set_threads(1)
    peer.run()  # the first run packs weights
    mark = ctypes.CDLL(None).syscall
    mark(_GETPRIORITY, _MARKER, _COUNT, 0)
    outputs = peer.run()
    mark(_GETPRIORITY, _MARKER, _STOP)
    np.savez(folder / "outputs.npz", *outputs)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
