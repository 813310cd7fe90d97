"""Counts what a model of ours executes: its runner under QEMU, split where the code stores its stamps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import EspalierError
from ...files import temporary_folder
from ...runtime.abi import tolerance
from ...runtime.model_file import ModelFile
from ...runtime.states import interface
from ..bench.measure import relative_error
from .emulator import Counts, count


def count_ours(file: ModelFile, inputs: Sequence[np.ndarray]) -> list[tuple[str, Counts]]:
    """
    Labels (layers by name, other code by operation) and counts of every statement of one inference, in order.

    ``file`` is compiled for an AArch64 target and has a runner. Raises ``EspalierError`` when the outputs
    are not the recorded ones, where there are any.
    """
    with temporary_folder("espalier-count-") as folder:
        model, runner = Path(folder, "model.espalier"), Path(folder, "runner")
        file.write(model)
        runner.write_bytes(file.runner)
        runner.chmod(0o700)
        command = [str(runner), str(model), "--count"]
        for number, array in enumerate(inputs):
            path = Path(folder, f"input_{number}.npy")
            np.save(path, array)
            command += ["--input", str(path)]
        results = [Path(folder, f"output_{number}.npy") for number in range(len(interface(file.manifest)[1]))]
        for path in results:
            command += ["--output", str(path)]
        regions = count(command, cpu=file.manifest["target"]["cpu"])
        outputs = [np.load(path) for path in results]
    error, allowed = relative_error(outputs, file.expected or outputs), tolerance(file.manifest)
    if not error <= allowed:
        raise EspalierError(f"in the emulator our outputs differ from PyTorch's by {error:.1e} of the "
                            f"largest output (allowed: {allowed:.0e}): counts would mean nothing")
    labels = [*file.manifest["labels"][1:], "end"]  # stamp k is taken behind the statement of label k
    return [(labels[region], counts) for region, counts in sorted(regions.items())]
