"""``vulkan`` and ``vulkan:NUMBER``: a GPU of this machine, through ``c/vulkan.h`` and in this process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from ...errors import EspalierError
from ..abi import FREE, target_text, tolerance
from ..executors.vulkan import Gpu, GpuProgram
from ..executors.vulkan_program import decode
from ..model_file import ModelFile
from ..states import RUNS, States, interface
from ..tensors import checked_inputs, tensor_specs
from .device import DeviceRun

NAME = "vulkan"


def is_vulkan(device: str) -> bool:
    """Whether a device's name means a GPU of this machine."""
    return device.partition(":")[0] == NAME


def run_on_gpu(
    device: str,
    path: Path,
    file: ModelFile,
    inputs: Sequence[np.ndarray] = (),
    *,
    check: bool = False,
    repeat: int = 1,
    profile: bool = False,
) -> DeviceRun:
    """
    Runs the model in ``path`` (``file`` is its content) on ``vulkan`` (discrete, then integrated, then any)
    or ``vulkan:NUMBER`` of ``espalier devices``; on ``inputs``, or on the recorded ones where there are none.
    ``profile``: with the device's own time of each dispatch in the last run.

    Raises ``EspalierError`` where file, inputs and device do not fit, the device fails, and where the check's
    outputs are not the recorded ones.
    """
    check_target(path, file, check)
    specs, known_outputs, _ = interface(file.manifest)
    given = checked_inputs(specs, inputs if len(inputs) else file.sample_inputs)
    program = decode(file.code, file.weights.tobytes())
    sizes = tuple(_bytes(file, kind, program.most_steps) for kind in ("inputs", "outputs"))
    if sizes != ([one.bytes for one in program.inputs], [one.bytes for one in program.outputs]):
        raise EspalierError(f"'{path}' is damaged: its program has other inputs or outputs than its manifest")
    with Gpu(device_number(device), timestamps=profile) as gpu, GpuProgram(gpu, program) as loaded:
        error = _checked(device, file, loaded) if check else None
        times, outputs, states = [], list[np.ndarray](), States(file.states)
        for _ in range(repeat):
            start = time.perf_counter()
            outputs = loaded.run([*given, *states.now])
            times.append(1e3 * (time.perf_counter() - start))
            states.put(typed_outputs(file, outputs)[len(known_outputs) :])
        seconds = loaded.times() if profile else []
    arrays = typed_outputs(file, outputs)[: len(known_outputs)] if len(inputs) else []
    spent = [(label, 1e3 * own) for label, own in zip(file.manifest["labels"][1:], seconds, strict=False)]
    return DeviceRun(error, (statistics.median(times), min(times), max(times)), repeat, 1, spent, arrays)


def check_target(path: Path, file: ModelFile, check: bool) -> None:
    """Raises ``EspalierError`` where the file is no GPU's, or holds nothing to ``check`` by."""
    if file.manifest["target"].get("triple") != NAME:
        raise EspalierError(
            f"'{path}' is compiled for {target_text(file.manifest)}, not for a GPU; compile it with "
            "--target vulkan"
        )
    if check and not file.sample_outputs:
        raise EspalierError(f"'{path}' holds no recorded input and output; compile it with example inputs")


def _checked(device: str, file: ModelFile, loaded: GpuProgram) -> float:
    """The error of the recorded run; raises ``EspalierError`` where it is too large."""
    from ..compiled_model import error_of  # here: it loads the MLIR bindings, which a GPU file does not need

    states = States(file.states)
    found: list[np.ndarray] = []
    for _ in range(RUNS if file.states else 1):
        found += typed_outputs(file, loaded.run([*file.sample_inputs, *states.now]))
        states.put(found[len(found) - len(file.states) :])
    error = max(
        error_of(one.astype(np.float64), expected.astype(np.float64))
        for one, expected in zip(found, file.sample_outputs, strict=True)
    )
    allowed = tolerance(file.manifest)
    if not error <= allowed:
        raise EspalierError(
            f"{device}: the outputs differ from the recorded ones by {error:.1e} of the largest "
            f"output (allowed: {allowed:.0e})"
        )
    return error


def device_number(device: str) -> int:
    """The device's number, -1 where none is given."""
    _, colon, number = device.partition(":")
    if colon and not number.isdecimal():
        raise EspalierError(
            f"unknown device '{device}': expected vulkan or vulkan:NUMBER (see espalier devices)"
        )
    return int(number) if colon else -1


def _bytes(file: ModelFile, kind: str, steps: int) -> list[int]:
    """Of the model's inputs or outputs, with so many time steps where their number is free."""
    return [prod(steps if size == FREE else size for size in spec.shape) * np.dtype(spec.dtype).itemsize
            for spec in tensor_specs(file.manifest[kind])]


def typed_outputs(file: ModelFile, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Bytes as the model's outputs."""
    return [
        raw.view(spec.dtype).reshape(spec.shape)
        for raw, spec in zip(outputs, tensor_specs(file.manifest["outputs"]), strict=True)
    ]
