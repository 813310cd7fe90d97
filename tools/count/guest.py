"""Runs a peer inside the emulator, its inference between the markers of ``count_regions.c``.

    python -m espalier.tools.count.guest NAME FOLDER

A program of its own, in AArch64 Python: it may import the peers, numpy and what these need, nothing else.
FOLDER holds ``files.json`` (the converted model's paths) and ``inputs.npz``. It gets ``outputs.npz`` and
``layers.json``: [multiply-adds, region] of each convolution and linear layer, where the engine shows them.
Region 0 is the whole inference; those of the layers come from another one, which stops behind each.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..bench.peers import PEERS, Ncnn

_GETPRIORITY, _MARKER = 141, 0x5EED
_STOP, _COUNT = 0, 1
_syscall = ctypes.CDLL(None).syscall


@contextmanager
def counted(region: int) -> Iterator[None]:
    """Counts into ``region`` what the block executes."""
    _syscall(_GETPRIORITY, _MARKER, _COUNT, region)
    yield
    _syscall(_GETPRIORITY, _MARKER, _STOP)


def main(name: str, folder: Path) -> None:
    files = json.loads((folder / "files.json").read_text())
    with np.load(folder / "inputs.npz") as inputs:
        peer = PEERS[name](files, list(inputs.values()))
    peer.set_threads(1)
    if name == "mnn":  # its first run packs weights; the others do so when they load
        peer.run()
    with counted(0):
        outputs = peer.run()
    np.savez(folder / "outputs.npz", *outputs)
    layers = list(ncnn_layers(peer)) if isinstance(peer, Ncnn) else []
    (folder / "layers.json").write_text(json.dumps(layers))


def ncnn_layers(peer: Ncnn) -> Iterator[tuple[int, int]]:
    """Multiply-adds and region of each layer with weights, from one run that asks for layer after layer."""
    sizes = dict(_weight_sizes(Path(peer.files[0]).read_text()))
    blobs = [blob.name for blob in peer.net.blobs()]
    layers = [(layer.name, [blobs[top] for top in layer.tops]) for layer in peer.net.layers()]
    with peer.net.create_extractor() as extractor:
        for name, mat in zip(peer.net.input_names(), peer.mats, strict=True):
            extractor.input(name, mat)
        for region, (name, tops) in enumerate(layers, 1):
            with counted(region):
                mats = [extractor.extract(top, 1)[1] for top in tops]  # 1: as it lies, no repacking
            if name in sizes:
                yield sizes[name] * mats[0].w * mats[0].h if mats[0].dims > 1 else sizes[name], region


def _weight_sizes(param: str) -> Iterator[tuple[str, int]]:
    """Names and numbers of weights of the layers in a .param file that have weights."""
    keys = {"Convolution": "6", "ConvolutionDepthWise": "6", "InnerProduct": "2"}
    for line in param.splitlines():
        words = line.split()
        if words[0] in keys:
            yield words[1], int(dict(word.split("=", 1) for word in words if "=" in word)[keys[words[0]]])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
