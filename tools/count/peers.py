"""Counts what a peer executes for a network: converted here, run by the peer's AArch64 wheel under QEMU."""

from __future__ import annotations

import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ...errors import EspalierError
from ..bench.measure import relative_error
from ..bench.peers import PEERS, TOLERANCE, Network, Unavailable, quiet
from .arm_python import CPU, interpreter, wheel
from .emulator import Counts, count

# The distribution that holds the engine; what runs in the emulator has the version that is installed here,
# because files of one version need not suit another.
WHEELS = {"ncnn": "ncnn", "mnn": "MNN", "litert": "ai-edge-litert"}


def count_peer(name: str, network: Network) -> Counts:
    """One inference of ``network`` by the peer ``name``; raises Unavailable with the reason."""
    try:
        with quiet():
            files = PEERS[name].convert(network)
    except EspalierError:
        raise
    except Exception as error:  # whatever a foreign converter raises, the others are still counted
        raise Unavailable(f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}") from error
    with tempfile.TemporaryDirectory(prefix=f"espalier-count-{name}-") as scratch:
        folder = Path(scratch)
        (folder / "files.json").write_text(json.dumps([os.path.abspath(path) for path in files]))
        np.savez(folder / "inputs.npz", *network.arrays)
        (folder / "espalier").symlink_to(Path(__file__).parents[2])
        program, root = interpreter()
        wheels = [wheel("numpy"), wheel(f"{WHEELS[name]}=={version(WHEELS[name])}")]
        regions = count([str(program), "-m", "espalier.tools.count.guest", name, scratch], cpu=CPU, root=root,
                        environment={"PYTHONPATH": os.pathsep.join(map(str, [scratch, *wheels])),
                                     "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1",
                                     "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
        with np.load(folder / "outputs.npz") as outputs:
            error_ = relative_error(list(outputs.values()), network.reference)
    if not error_ <= TOLERANCE:
        raise Unavailable(f"in the emulator it differs from PyTorch by {error_:.1e} of the largest output")
    return regions[0]
