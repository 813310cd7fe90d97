"""``espalier bench --target vulkan``: ours sparse and dense, and ncnn's Vulkan, interleaved on one device.

Wall time and processor time of this process: a software device computes on the processor, where another
program's minute shows in wall time alone. Of ours also the device's own time, dispatch by dispatch. Outputs
are compared with PyTorch's before anything is timed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Protocol

import numpy as np
from rich import box
from rich.table import Table

from ...errors import EspalierError
from ...pipelines.target import Target
from ...runtime.devices.vulkan import typed_outputs
from ...runtime.executors.vulkan import Gpu, GpuProgram
from ...runtime.executors.vulkan_program import decode
from ...runtime.model_file import ModelFile
from ..compiled import Progress, Source
from ..text import plain
from .measure import relative_error
from .peers import Ncnn, Network


class GpuEngine(Protocol):
    """Something that runs the network on the device."""

    name: str
    variant: str

    def run(self) -> list[np.ndarray]: ...
    def dispatch_ms(self) -> list[tuple[str, float]]: ...


class Ours:
    """A model of ours, loaded; ``dispatch_ms``: of the last run, on the device's clock."""

    name = "espalier"

    def __init__(self, gpu: Gpu, file: ModelFile, variant: str, stack: ExitStack) -> None:
        self.variant, self._file = variant, file
        program = decode(file.code, file.weights.tobytes())
        self._loaded = stack.enter_context(GpuProgram(gpu, program))

    def run(self) -> list[np.ndarray]:
        given = [*self._file.sample_inputs, *self._file.states]
        return typed_outputs(self._file, self._loaded.run(given))[: len(self._file.expected)]

    def dispatch_ms(self) -> list[tuple[str, float]]:
        labels = self._file.manifest["labels"][1:]
        return [(label, 1e3 * own) for label, own in zip(labels, self._loaded.times(), strict=True)]


class NcnnVulkan(Ncnn):
    """ncnn on its first Vulkan device, fp32."""

    name = "ncnn vulkan"

    def prepare(self) -> None:
        """Loads the network onto the device."""
        self.vulkan = True
        self.set_threads(1)

    def dispatch_ms(self) -> list[tuple[str, float]]:
        return []


@dataclass
class GpuTimes:
    """Milliseconds of one engine's runs; ``error``: against PyTorch, as a share of the largest output."""

    engine: str
    variant: str
    error: float
    wall_ms: list[float] = field(default_factory=list)
    processor_ms: list[float] = field(default_factory=list)
    device_ms: list[list[tuple[str, float]]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        known = asdict(self)
        known["layers"] = self.layers()
        del known["device_ms"]
        return known

    def layers(self) -> dict[str, float]:
        """The median of each dispatch's device time, by its label; several of one label add up."""
        found: dict[str, float] = {}
        for same in zip(*self.device_ms, strict=True):
            found[same[0][0]] = found.get(same[0][0], 0.0) + median(own for _, own in same)
        return found


def bench_gpu(source: Source, target: Target, device: int, options: BenchOptions, folder: str,
              progress: Progress) -> tuple[list[GpuTimes], list[str]]:
    """Times of every engine, and who is left out and why."""
    left_out = []
    with ExitStack() as stack:
        gpu = stack.enter_context(Gpu(device, timestamps=options.layers))
        engines: list[GpuEngine] = []
        for variant in ("sparse", "dense"):
            file = source.compile_for(target, sparse=variant == "sparse", progress=progress)
            engines.append(Ours(gpu, file, variant, stack))
        if not file.sample_outputs:
            raise EspalierError("bench --target vulkan needs a model whose outputs PyTorch computes")
        expected = file.expected
        if "ncnn" in options.against:
            try:
                model, inputs = source.load()
                network = Network(model, inputs, folder)
                peer = NcnnVulkan(NcnnVulkan.convert(network), network.arrays)
                peer.prepare()
                engines.append(peer)
            except EspalierError as error:
                left_out.append(f"ncnn is left out: {error}")
        times = [GpuTimes(one.name, one.variant, _error(one, expected)) for one in engines]
        for done in range(options.warmup + options.runs):
            for engine, own in zip(engines, times, strict=True):
                _time(engine, own, done >= options.warmup)
            progress("measuring", done + 1, options.warmup + options.runs)
    return times, left_out


@dataclass(frozen=True)
class BenchOptions:
    """Rounds before and with timing; peers; whether each dispatch is measured."""

    warmup: int
    runs: int
    against: Sequence[str]
    layers: bool


def _error(engine: GpuEngine, expected: Sequence[np.ndarray]) -> float:
    found = engine.run()
    shaped = [one.reshape(other.shape) for one, other in zip(found, expected, strict=True)]
    return relative_error(shaped, list(expected))


def _time(engine: GpuEngine, times: GpuTimes, kept: bool) -> None:
    wall, processor = time.perf_counter(), time.process_time()
    engine.run()
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    if kept:
        times.wall_ms.append(1e3 * wall)
        times.processor_ms.append(1e3 * processor)
        if spent := engine.dispatch_ms():
            times.device_ms.append(spent)


def gpu_times_table(title: str, times: Sequence[GpuTimes]) -> Table:
    """A row an engine, medians and least."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for name in ("engine", "variant", "error", "wall ms", "least", "processor ms", "least", "of our dense"):
        table.add_column(name, justify="left" if name in ("engine", "variant") else "right")
    dense = median(next(own.processor_ms for own in times if own.variant == "dense"))
    for own in times:
        cells = (own.engine, own.variant, f"{own.error:.1e}", f"{median(own.wall_ms):.2f}",
                 f"{min(own.wall_ms):.2f}", f"{median(own.processor_ms):.2f}", f"{min(own.processor_ms):.2f}",
                 f"{median(own.processor_ms) / dense:.2f}")
        table.add_row(*(plain(cell) for cell in cells))
    return table


def gpu_layers_table(times: Sequence[GpuTimes]) -> Table:
    """A row a layer: device times of sparse and dense."""
    sparse, dense = (own.layers() for own in times[:2])
    table = Table(box=box.SIMPLE_HEAD, title="device ms", title_justify="left", pad_edge=False)
    for name in ("layer", "sparse", "dense", "dense / sparse"):
        table.add_column(name, justify="left" if name == "layer" else "right")
    for label in dict.fromkeys([*sparse, *dense]):
        one, other = sparse.get(label, 0.0), dense.get(label, 0.0)
        ratio = f"{other / one:.2f}" if one else "-"
        table.add_row(*(plain(cell) for cell in (label, f"{one:.3f}", f"{other:.3f}", ratio)))
    return table
