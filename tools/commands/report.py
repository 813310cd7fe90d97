"""``espalier report MODEL``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from ...errors import EspalierError
from ...files import check_apart, check_writable
from ...pipelines.target import VULKAN, Target
from ...runtime.records import LayerRecord
from ..bench.machine import Machine
from ..compiled import Progress, Source
from ..predictions import prediction_line
from ..report.data import Report
from ..report.gpu import gpu_json, gpu_table
from ..report.page import report_page
from ..report.table import others_table, reason_lines, report_table
from .common import (
    DebugOption,
    ExcludeOption,
    GpuProfileOption,
    LreOption,
    ModelArgument,
    OneBatchOption,
    OnlyOption,
    PrecisionOption,
    PruneOption,
    SeedOption,
    ShapeOption,
    StepsOption,
    TargetOption,
    TrustOption,
    WeightsOption,
    progress_bars,
    say,
    shapes_of,
    show,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from ...runtime.compiled_model import CompiledModel


def report_command(
    model: ModelArgument, prune: PruneOption = None, only: OnlyOption = "",
    exclude: ExcludeOption = "", seed: SeedOption = 0, steps: StepsOption = None,
    shape: ShapeOption = None, weights: WeightsOption = "", batch: OneBatchOption = None,
    dense: Annotated[bool, typer.Option("--dense", help="Report our dense kernels.")] = False,
    lre: LreOption = True,
    threads: Annotated[int, typer.Option(min=1, help="Threads to measure on.")] = 1,
    against_dense: Annotated[bool, typer.Option(
        "--against-dense/--no-against-dense", help="Measure our dense kernels, too.")] = True,
    runs: Annotated[int, typer.Option(min=0, help="Profiled runs; 0 leaves times out.")] = 10,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the report as a page.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the report as JSON.")] = None,
    target: TargetOption = "", gpu_profile: GpuProfileOption = "generic",
    precision: PrecisionOption = "fp32",
    trust: TrustOption = False, debug: DebugOption = False,
) -> None:
    """Show what the compiler did with every layer, and how long each takes, and everything else."""
    check_apart(html, json)
    for path in (html, json):
        if path is not None:
            check_writable(path, model, weights)
    source = Source(model, prune, seed, steps, trust, only, exclude, shapes_of(shape), weights,
                    batch)
    if target:
        if target != VULKAN or html is not None:
            raise EspalierError("report: --target is vulkan or nothing, and draws no --html")
        _report_gpu(source, Target.vulkan(precision, gpu_profile), dense, lre, json)
        return
    with progress_bars() as progress:
        compiled, inputs = source.compile(sparse=not dense, eliminate_redundant_loads=lre, progress=progress)
        peer = None
        if runs and against_dense and any(layer.kernel != "dense" for layer in compiled.layers):
            peer, _ = source.compile(sparse=False, eliminate_redundant_loads=lre, progress=progress)
        times, dense_times = _measure(compiled, peer, inputs, threads, runs, progress)
    machine = str(Machine.here())
    if runs:
        dense_ms = median(dense_times) if dense_times else None
        report = Report.measured(source.name, compiled, times, machine=machine, threads=threads,
                                 dense_ms=dense_ms)
    else:
        report = Report.of(source.name, compiled, None, machine=machine, threads=threads, runs=0)
    show(report_table(report))
    if report.others:
        show(others_table(report))
    for line in (*reason_lines(report), prediction_line(report.predictions), report.warning(),
                 report.verdict()):
        if line:
            say(line)
    if html is not None:
        write_text(html, report_page(report))
        say(f"wrote {html}")
    if json is not None:
        write_json(json, report.as_json())
        say(f"wrote {json}")


def _report_gpu(source: Source, target: Target, dense: bool, lre: bool, json: Path | None) -> None:
    """A row a layer of the GPU's kernels; nothing is run."""
    with progress_bars() as progress:
        file = source.compile_for(target, sparse=not dense, eliminate_redundant_loads=lre, progress=progress)
    layers = [LayerRecord.from_manifest(entry) for entry in file.manifest["layers"]]
    show(gpu_table(f"{source.name} for {target.name}, {target.precision}", layers))
    for layer in layers:
        say(f"{layer.name}: {layer.reason}")
    if json is not None:
        write_json(json, gpu_json(source.name, target.name, layers))
        say(f"wrote {json}")


def _measure(compiled: CompiledModel, dense: CompiledModel | None, inputs: Sequence[np.ndarray], threads: int,
             runs: int, progress: Progress) -> tuple[list[list[float]], list[float]]:
    """Milliseconds of every row in each of ``runs`` profiled runs, and of whole runs of ``dense``, taken in
    turns."""
    models = [compiled] if dense is None else [compiled, dense]
    for model in models if runs else ():
        model.run(inputs, threads)  # the first run pays for page faults
    times: list[list[float]] = []
    dense_times: list[float] = []
    for done in range(runs):
        times.append([1000 * seconds for seconds in compiled.profile(inputs, threads)])
        if dense is not None:
            dense_times.append(1000 * sum(dense.profile(inputs, threads)))
        progress("measuring", done + 1, runs)
    return times, dense_times
