"""Counts what a peer executes for a network: converted here, run by the peer's AArch64 wheel under QEMU."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ...files import temporary_folder
from ..bench.measure import relative_error
from ..bench.peers import PEERS, TOLERANCE, Network, Unavailable, quiet, unavailable
from .arm_python import CPU, interpreter, wheel
from .emulator import Counts, count

# The distribution that holds the engine; what runs in the emulator has the version that is installed here,
# because files of one version need not suit another.
WHEELS = {"ncnn": "ncnn", "mnn": "MNN", "litert": "ai-edge-litert"}


@dataclass(frozen=True)
class PeerCounts:
    """A peer's whole inference; ``layers``: multiply-adds and counts, where the engine runs them singly."""

    name: str
    total: Counts
    layers: tuple[tuple[int, Counts], ...]


def count_peer(name: str, network: Network) -> PeerCounts:
    """One inference of ``network`` by the peer ``name``; raises Unavailable with the reason."""
    with quiet(), unavailable():
        files = PEERS[name].convert(network)
    with temporary_folder(f"espalier-count-{name}-") as scratch:
        folder = Path(scratch)
        (folder / "files.json").write_text(json.dumps([os.path.abspath(path) for path in files]))
        np.savez(folder / "inputs.npz", *network.arrays)
        regions = _emulate(name, folder)
        with np.load(folder / "outputs.npz") as outputs:
            error = relative_error(list(outputs.values()), network.reference)
        layers = json.loads((folder / "layers.json").read_text())
    if not error <= TOLERANCE:
        raise Unavailable(f"in the emulator it differs from PyTorch by {error:.1e} of the largest output")
    return PeerCounts(name, regions[0], tuple((macs, regions[region]) for macs, region in layers))


def _emulate(name: str, folder: Path) -> dict[int, Counts]:
    """Runs guest.py, whose package is found through a link in ``folder``."""
    (folder / "espalier").symlink_to(Path(__file__).parents[2])
    program, root = interpreter()
    paths = [folder, wheel("numpy"), wheel(f"{WHEELS[name]}=={version(WHEELS[name])}")]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1",
                   "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return count([str(program), "-m", "espalier.tools.count.guest", name, str(folder)], cpu=CPU, root=root,
                 environment=environment)
